"""A tenant's domains: who may have which, and that a change holds everywhere at once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import insert

from app import create_app
from app.tenancy import db, platform_context
from app.tenancy.errors import InvalidName, QuotaExceeded, Refused
from app.tenancy.ledger import AuditRow
from app.tenancy.registry import TierCap
from tests.accounts.people import acts
from tests.conftest import _client

CLUB = "club.example"


@pytest.fixture
def domains(tenancy):
    return tenancy.domains


@pytest.fixture
def second_process(config):
    """Return another application on the same home, as another process has."""
    app = create_app(config)
    yield app
    app.extensions["freehold.live"].end()
    app.extensions["tenancy"].close()


def told(app, alpha):
    """Return what the ledger tells of alpha's domains, the newest first."""
    with app.app_context(), platform_context(writes=False):
        rows = db.session.query(AuditRow).where(AuditRow.kind.startswith("domain_"), AuditRow.tenant_id == alpha.id)
        return [(row.kind, row.actor, row.detail["host"]) for row in rows.order_by(AuditRow.id.desc())]


def test_a_domain_comes_becomes_the_primary_and_goes_in_every_process_at_once(app, second_process, at, alpha, domains):
    there = _client(second_process, CLUB)
    assert there.get("/").status_code == 404

    domains.add(alpha, "Club.Example.", by="op@platform.test")
    first = there.get("/")
    assert first.status_code == 200
    assert f'href="http://{alpha.primary_host}:8000/"' in first.text  # it names the primary as the site's address

    domains.make_primary(CLUB, by="op@platform.test")
    second = there.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert f'href="http://{CLUB}:8000/"' in second.text
    assert _client(second_process, alpha.primary_host).get("/").status_code == 200  # the one of before answers on

    domains.make_primary(alpha.primary_host)
    domains.remove(CLUB, by="op@platform.test")
    assert there.get("/").status_code == 404
    assert told(app, alpha)[0] == ("domain_removed", "op@platform.test", CLUB)
    assert [kind for kind, *_ in told(app, alpha)[1:]] == ["domain_made_primary"] * 2 + ["domain_added"]
    assert {"domain_added", "domain_made_primary", "domain_removed"} <= set(acts(at, alpha))


@pytest.mark.parametrize(
    ("host", "refusal", "says"),
    [
        ("beta.localhost", Refused, "belongs to another tenant"),
        ("alpha.localhost", Refused, "already"),
        ("platform.localhost", InvalidName, "platform's own"),
        ("gamma.localhost", InvalidName, "short name"),
        ("10.0.0.7", InvalidName, "is an address"),
        ("*.example", InvalidName, "not a host name"),
    ],
)
def test_what_is_not_theirs_is_refused(alpha, beta, domains, tenancy, host, refusal, says):
    with pytest.raises(refusal, match=says):
        domains.add(alpha, host)
    assert tenancy.registry.by_slug("alpha") == alpha


def test_a_preview_gets_no_domain(alpha, domains):
    with pytest.raises(Refused, match="a preview"):
        domains.add(replace(alpha, preview_of="another"), CLUB)


def test_what_has_to_stay_stays(alpha, domains, tenancy):
    domains.add(alpha, CLUB)
    domains.make_primary(CLUB)
    for host, says in ((CLUB, "Make another one the primary"), ("alpha.localhost", "and stays")):
        with pytest.raises(Refused, match=says):
            domains.remove(host)
    assert tenancy.registry.by_slug("alpha").hosts == (CLUB, "alpha.localhost")
    with pytest.raises(Refused, match="No tenant answers"):
        domains.remove("nobody.example")


def test_a_plan_has_room_for_so_many_and_says_so_before_anything_is_done(app, alpha, domains, tenancy, signed_in):
    with app.app_context(), platform_context():
        db.session.execute(insert(TierCap).values(tier="standard", meter="domains", cap=1))
        db.session.commit()
    domains.add(tenancy.registry.by_slug("alpha"), CLUB)  # the host that came with the short name takes no room
    with pytest.raises(QuotaExceeded) as full:
        domains.add(tenancy.registry.by_slug("alpha"), "second.example")
    assert (full.value.quota, full.value.limit, full.value.used) == ("domains", 1, 1)
    assert tenancy.registry.resolve("second.example") is None
    with app.app_context(), pytest.raises(QuotaExceeded):
        tenancy.lifecycle.create("gamma", "Gamma", domains=("one.example", "two.example"))
    assert tenancy.registry.by_slug("gamma") is None
    assert "Own domains: 1 of 1 domains. Nothing can be added." in signed_in(alpha).get("/desk/settings/use").text


def test_owners_see_which_domain_is_the_main_one_and_where_each_leads(alpha, domains, signed_in):
    owner = signed_in(alpha)
    assert "A domain of your own?" in owner.get("/desk/settings/domains/").text
    domains.add(alpha, CLUB)
    domains.note_check(alpha, CLUB, "Something else answers.")
    page = " ".join(owner.get("/desk/settings/domains/").text.split())
    assert 'alpha.localhost</a></p> <span class="badge badge-active">Main</span>' in page
    assert page.count(">Main<") == 1
    assert "Does not lead here yet" in page
    domains.remove(CLUB)
    domains.add(alpha, CLUB)
    assert (
        "Does not lead here yet" not in owner.get("/desk/settings/domains/").text
    )  # what was found before holds no more


def test_the_commands_do_the_same(runner, alpha, tenancy):
    assert runner("domains", "add", "alpha", CLUB).exit_code == 0
    assert runner("domains", "primary", CLUB).exit_code == 0
    listed = json.loads(runner("domains", "list", "--json").stdout)
    assert {"host": CLUB, "tenant": "alpha", "primary": True, "leads_here": None} in listed
    for refused in (["primary", CLUB], ["remove", CLUB, "--yes"], ["remove", "alpha.localhost", "--yes"]):
        assert runner("domains", *refused).exit_code == 2
    runner("domains", "primary", "alpha.localhost")
    assert "give --yes" in runner("domains", "remove", CLUB).stderr
    assert runner("domains", "remove", CLUB, "--yes").exit_code == 0
    assert tenancy.registry.by_slug("alpha") == alpha
