"""The archivist's rounds: whoever was written to is copied, nobody else is touched, and no one owner's trouble is another's."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from app import Freehold
from app.backups import archivist as module
from app.backups.archivist import Archivist
from app.backups.keeper import CENTRAL, KEYRING
from app.backups.restore import assemble, verify
from app.facilities import storage, sweep
from app.facilities.sweep import Sweeper
from app.tenancy import ResolvedTenant, Tenancy, database, db, due, jobs, utcnow, watch
from app.tenancy.database import connect
from app.tenancy.errors import DatabaseUnreadable
from app.tenancy.ledger import TenantBackup, TenantDue
from tests.backups.rounds import look_and_round, quick, row, seqs, settled
from tests.running import until


def write(tenancy: Tenancy, tenant: ResolvedTenant, size: int = 900) -> None:
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        file.execute("CREATE TABLE IF NOT EXISTS written (filler BLOB)")
        file.execute("INSERT INTO written VALUES (randomblob(?))", (size,))


def all_seqs(archivist: Archivist, *tenants: ResolvedTenant) -> dict[str, list[int]]:
    return {owner: seqs(archivist, owner) for owner in (*CENTRAL, *(each.id for each in tenants))}


@pytest.fixture
def opened(tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the tenants whose files are opened from now on."""
    found: list[str] = []
    real = tenancy.placements.open_file

    def spy(tenant_id: str, **options: Any) -> Any:
        found.append(tenant_id)
        return real(tenant_id, **options)

    monkeypatch.setattr(tenancy.placements, "open_file", spy)
    return found


def test_an_idle_installation_is_left_alone_for_thirty_rounds(archivist, alpha, beta, opened):
    settled(archivist)
    before = all_seqs(archivist, alpha, beta)
    assert all(before.values())
    opened.clear()
    time.sleep(0.1)
    assert sum(look_and_round(archivist) for _ in range(30)) == 0
    assert all_seqs(archivist, alpha, beta) == before, "the ledger is copied because of itself"
    assert opened == []


def test_where_a_look_is_long_what_was_written_is_read_for_the_sweeper_as_it_is_copied(
    app, archivist, tenancy, alpha, at, opened, monkeypatch
):
    sweeper, turn = archivist._sweeper, utcnow().replace(microsecond=0) + timedelta(hours=1)
    until(lambda: not sweeper.tick() + look_and_round(archivist))
    at(alpha, lambda: jobs.later("events.retire", run_at=turn))
    tenancy.pool.discard(alpha.id)
    monkeypatch.setattr(watch, "SHORT_LOOK", 0.0)
    monkeypatch.setattr(watch, "LOOKING_SHARE", 1e9)
    opened.clear()
    assert sweeper.tick() == 0
    archivist.round()
    assert sweeper.tick() == 0
    assert opened == [alpha.id]
    with app.app_context():
        assert db.session.get(TenantDue, alpha.id).next_at == turn


def test_where_a_look_is_long_a_file_that_nobody_copies_is_looked_into_all_the_same(
    app, tenancy, alpha, at, monkeypatch
):
    sweeper = Sweeper(app)
    until(lambda: not sweeper.tick())
    at(alpha, lambda: jobs.later("events.retire", run_at=utcnow() + timedelta(hours=1)))
    monkeypatch.setattr(watch, "SHORT_LOOK", 0.0)
    monkeypatch.setattr(watch, "LOOKING_SHARE", 1e9)
    assert sweeper.tick() == 0
    monkeypatch.setattr(sweep, "OTHERS_FIRST", 0.0)
    assert sweeper.tick() == 1


def test_only_the_one_that_was_written_to_is_copied_and_the_ledger_says_how_far(
    app, archivist, tenancy, alpha, beta, opened
):
    settled(archivist)
    before = seqs(archivist, beta.id)
    write(tenancy, alpha)
    opened.clear()
    settled(archivist)
    assert set(opened) == {alpha.id}
    assert seqs(archivist, alpha.id) == [2, 1]
    assert seqs(archivist, beta.id) == before
    noted = row(app, alpha)
    header = archivist.keeper.shelf(alpha.id).header(archivist.keeper.shelf(alpha.id).newest())
    assert (noted.seq, noted.epoch, noted.event_id) == (2, header.epoch, header.event_id)
    assert (noted.late_since, noted.error) == (None, "")


def test_a_restart_copies_no_tenant_that_has_not_changed(app, archivist, tenancy, alpha, beta, opened):
    settled(archivist)
    write(tenancy, beta)
    opened.clear()
    again = Archivist(app)
    with closing(again.keeper.raw_side):
        again.remember()
        settled(again)
    assert set(opened) == {beta.id}
    assert (seqs(archivist, alpha.id), seqs(archivist, beta.id)) == ([1], [2, 1])


def test_a_new_base_is_made_when_the_deltas_outgrow_the_file(archivist, tenancy, alpha):
    for _ in range(12):
        write(tenancy, alpha, 100_000)
        with closing(tenancy.placements.open_file(alpha.id)) as file:
            file.execute("DELETE FROM written")
        settled(archivist)
    packs = archivist.keeper.shelf(alpha.id).packs()
    assert 2 <= sum(name.parent == 0 for name in packs) < len(packs)


def test_the_keyring_is_always_copied_whole_and_nothing_older_than_two_weeks_is_kept(archivist, tenancy):
    archivist._thin_from = 0.0
    for days in (30, 20, 15, 1):
        with time_machine.travel(utcnow() - timedelta(days=days)):
            tenancy.keys.make(f"owner-{days}")
            archivist.keeper.copy(KEYRING)
    assert {name.parent for name in archivist.keeper.shelf(KEYRING).packs()} == {0}
    for watched in archivist._watched.values():
        watched.thinned_at = -1e9
    settled(archivist)
    archivist._watched[KEYRING].thinned_at = -1e9  # quiet since, and its turn all the same
    settled(archivist)
    ages = [utcnow() - moment.at for moment in archivist.keeper.shelf(KEYRING).moments()]
    assert max(ages) < timedelta(days=14)


def aged(archivist: Archivist, tenancy: Tenancy, tenant: ResolvedTenant, count: int = 8) -> None:
    """Copy a tenant every minute, five hours ago."""
    begin = utcnow() - timedelta(hours=5)
    for minute in range(count):
        write(tenancy, tenant)
        with time_machine.travel(begin + timedelta(minutes=minute)):
            archivist.keeper.copy(tenant.id)


def test_old_moments_are_thinned_and_the_ledger_says_what_is_kept(app, archivist, tenancy, alpha):
    aged(archivist, tenancy, alpha)
    archivist._thin_from = 0.0
    settled(archivist)
    archivist._watched[alpha.id].thinned_at = -1e9
    settled(archivist)
    left = seqs(archivist, alpha.id)
    assert len(left) <= 3
    assert (row(app, alpha).moments, row(app, alpha).kept_bytes) == (
        len(left), sum(archivist.keeper.shelf(alpha.id).packs().values()),
    )  # fmt: skip


def test_a_clock_that_leaps_for_years_takes_nothing_away(archivist, tenancy, alpha, monkeypatch):
    aged(archivist, tenancy, alpha)
    archivist._thin_from = 0.0
    before = set(seqs(archivist, alpha.id))
    with time_machine.travel(utcnow() + timedelta(days=3000)):
        write(tenancy, alpha)
        settled(archivist)
        for watched in archivist._watched.values():
            watched.thinned_at = -1e9
        settled(archivist)
        assert before <= set(seqs(archivist, alpha.id))
    settled(archivist)
    assert before <= set(seqs(archivist, alpha.id))


def test_a_clock_that_goes_back_loses_no_moment_and_the_newest_is_the_last_made(archivist, tenancy, alpha):
    settled(archivist)
    with time_machine.travel(utcnow() - timedelta(days=400)):
        write(tenancy, alpha)
        settled(archivist)
        archivist._thin_from = 0.0
        archivist._watched[alpha.id].thinned_at = -1e9
        settled(archivist)
    assert seqs(archivist, alpha.id) == [2, 1]
    assert archivist.keeper.shelf(alpha.id).newest().seq == 2
    assert archivist.keeper.shelf(alpha.id).at(utcnow()).seq == 2


def test_nothing_is_thinned_in_the_first_minutes_when_the_clock_may_not_be_set_yet(app, tenancy, alpha, monkeypatch):
    quick(monkeypatch, THIN_EVERY=600.0)
    before = Archivist(app)
    with closing(before.keeper.raw_side):
        before.keeper.prepare()
        aged(before, tenancy, alpha)
    with time_machine.travel(utcnow() + timedelta(days=3000)):
        fresh = Archivist(app)
        with closing(fresh.keeper.raw_side):
            settled(fresh)
    assert len(seqs(fresh, alpha.id)) >= 8


def in_trouble(app: Freehold, archivist: Archivist, alpha: ResolvedTenant, beta: ResolvedTenant, saying: str) -> None:
    """Check that the one's trouble is told, once, and that the other is copied."""
    for _ in range(30):
        look_and_round(archivist)
        time.sleep(0.03)
    assert saying in row(app, alpha).error
    assert row(app, beta).error == ""
    assert seqs(archivist, beta.id), "one tenant's trouble keeps another from being copied"
    before = seqs(archivist, "ledger")
    for _ in range(12):
        look_and_round(archivist)
        time.sleep(0.03)
    assert seqs(archivist, "ledger") == before, "the same trouble is noted again and again"


@pytest.mark.parametrize(
    ("how", "saying"),
    [("missing", "is missing"), ("a link", "symbolic link"), ("a pipe", "opened"), ("noise", "damaged"),
        ("cut short", "cut short"),
     ("no table", "damaged"), ("older", "older")],
)  # fmt: skip
def test_one_unreadable_file_is_told_and_costs_nobody_else_a_copy(
    app, archivist, tenancy, alpha, beta, tmp_path, how, saying
):
    path = tenancy.placements.file(alpha.id)
    tenancy.pool.discard(alpha.id)
    if how == "no table":
        with closing(tenancy.placements.open_file(alpha.id)) as file:
            file.execute("DROP TABLE stored_file")
    elif how == "noise":
        path.write_bytes(os.urandom(100_000))
    elif how == "cut short":
        os.truncate(path, path.stat().st_size // 8192 * 4096)
    elif how == "older":
        with app.app_context():
            db.session.add(TenantBackup(tenant_id=alpha.id, seq=1, at=utcnow(), epoch=1 << 40, event_id=5))
            db.session.commit()
    else:
        path.rename(tmp_path / "elsewhere")
        if how == "a link":
            path.symlink_to(tmp_path / "elsewhere")
        elif how == "a pipe":
            os.mkfifo(path)
    in_trouble(app, archivist, alpha, beta, saying)


def test_one_shelf_that_cannot_be_written_costs_nobody_else_a_copy(app, archivist, alpha, beta):
    place = archivist.keeper.shelf(alpha.id).target.root / alpha.id[:2]
    place.mkdir(parents=True)
    (place / alpha.id).write_text("in the way")
    in_trouble(app, archivist, alpha, beta, "cannot be")


def test_whatever_fails_with_one_owner_the_others_get_their_turn(app, archivist, alpha, beta, monkeypatch):
    real = archivist.keeper.copy

    def failing(owner: str) -> Any:
        if owner == alpha.id:
            raise ZeroDivisionError
        return real(owner)

    monkeypatch.setattr(archivist.keeper, "copy", failing)
    in_trouble(app, archivist, alpha, beta, "ZeroDivisionError")


def test_a_damaged_pack_is_set_aside_by_the_thinning_and_a_new_base_made_at_once(app, archivist, tenancy, alpha):
    archivist._thin_from = float("inf")
    aged(archivist, tenancy, alpha)
    settled(archivist)
    shelf = archivist.keeper.shelf(alpha.id)
    path = shelf.target.root / shelf.folder / "packs" / str(next(name for name in shelf.packs() if name.seq == 4))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    archivist._thin_from, archivist._watched[alpha.id].thinned_at = 0.0, -1e9
    archivist.round()
    assert "was changed after it was written" in row(app, alpha).error
    settled(archivist)
    newest = max(shelf.packs())
    assert newest.parent == 0
    assert not path.exists()
    assert shelf.newest().seq == newest.seq
    archivist._watched[alpha.id].thinned_at = -1e9
    settled(archivist)
    assert max(shelf.packs()) == newest, "no base again and again"


def test_a_long_reader_makes_it_late_and_told_holds_no_writer_and_is_caught_up(app, archivist, tenancy, alpha):
    settled(archivist)
    write(tenancy, alpha)
    reader = tenancy.placements.open_file(alpha.id)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM written").fetchone()
    write(tenancy, alpha)
    took, stop = [], threading.Event()

    def writer() -> None:
        with closing(tenancy.placements.open_file(alpha.id)) as file:
            while not stop.is_set():
                began = time.monotonic()
                file.execute("INSERT INTO written VALUES (randomblob(900))")
                took.append(time.monotonic() - began)
                time.sleep(0.002)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            look_and_round(archivist)
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join()
    assert seqs(archivist, alpha.id) == [1]
    late = row(app, alpha)
    assert late.late_since is not None
    assert "reads an older state" in late.error
    assert statistics.median(took) < 0.05
    assert max(took) < 1.0
    reader.close()
    time.sleep(0.3)
    settled(archivist)
    assert seqs(archivist, alpha.id)[0] >= 2
    caught_up = row(app, alpha)
    assert (caught_up.late_since, caught_up.error) == (None, "")


BY_HAND = """
import sys, time
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    with open(sys.argv[1], "rb") as file:
        file.read()
    time.sleep(0.02)
"""


def test_somebody_who_opens_the_file_by_hand_disturbs_no_copy(archivist, keeper, tenancy, alpha, writers, tmp_path):
    from tests.backups.test_capture import check_against_the_record, furnish, proven

    path, key = furnish(tenancy, alpha, 1_000_000)
    begun = writers(path, key)
    until(lambda: all(begun.acknowledged()))
    hand = subprocess.Popen([sys.executable, "-c", BY_HAND, str(path), "3"])
    other = connect(path, key)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        other.execute("SELECT count(*) FROM written").fetchone()
        look_and_round(archivist)
        time.sleep(0.05)
    hand.wait()
    record = begun.stop()
    other.close()
    settled(archivist)
    checked = seqs(archivist, alpha.id)
    assert len(checked) > 3
    for seq in (checked[0], checked[1], checked[len(checked) // 2]):
        with closing(proven(tenancy, keeper, alpha, seq, tmp_path)) as restored:
            at = archivist.keeper.shelf(alpha.id).moment(seq).at.timestamp()
            check_against_the_record(restored, at, record)


def test_three_tenants_at_once_are_each_copied_whole(app, archivist, tenancy, alpha, beta, tmp_path):
    with app.app_context():
        gamma = tenancy.lifecycle.create("gamma", "Gamma Guild")
    stop = threading.Event()

    def writer(tenant: ResolvedTenant) -> None:
        while not stop.is_set():
            write(tenancy, tenant)

    threads = [threading.Thread(target=writer, args=(each,)) for each in (alpha, beta, gamma)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        look_and_round(archivist)
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    settled(archivist)
    for tenant in (alpha, beta, gamma):
        shelf = archivist.keeper.shelf(tenant.id)
        path = tmp_path / tenant.slug
        header = assemble(shelf, shelf.newest(), path)
        verify(path, tenancy.keys.database_key(tenant.id), header)
        with closing(connect(path, tenancy.keys.database_key(tenant.id), journal="DELETE")) as copy:
            kept = copy.execute("SELECT count(*) FROM written").fetchone()
        with closing(tenancy.placements.open_file(tenant.id)) as living:
            assert living.execute("SELECT count(*) FROM written").fetchone() == kept


def test_a_sealed_tenant_is_left_alone_and_copied_when_it_serves_again(archivist, tenancy, alpha, beta):
    settled(archivist)
    write(tenancy, alpha)
    write(tenancy, beta)
    with tenancy.placements.drained(alpha.id):
        settled(archivist)
        assert (seqs(archivist, alpha.id), seqs(archivist, beta.id)) == ([1], [2, 1])
    settled(archivist)
    assert seqs(archivist, alpha.id) == [2, 1]


def test_a_seal_that_a_killed_mover_left_is_taken_away(archivist, tenancy, alpha):
    tenancy.placements._place(alpha.id, "sealed")
    archivist.round()
    assert not tenancy.registry.sealed()


def test_a_tenant_that_is_gone_meanwhile_is_not_looked_for_again(app, archivist, tenancy, alpha):
    with app.app_context():
        gamma = tenancy.lifecycle.create("gamma", "Gamma Guild")
    settled(archivist)
    write(tenancy, gamma)
    archivist._watch.look()
    archivist._see_changes()
    tenancy.lifecycle._unmake(gamma)
    settled(archivist)
    assert gamma.id not in archivist._watched
    assert seqs(archivist, alpha.id)


def test_a_preview_is_never_copied(app, archivist, tenancy, alpha):
    settled(archivist)
    with app.app_context():
        from app.backups import previews

        preview = previews.open_preview(tenancy, alpha, archivist.keeper.shelf(alpha.id).newest())
    settled(archivist)
    assert seqs(archivist, preview.id) == []


def test_a_stored_file_that_is_missing_is_no_reason_for_no_copy(archivist, tenancy, alpha, at):
    lost, here = (at(alpha, lambda data=data: storage.put(data).name) for data in (b"lost", b"here"))
    (tenancy.placements.folder(alpha.id) / "files" / lost[:2] / lost).unlink()
    settled(archivist)
    assert set(archivist.keeper.shelf(alpha.id).files()) == {here}
    later = at(alpha, lambda: storage.put(b"later").name)
    settled(archivist)
    assert set(archivist.keeper.shelf(alpha.id).files()) == {here, later}


def test_work_that_nobody_can_make_sense_of_is_no_reason_for_no_copy(archivist, tenancy, alpha, at):
    settled(archivist)
    before = seqs(archivist, alpha.id)

    def spoil() -> None:
        row = due.add("storage.clear", {})
        row.holder = f"{due.this_process().partition('/')[0]}/nobody/knows"

    at(alpha, spoil)
    look_and_round(archivist)
    assert len(seqs(archivist, alpha.id)) == len(before) + 1


def test_what_could_not_be_noted_is_noted_when_the_ledger_is_free(app, archivist, tenancy, alpha, monkeypatch):
    monkeypatch.setattr(database.waiting, "busy", 0.05)
    monkeypatch.setattr(database.waiting, "most", 0.05)
    ledger = tenancy._open_central("ledger")
    tenancy.engines["ledger"].dispose()
    with closing(ledger):
        ledger.execute("PRAGMA busy_timeout = 50")
        ledger.execute("BEGIN IMMEDIATE")
        look_and_round(archivist)
        ledger.execute("ROLLBACK")
    assert row(app, alpha) is None
    settled(archivist)
    assert row(app, alpha).seq >= 1


def test_what_was_left_half_made_at_the_target_goes_after_an_hour(archivist, monkeypatch):
    folder = archivist.keeper.shelf(KEYRING).target.incoming().parent
    old, young = folder / "old", folder / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    archivist._drill_at = 0.0
    monkeypatch.setattr(module.drills, "oldest", lambda *_: [])
    archivist._drill_oldest()
    assert [path.name for path in folder.iterdir()] == ["young"]


def test_a_key_that_changes_while_a_copy_begins_is_the_one_that_the_copy_tells(
    app, archivist, keeper, tenancy, alpha, tmp_path, monkeypatch
):
    """The trap: the version of the key asked before the file is opened, and a rotation in between."""
    from app.tenancy import rotation

    real, turned = tenancy.placements.open_file, []

    def rotated_first(tenant_id: str, **options: Any) -> Any:
        if not turned and not options.get("any_age"):
            turned.append(True)
            with app.app_context():
                rotation.rotate(tenancy, alpha)
        return real(tenant_id, **options)

    monkeypatch.setattr(tenancy.placements, "open_file", rotated_first)
    copied = keeper.copy(alpha.id)
    assert turned
    assert copied.header.key_version == 2
    shelf = keeper.shelf(alpha.id)
    header = assemble(shelf, shelf.newest(), tmp_path / "restored")
    verify(tmp_path / "restored", tenancy.keys.database_key(alpha.id, 2), header)


def test_an_older_file_put_back_by_hand_is_not_copied_over_the_newer_moments(archivist, tenancy, alpha, at, tmp_path):
    path = tenancy.placements.file(alpha.id)
    settled(archivist)
    tenancy.pool.discard(alpha.id)
    older = path.read_bytes()
    at(alpha, lambda: _event())
    settled(archivist)
    before = seqs(archivist, alpha.id)
    tenancy.pool.discard(alpha.id)
    path.write_bytes(older)
    with pytest.raises(DatabaseUnreadable, match="older than its newest copy"):
        archivist.keeper.copy(alpha.id)
    for _ in range(5):
        look_and_round(archivist)
    assert seqs(archivist, alpha.id) == before


def _event() -> None:
    from app.facilities.events import Event

    db.session.add(Event(kind="LinePosted", subject="line:1", audience="members"))
