"""A moment becomes a living organisation, whole and of one time, in the place of the old one or beside it; or nothing changes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import closing
from contextvars import Context
from typing import Any

import pytest
from sqlalchemy import select

from app import Freehold
from app.accounts import SetUpLink, User
from app.accounts.joining import token_for
from app.accounts.models import JoinDomain
from app.backups import restore
from app.backups.keeper import Keeper
from app.backups.packs import PackDamaged
from app.backups.restore import NotProven, restore_as, restore_replacing
from app.backups.shelf import Moment
from app.backups.target import TargetDown
from app.facilities import audit, events, storage
from app.tenancy import ResolvedTenant, Tenancy, current_tenant, current_version, db, due, placements, rotation, utcnow
from app.tenancy.database import connect
from app.tenancy.errors import DiskFull, InvalidName, Refused
from app.tenancy.ledger import AuditRow
from app.tenancy.placements import Drained
from tests.accounts.people import acts
from tests.accounts.test_second_factor import codes_at, give_code, half_way, has_app
from tests.conftest import _client

__all__ = ["has_app"]


def sql(tenancy: Tenancy, tenant: ResolvedTenant, statement: str, *values: object) -> list:
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        return file.execute(statement, values).fetchall()


def write(tenancy: Tenancy, tenant: ResolvedTenant, number: int, size: int = 900) -> None:
    sql(tenancy, tenant, "CREATE TABLE IF NOT EXISTS written (number INTEGER, filler BLOB)")
    sql(tenancy, tenant, "INSERT INTO written VALUES (?, randomblob(?))", number, size)


def numbers(tenancy: Tenancy, tenant: ResolvedTenant) -> list[int]:
    return [row[0] for row in sql(tenancy, tenant, "SELECT number FROM written ORDER BY number")]


def moment(keeper: Keeper, tenant: ResolvedTenant) -> Moment:
    return keeper.shelf(tenant.id).moment(keeper.copy(tenant.id).header.seq)


def inside(app: Freehold, work: Callable[..., Any], *arguments: Any) -> Any:
    """Do something in the application's context, as a command does."""

    def do() -> Any:
        with app.app_context():
            return work(*arguments)

    return Context().run(do)


def beside(tenancy: Tenancy, tenant: ResolvedTenant) -> list[str]:
    """Return what lies in a tenant's folder but its file and what SQLite keeps beside that."""
    usual = {"main.sqlite3", "main.sqlite3-wal", "main.sqlite3-shm", "files"}
    return sorted(path.name for path in tenancy.placements.folder(tenant.id).iterdir() if path.name not in usual)


@pytest.fixture
def two(tenancy, keeper, alpha) -> tuple[Moment, Moment]:
    """Two moments: with the row 1, and with the rows 1 and 2."""
    write(tenancy, alpha, 1)
    first = moment(keeper, alpha)
    write(tenancy, alpha, 2)
    return first, moment(keeper, alpha)


@pytest.fixture
def replace(app, tenancy, keeper, alpha) -> Callable[[Moment], Moment | None]:
    def do(wanted: Moment) -> Moment | None:
        return inside(app, restore_replacing, tenancy, keeper, tenancy.registry.by_id(alpha.id), wanted)

    return do


@pytest.fixture
def beside_it(app, tenancy, alpha) -> Callable[[Moment, str], ResolvedTenant]:
    def do(wanted: Moment, slug: str) -> ResolvedTenant:
        return inside(app, restore_as, tenancy, alpha.id, wanted, slug, "Brought Back")

    return do


def test_rows_and_stored_files_are_of_the_same_moment(tenancy, keeper, alpha, at, replace, beside_it):
    kept = at(alpha, lambda: storage.put(b"a picture of the old days").name)
    write(tenancy, alpha, 1)
    first = moment(keeper, alpha)
    young = at(alpha, lambda: storage.put(b"a picture of today").name)
    write(tenancy, alpha, 2)
    moment(keeper, alpha)
    at(alpha, lambda: db.session.delete(storage.find(kept)))
    (tenancy.placements.folder(alpha.id) / "files" / kept[:2] / kept).unlink()

    copy = beside_it(first, "again")
    assert numbers(tenancy, copy) == [1]
    assert at(copy, lambda: storage.read(kept)) == b"a picture of the old days"
    assert at(copy, lambda: storage.find(young)) is None
    assert numbers(tenancy, alpha) == [1, 2], "the living one is left alone"

    replace(first)
    again = tenancy.registry.by_id(alpha.id)
    assert numbers(tenancy, again) == [1]
    assert at(again, lambda: storage.read(kept)) == b"a picture of the old days"
    assert beside(tenancy, again) == []


def test_the_new_one_beside_has_a_key_of_its_own_and_the_old_one_does_not_open_it(tenancy, two, beside_it, alpha):
    copy = beside_it(two[0], "again")
    with pytest.raises(Exception, match="not a database"):
        connect(tenancy.placements.file(copy.id), tenancy.keys.database_key(alpha.id))
    assert (copy.state, copy.schema, copy.preview_of) == ("active", tenancy.schema.head, None)
    assert sql(tenancy, copy, "SELECT tenant_id FROM stamp") == [(copy.id,)]


def test_todays_state_is_kept_as_a_moment_and_the_way_back_leads_there(tenancy, keeper, alpha, two, replace):
    write(tenancy, alpha, 3)
    before = replace(two[0])
    assert numbers(tenancy, tenancy.registry.by_id(alpha.id)) == [1]
    write(tenancy, alpha, 7)
    middle = replace(before)
    assert numbers(tenancy, tenancy.registry.by_id(alpha.id)) == [1, 2, 3]
    replace(middle)
    assert numbers(tenancy, tenancy.registry.by_id(alpha.id)) == [1, 7]
    replace(two[1])
    assert numbers(tenancy, tenancy.registry.by_id(alpha.id)) == [1, 2]


def test_sessions_end_one_off_work_is_held_and_schedules_go_on(
    tenancy, keeper, alpha, at, signed_in, client_for, replace
):
    browser = signed_in(alpha)
    at(alpha, lambda: due.add("send", {}).id)
    at(alpha, lambda: due.add("sent", {}))
    at(alpha, lambda: db.session.add(due.Due(job="sweep", arguments={}, run_at=utcnow(), schedule="sweep", attempts=0)))
    sql(tenancy, alpha, "UPDATE due SET holder = 'queue', leased_until = 9e15 WHERE job = 'sent'")
    assert browser.get("/desk/").status_code == 200
    replace(moment(keeper, alpha))
    assert browser.get("/desk/").status_code in (302, 303, 401, 403)
    assert sql(tenancy, alpha, "SELECT count(*) FROM session") == [(0,)]
    held = sql(tenancy, alpha, "SELECT job, holder, set_aside_at IS NOT NULL, error FROM due WHERE job LIKE 'sen%'")
    assert [row[:3] for row in held] == [("send", "", 1), ("sent", "", 1)]
    assert "brought back from a copy" in held[0][3]
    assert sql(tenancy, alpha, "SELECT set_aside_at FROM due WHERE schedule = 'sweep'") == [(None,)]


def test_recovery_codes_and_links_that_were_used_since_do_not_live_again(
    app, tenancy, keeper, alpha, at, has_app, replace
):
    """A copy knows every code and link of its time as unused; whoever had codes is told so when they sign in."""
    at(alpha, lambda: JoinDomain.approve("joiners.test", by=User.by_email("owner@alpha.test")))
    join = f"/sign-in/join/{at(alpha, lambda: token_for('jo@joiners.test'))}"
    help_ = f"/set-up/{at(alpha, lambda: SetUpLink.issue(User.by_email('owner@alpha.test')))}"
    visitor = _client(app, alpha.primary_host)
    assert visitor.get(join).status_code == visitor.get(help_).status_code == 200
    first = moment(keeper, alpha)
    assert give_code(half_way(app, alpha), has_app[0]).location == "/desk/"
    replace(first)
    today = tenancy.registry.by_id(alpha.id)
    for code in has_app[:2]:
        assert give_code(half_way(app, alpha), code).status_code == 422
    assert visitor.get(join).status_code == visitor.get(help_).status_code == 404
    again = half_way(app, alpha)
    assert give_code(again, codes_at()[1]).location == "/desk/"
    page = again.get("/desk/").text
    assert "You have no recovery codes" in page
    assert page.count("Get new ones") == 1
    assert acts(at, today)[-5:-1].count("recovery_codes_voided") == 1
    assert "of everybody who had some (1) count no more" in again.get("/desk/settings/audit/").text
    assert at(today, lambda: audit.verify(current_tenant())) is None
    replace(moment(keeper, alpha))
    assert acts(at, tenancy.registry.by_id(alpha.id)).count("recovery_codes_voided") == 1, "nobody had any"


def test_a_stored_file_that_is_let_go_while_it_is_brought_back_is_there_all_the_same(
    tenancy, keeper, alpha, at, replace, monkeypatch
):
    name, make = at(alpha, lambda: storage.put(b"a picture").name), restore._make
    wanted = moment(keeper, alpha)

    def made_and_let_go(*given):
        names = make(*given)
        at(alpha, lambda: storage.forget(name))
        at(alpha, lambda: storage.clear(name))
        return names

    monkeypatch.setattr(restore, "_make", made_and_let_go)
    replace(wanted)
    assert at(tenancy.registry.by_id(alpha.id), lambda: storage.read(name)) == b"a picture"


def test_streams_start_anew_and_cached_pages_miss(tenancy, keeper, alpha, at, replace, monkeypatch):
    first = moment(keeper, alpha)
    seen = [at(alpha, lambda: (events.position().epoch, current_version()))]
    for number in range(3):
        if number == 1:
            monkeypatch.setattr(restore.time, "time", lambda: 1_000_000_000.0)  # the clock goes back for years
        replace(first)
        again = tenancy.registry.by_id(alpha.id)
        seen.append(at(again, lambda: (events.position().epoch, current_version())))
    assert len({epoch for epoch, _ in seen}) == 4
    assert [version for _, version in seen] == sorted({version for _, version in seen})


def test_a_moment_of_before_a_rotation_of_the_key_is_brought_back(
    app, tenancy, keeper, alpha, at, two, replace, beside_it
):
    name = at(alpha, lambda: storage.put(b"sealed under the first key").name)
    first = moment(keeper, alpha)
    inside(app, rotation.rotate, tenancy, tenancy.registry.by_id(alpha.id))
    write(tenancy, alpha, 3)
    later = moment(keeper, tenancy.registry.by_id(alpha.id))
    assert keeper.shelf(alpha.id).header(first).key_version == 1
    assert keeper.shelf(alpha.id).header(later).key_version == 2
    for wanted, rows in ((first, [1, 2]), (later, [1, 2, 3]), (two[0], [1])):
        replace(wanted)
        again = tenancy.registry.by_id(alpha.id)
        assert numbers(tenancy, again) == rows
    replace(first)
    assert at(tenancy.registry.by_id(alpha.id), lambda: storage.read(name)) == b"sealed under the first key"
    assert at(beside_it(first, "again"), lambda: storage.read(name)) == b"sealed under the first key"


@pytest.mark.parametrize("how", ["missing", "empty", "noise", "cut short", "a page", "a link", "a folder"])
def test_a_living_file_that_cannot_be_read_is_replaced_and_kept_to_be_looked_at(
    tenancy, keeper, alpha, client_for, two, replace, tmp_path, how
):
    path = tenancy.placements.file(alpha.id)
    tenancy.pool.discard(alpha.id)
    whole = path.read_bytes()
    if how in ("missing", "a link", "a folder"):
        path.rename(tmp_path / "elsewhere")
    if how == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif how == "a folder":
        path.mkdir()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "noise":
        path.write_bytes(os.urandom(len(whole)))
    elif how == "cut short":
        os.truncate(path, len(whole) // 3)
    elif how == "a page":
        path.write_bytes(whole[:4096] + os.urandom(4096 * 40) + whole[4096 * 41 :])
    assert client_for(alpha).get("/").status_code in (200, 503)
    kept = replace(two[1])
    assert numbers(tenancy, tenancy.registry.by_id(alpha.id)) == [1, 2]
    assert client_for(alpha).get("/").status_code == 200
    assert kept is not None or how == "missing" or beside(tenancy, alpha) == ["main.sqlite3.damaged"]


def unchanged(tenancy: Tenancy, tenant: ResolvedTenant, rows: list[int]) -> None:
    """Check that a tenant serves what it served, and that nothing of a restore is left."""
    again = tenancy.registry.by_id(tenant.id)
    assert again.placement == "ready"
    assert numbers(tenancy, again) == rows
    write(tenancy, again, 99)
    sql(tenancy, again, "DELETE FROM written WHERE number = 99")
    assert beside(tenancy, again) == []


def spoil(keeper: Keeper, tenant: ResolvedTenant, wanted: Moment) -> None:
    name = next(name for name in keeper.shelf(tenant.id).packs() if name.seq == wanted.seq)
    path = keeper.shelf(tenant.id).target.root / tenant.id[:2] / tenant.id / "packs" / str(name)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])


def test_a_damaged_copy_is_refused_by_name_and_nothing_has_changed(tenancy, keeper, alpha, two, replace, beside_it):
    spoil(keeper, alpha, two[1])
    with pytest.raises(PackDamaged, match=r"Page \d+ in .*0000000002-.*\.pack was changed"):
        replace(two[1])
    unchanged(tenancy, alpha, [1, 2])
    with pytest.raises(PackDamaged):
        beside_it(two[1], "again")
    assert tenancy.registry.by_slug("again") is None
    assert len(list(tenancy.config.tenants_data.glob("*/*"))) == 2
    replace(two[0])
    unchanged(tenancy, alpha, [1])


def test_what_does_not_prove_whole_is_not_put_in_place(tenancy, keeper, alpha, two, replace, monkeypatch):
    monkeypatch.setattr(restore, "count_rows", lambda _: {"written": 3})
    shelf = keeper.shelf(alpha.id)
    assert "written" in shelf.header(shelf.moment(1)).rows
    with pytest.raises(NotProven, match="number of rows is another in"):
        replace(two[0])
    monkeypatch.undo()
    unchanged(tenancy, alpha, [1, 2])


def test_a_file_that_stays_in_use_is_not_replaced(tenancy, keeper, alpha, two, replace, monkeypatch):
    monkeypatch.setattr(placements, "DRAIN_SECONDS", 0.4)
    held = tenancy.placements.open_file(alpha.id)
    held.execute("BEGIN")
    held.execute("SELECT * FROM stamp").fetchone()
    with pytest.raises(Refused, match="stayed in use"):
        replace(two[0])
    held.close()
    unchanged(tenancy, alpha, [1, 2])


def test_a_target_that_is_gone_full_or_read_only_is_told_plainly_and_nothing_has_changed(
    tenancy, keeper, alpha, two, replace, monkeypatch
):
    root = tenancy.config.backups
    root.rename(root.with_name("aside"))
    with pytest.raises(TargetDown, match="Is its disk mounted"):
        replace(two[0])
    root.with_name("aside").rename(root)
    unchanged(tenancy, alpha, [1, 2])
    shutil.rmtree(root / ".incoming")
    (root / ".incoming").write_text("in the way")
    with pytest.raises(TargetDown, match="cannot be written"):
        replace(two[0])
    (root / ".incoming").unlink()
    unchanged(tenancy, alpha, [1, 2])


@pytest.mark.parametrize("guarded", [True, False])
def test_a_full_disk_refuses_a_restore_and_leaves_all_as_it_was(
    small_disk, tenancy, keeper, alpha, two, replace, beside_it, monkeypatch, guarded
):
    if not guarded:  # as when others fill it meanwhile
        monkeypatch.setattr(restore, "_require_room", lambda folder, size: None)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size - 100_000)
    for attempt in (lambda: replace(two[0]), lambda: beside_it(two[0], "again")):
        with pytest.raises(DiskFull):
            attempt()
        assert beside(tenancy, alpha) == []
    assert tenancy.registry.by_slug("again") is None
    ballast.unlink()
    unchanged(tenancy, alpha, [1, 2])
    replace(two[0])
    unchanged(tenancy, alpha, [1])


def test_a_disk_that_has_room_for_one_copy_and_not_for_two_is_told_too(
    small_disk, tenancy, keeper, alpha, two, beside_it, monkeypatch
):
    monkeypatch.setattr(restore, "_require_room", lambda folder, size: None)
    size = keeper.shelf(alpha.id).size()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - size * 3 // 2))
    with pytest.raises(DiskFull, match="not enough room"):
        beside_it(two[0], "again")
    assert tenancy.registry.by_slug("again") is None
    assert len(list(small_disk.glob("*/*/main.sqlite3"))) == 2
    ballast.unlink()
    unchanged(tenancy, alpha, [1, 2])


@pytest.mark.parametrize("slug", ["alpha", "platform", "../x", ""])
def test_a_short_name_that_cannot_be_given_is_refused_before_anything_is_made(tenancy, two, beside_it, slug):
    with pytest.raises((Refused, InvalidName)):
        beside_it(two[0], slug)
    assert len(list(tenancy.config.tenants_data.glob("*/*"))) == 2


def test_a_stored_file_that_is_not_kept_either_is_left_out_and_the_rest_comes_back(
    tenancy, keeper, alpha, at, beside_it
):
    here, lost = (at(alpha, lambda data=data: storage.put(data).name) for data in (b"here", b"lost"))
    (tenancy.placements.folder(alpha.id) / "files" / lost[:2] / lost).unlink()
    write(tenancy, alpha, 1)
    copy = beside_it(moment(keeper, alpha), "again")
    assert at(copy, lambda: storage.read(here)) == b"here"
    with pytest.raises(storage.StorageDamaged):
        at(copy, lambda: storage.read(lost))


def test_a_pipe_in_the_place_of_a_kept_file_holds_nobody_up(tenancy, keeper, alpha, at, beside_it):
    name = at(alpha, lambda: storage.put(b"here").name)
    first = moment(keeper, alpha)
    kept = keeper.shelf(alpha.id).target.root / keeper.shelf(alpha.id).file_path(name)
    kept.unlink()
    os.mkfifo(kept)
    assert beside_it(first, "again").state == "active"


def test_the_archivist_in_another_process_goes_on_rightly_after_a_restore(app, tenancy, keeper, alpha, two, tmp_path):
    """The trap: a keeper that remembers where the shelf stood, while another one has copied since."""
    other = Keeper(tenancy)
    with closing(other.raw_side):
        before = inside(app, restore_replacing, tenancy, other, tenancy.registry.by_id(alpha.id), two[0])
    write(tenancy, alpha, 5)
    after = moment(keeper, alpha)
    assert after.seq > before.seq
    shelf = keeper.shelf(alpha.id)
    assert len(shelf.packs()) == len(shelf.moments())
    with app.app_context():
        rows = {}
        for each in shelf.moments():
            path = tmp_path / f"{each.seq}.sqlite3"
            header = restore.assemble(shelf, each, path)
            key = tenancy.keys.database_key(alpha.id)
            restore.verify(path, key, header)
            with closing(connect(path, key, journal="DELETE")) as file:
                rows[each.seq] = [row[0] for row in file.execute("SELECT number FROM written ORDER BY number")]
    assert rows[after.seq] == [1, 5]
    assert rows[before.seq] == [1, 2]


def test_it_is_told_in_the_ledger_when_to_what_time_and_where_the_old_state_is(app, tenancy, alpha, two, replace):
    kept = replace(two[0])
    with app.app_context():
        row = db.session.scalar(select(AuditRow).where(AuditRow.kind == "tenant_brought_back"))
        assert (row.tenant_id, row.detail["moment"], row.detail["before"]) == (
            alpha.id, two[0].at.isoformat(), kept.at.isoformat(),
        )  # fmt: skip


# Killed with -9: whoever comes next finds the old state or the new one, and a tenant that serves.

POINTS = {
    "while it is put together": (restore, "newest_pages"),
    "when it was put together": (restore, "verify"),
    "when it was made": (restore, "_bring_files"),
    "when it is sealed": (placements.Placements, "_alone"),
    "with the house empty": (Drained, "replace"),
    "before the rename": (placements, "_sync"),
    "after the rename": (placements.Placements, "_settle"),
    "when the key is chosen": (placements.Placements, "_choose_key"),
}


def killed(app, tenancy: Tenancy, tenant: ResolvedTenant, wanted: Moment, prepare: Callable[[], None]) -> int:
    """Bring a moment back in a process of its own, which `prepare` may have killed; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        prepare()
        fresh = Keeper(tenancy)
        inside(app, restore_replacing, tenancy, fresh, tenant, wanted)
    finally:
        os._exit(1)


def recovered(tenancy: Tenancy, tenant: ResolvedTenant) -> list[int]:
    """Do what the archivist does for whoever was killed, and return the rows of the tenant."""
    for sealed in tenancy.registry.sealed():
        assert tenancy.placements.recover(sealed)
    again = tenancy.registry.by_id(tenant.id)
    assert again.placement == "ready"
    assert not [name for name in beside(tenancy, again) if name.endswith(".incoming")]
    assert sql(tenancy, again, "PRAGMA integrity_check") == [("ok",)]
    return numbers(tenancy, again)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_of_its_way_the_old_state_serves_or_the_new_one(
    app, tenancy, keeper, alpha, two, replace, point
):
    write(tenancy, alpha, 3)

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = killed(app, tenancy, alpha, two[0], lambda: setattr(*POINTS[point], die))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    expected = [1] if list(POINTS).index(point) >= 6 else [1, 2, 3]
    assert recovered(tenancy, alpha) == expected
    write(tenancy, alpha, 4)
    replace(two[1])
    assert recovered(tenancy, alpha) == [1, 2]
    assert beside(tenancy, alpha) == []


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_killed_at_any_time_two_hundred_times_the_old_state_serves_or_the_new_one(
    app, tenancy, keeper, alpha, two, replace
):
    dice, outcomes = random.Random(4), {"old": 0, "new": 0, "sealed": 0}
    began = time.monotonic()
    replace(two[1])
    usual = time.monotonic() - began
    for number in range(200):
        write(tenancy, alpha, 1000 + number)
        old = numbers(tenancy, tenancy.registry.by_id(alpha.id))
        wanted = two[number % 2]
        child = killed(app, tenancy, tenancy.registry.by_id(alpha.id), wanted, lambda: None)
        time.sleep((0.4 + dice.random()) * usual)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        outcomes["sealed"] += bool(tenancy.registry.sealed())
        found = recovered(tenancy, alpha)
        new = [1] if number % 2 == 0 else [1, 2]
        assert found in (old, new)
        outcomes["old" if found == old else "new"] += 1
    print(outcomes)
    assert min(outcomes.values()) > 5
    replace(two[0])
    assert beside(tenancy, alpha) == []


def test_a_restore_that_a_rotation_overtakes_is_refused(app, tenancy, keeper, alpha, monkeypatch):
    """The file was made under the key of before; in place it could not be opened."""
    keeper.copy(alpha.id)
    make = restore._make

    def made_and_overtaken(*given):
        make(*given)
        rotation.rotate(tenancy, alpha)

    monkeypatch.setattr(restore, "_make", made_and_overtaken)
    with app.app_context():
        with pytest.raises(Refused, match="new key meanwhile"):
            restore.restore_replacing(tenancy, keeper, alpha, keeper.shelf(alpha.id).newest())
        tenancy.placements.open_file(alpha.id).close()
    assert tenancy.registry.by_slug("alpha").placement == "ready"
