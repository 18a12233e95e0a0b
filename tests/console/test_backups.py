"""The console's pages of backups: how all stand, what needs a look, and what can be done for one organisation."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import insert, select

from app.backups.models import Order, Proof
from app.console import backups as reading
from app.tenancy import db, platform_context, utcnow
from app.tenancy.ledger import AuditRow, TenantBackup
from app.tenancy.registry import Tenant
from tests.backups import doing
from tests.backups.doing import copy_of, proof_of, send


@pytest.fixture
def note(app):
    return partial(doing.noted, app)


@pytest.fixture
def well(app, alpha, beta, note):
    """Let both organisations stand well, alpha proven longer ago."""
    note(copy_of(alpha), copy_of(beta))
    note(proof_of(alpha, utcnow() - timedelta(days=9)), proof_of(beta, utcnow() - timedelta(days=1)))


def by_name(page: str) -> list[str]:
    """Return the organisations in the order in which the table names them."""
    table = page.split('id="by-tenant"')[1]
    return sorted(("Alpha Allotments", "Beta Brass Band"), key=table.index)


def test_the_oldest_proof_stands_first_and_all_are_counted(well, operator):
    page = operator.get("/backups/").text
    assert by_name(page) == ["Alpha Allotments", "Beta Brass Band"]
    assert "of 2 were brought back once to prove it" in page
    assert 'Oldest proof: <a href="/tenants/alpha">Alpha Allotments</a>' in page
    assert "GiB" in page, "the room that is left"


def test_late_ones_stand_before_all_others(alpha, beta, note, operator):
    note(copy_of(alpha), proof_of(alpha, utcnow() - timedelta(days=9)), proof_of(beta))
    note(copy_of(beta, late_since=utcnow() - timedelta(minutes=5), error="There is no room left."))
    page = operator.get("/backups/").text
    assert by_name(page) == ["Beta Brass Band", "Alpha Allotments"]
    assert "badge-warning" in page
    overview = operator.get("/").text
    assert "Its copies are late: There is no room left." in overview


def test_a_failed_proof_needs_a_look_until_one_succeeds(alpha, beta, well, note, operator):
    note(proof_of(beta, error="a page is not authentic"))
    assert by_name(operator.get("/backups/").text) == ["Beta Brass Band", "Alpha Allotments"]
    assert "A restore to prove its backup failed: a page is not authentic" in operator.get("/").text
    note(proof_of(beta, utcnow() + timedelta(seconds=1)))
    assert "failed" not in operator.get("/").text


def test_when_all_is_well_the_overview_says_so(well, operator):
    assert "All is well" in operator.get("/").text


def test_an_organisation_without_any_copy_is_late_once_it_has_settled(app, alpha, beta, operator):
    def made_ago(age: timedelta) -> None:
        with app.app_context(), platform_context():
            for tenant in db.session.scalars(select(Tenant)):
                tenant.created_at = utcnow() - age
            db.session.commit()

    made_ago(timedelta(minutes=1))
    assert "All is well" in operator.get("/").text
    made_ago(timedelta(hours=1))
    assert "There is no copy of it yet." in operator.get("/").text


def test_previews_are_not_in_the_table(app, alpha, beta, operator):
    moment = doing.copied(app, alpha)
    send(operator, f"/tenants/alpha/backups/moments/{moment.seq}/preview")
    assert doing.carried_out(app) == 1
    assert "alpha-preview" not in operator.get("/backups/").text
    assert "of 2 were" in operator.get("/backups/").text


def test_a_missing_recovery_kit_is_told_until_one_is_made_and_again_after_a_new_master_key(app, tenancy, operator):
    def told_after(kind: str | None) -> bool:
        with app.app_context():
            if kind:
                tenancy.ledger.record(kind)
        return "There is no recovery kit" in operator.get("/backups/").text

    acts = [None, "recovery_kit_made", "master_key_rotated", "recovery_kit_made"]
    assert [told_after(kind) for kind in acts] == [True, False, True, False]


def test_the_central_files_are_shown_with_their_last_copy(app, tenancy, operator):
    assert operator.get("/backups/").text.count("No copy yet") == 3
    from app.backups.keeper import Keeper

    keeper = Keeper(tenancy)
    keeper.copy("registry")
    keeper.raw_side.close()
    assert operator.get("/backups/").text.count("No copy yet") == 2


def test_a_place_of_the_copies_that_is_gone_is_told_and_breaks_nothing(config, alpha, operator):
    config.backups.rename(config.backups.with_name("elsewhere"))
    page = operator.get("/backups/")
    assert page.status_code == 200
    assert "cannot be reached" in page.text
    assert operator.get("/tenants/alpha").status_code == 200
    assert "Is its disk mounted?" in operator.get("/tenants/alpha/backups/").text
    assert operator.get("/tenants/alpha/backups/moments/1/replacement").status_code == 404


def plant(tenancy, ids):
    """Put rows for that many organisations, each with a copy and five proofs, into the registry and the ledger."""
    now = utcnow()
    served = {"tier_name": "standard", "state": "active", "reason": "", "schema": "x", "placement": "ready"}
    named = [{"id": one, "slug": f"t{one[-5:]}", "name": f"T {one[-5:]}"} for one in ids]
    copied = {"seq": 1, "at": now, "size": 1, "kept_bytes": 1, "moments": 1, "interval": 8.0}
    proven = {"moment_at": now, "proven_at": now, "seconds": 1.0, "bytes": 1, "rows": 1, "error": ""}
    with tenancy.engines["registry"].begin() as registry:
        made = {"generation": 1, "hidden": False, "created_at": now}
        registry.execute(insert(Tenant), [{**one, **served, **made} for one in named])
    with tenancy.engines["ledger"].begin() as ledger:
        whole = {"epoch": 1, "event_id": 1, "error": "", "signature": "", "late_since": None}
        ledger.execute(insert(TenantBackup), [{"tenant_id": one, **copied, **whole} for one in ids])
        ledger.execute(insert(Proof), [{"tenant_id": one, **proven} for one in ids for _ in range(5)])


def test_ten_thousand_organisations_are_listed_quickly_and_no_file_is_opened(app, tenancy, operator):
    plant(tenancy, [f"{number:032x}" for number in range(10_000)])
    opened = tenancy.pool.counters.opens
    began = time.process_time()  # of this process alone, whoever else uses the machine
    page = operator.get("/backups/?page=3")
    took = time.process_time() - began
    assert page.status_code == 200
    assert "Page 3 of 201" in page.text
    assert took < 1.0, f"{took:.2f} s"
    assert tenancy.pool.counters.opens == opened
    assert operator.get("/backups/?page=202").status_code == 404


# One organisation.


def test_its_page_tells_what_is_kept_and_proven(app, alpha, well, operator):
    assert "0 moments, 0 bytes" in operator.get("/tenants/alpha").text
    moment = doing.copied(app, alpha)
    page = operator.get("/tenants/alpha").text
    assert f"1 moment, {moment.bytes / 1024:.1f} KiB" in page
    assert "took 0.8 s" in page


@pytest.mark.parametrize(("button", "kind"), [("copy", "tick"), ("proof", "drill")])
def test_a_copy_or_a_proof_is_made_when_asked_for(app, alpha, operator, button, kind):
    doing.copied(app, alpha)
    assert send(operator, f"/tenants/alpha/backups/{button}").location == "/tenants/alpha/backups/order"
    assert "Waiting for its turn" in operator.get("/tenants/alpha/backups/order").text
    assert doing.carried_out(app) == 1
    with app.app_context(), platform_context(writes=False):
        order = db.session.scalars(select(Order)).one()
    assert (order.kind, order.state, order.asked_by) == (kind, "done", "operator@platform.test")
    assert order.message in operator.get("/tenants/alpha/backups/order").text


def test_going_back_wants_the_name(app, alpha, operator):
    moment = doing.copied(app, alpha)
    path = f"/tenants/alpha/backups/moments/{moment.seq}/replacement"
    assert "type the name of the organisation" in operator.get(path).text
    assert send(operator, path, name="alpha").status_code == 422
    assert send(operator, path, name="Alpha Allotments").location == "/tenants/alpha/backups/order"
    assert doing.carried_out(app) == 1
    assert "It is done" in operator.get("/tenants/alpha/backups/order").text


def test_a_moment_that_is_not_kept_is_not_found(app, alpha, beta, operator):
    moment = doing.copied(app, beta)
    assert operator.get(f"/tenants/alpha/backups/moments/{moment.seq}/replacement").status_code == 404
    assert send(operator, f"/tenants/alpha/backups/moments/{moment.seq}/preview").status_code == 404
    assert operator.get("/tenants/nobody/backups/").status_code == 404
    assert operator.get("/tenants/alpha/backups/preview/open").status_code == 404


def test_a_file_that_cannot_be_read_is_told_with_the_way_back(app, tenancy, alpha, operator, client_for):
    moment = doing.copied(app, alpha)
    doing.noted(app, copy_of(alpha, at=datetime(2026, 11, 21, 14, 5, tzinfo=UTC)))
    tenancy.pool.discard(alpha.id)
    file = tenancy.placements.file(alpha.id)
    file.write_bytes(b"x" * file.stat().st_size)
    assert client_for(alpha).get("/").status_code == 503
    page = operator.get("/tenants/alpha").text
    assert "could not be read" in page
    assert "Its newest copy is of 21 November 2026, 14:05 UTC" in page
    assert "Bring it back from there" in page
    send(operator, f"/tenants/alpha/backups/moments/{moment.seq}/replacement", name="Alpha Allotments")
    doing.carried_out(app)
    assert client_for(alpha).get("/").status_code == 200
    assert "could not be read" not in operator.get("/tenants/alpha").text


def test_who_is_no_operator_reaches_none_of_it(app, alpha, platform):
    for path in (
        "/backups/",
        "/tenants/alpha/backups/",
        "/tenants/alpha/backups/order",
        "/tenants/alpha/backups/preview/open",
    ):
        assert platform.get(path).location.startswith("/sign-in"), path
    assert platform.post("/tenants/alpha/backups/copy").status_code == 403
    with app.app_context(), platform_context(writes=False):
        assert db.session.scalars(select(Order)).all() == []


def test_the_reading_names_who_is_late_and_why(app, alpha, beta, note):
    note(copy_of(alpha, late_since=utcnow(), error="gone"))
    with app.app_context(), platform_context(writes=False):
        lines = reading.lines()
        assert [(line.slug, line.why_late) for line in lines] == [("alpha", "gone"), ("beta", "")]
        assert db.session.scalars(select(AuditRow).where(AuditRow.kind == "database_unreadable")).all() == []
