import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select, text

from app.facilities import events
from app.facilities.events import Event
from app.tenancy import ResolvedTenant, Tenancy, db, tenant_context, utcnow
from app.tenancy.database import connect
from app.tenancy.errors import DatabaseUnreadable, Refused, TenantBusy
from app.tenancy.ledger import AuditRow, TenantBackup


def file_of(tenancy: Tenancy, tenant: ResolvedTenant) -> Path:
    return tenancy.placements.file(tenant.id)


def swap(tenancy: Tenancy, one: ResolvedTenant, other: ResolvedTenant) -> None:
    first, second = file_of(tenancy, one), file_of(tenancy, other)
    spare = first.with_suffix(".spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def ledger_rows(app, tenancy: Tenancy, kind: str) -> list[AuditRow]:
    with app.app_context():
        return list(db.session.scalars(select(AuditRow).where(AuditRow.kind == kind)))


@pytest.mark.parametrize("tenant_id", ["", "..", "../../etc", "a" * 31, "A" * 32, "a" * 31 + "/"])
def test_a_folder_is_named_by_the_registrys_id_alone(tenancy: Tenancy, tenant_id: str):
    with pytest.raises(ValueError, match="32 hexadecimal"):
        tenancy.placements.folder(tenant_id)


def test_swapped_files_are_refused(tenancy, alpha, beta):
    """First layer: each file opens with its own tenant's key alone."""
    swap(tenancy, alpha, beta)
    for tenant in (alpha, beta):
        with pytest.raises(DatabaseUnreadable, match="damaged, cut short, or another tenant's"):
            tenancy.placements.open(tenant)


def test_swapped_files_are_refused_by_their_stamp_when_keys_are_equal(tenancy, alpha, beta, monkeypatch):
    """Second layer, with the keys out of the way: the stamp alone holds."""
    key = tenancy.keys.database_key(alpha.id)
    tenancy.close()
    swap(tenancy, alpha, beta)
    own = tenancy.keys.database_key
    monkeypatch.setattr(tenancy.keys, "database_key", lambda owner: key if owner == beta.id else own(owner))
    with pytest.raises(DatabaseUnreadable, match=f"carries the stamp of {alpha.id}"):
        tenancy.placements.open_file(beta.id)
    monkeypatch.setattr(tenancy.placements, "_refuse_foreign", lambda connection, tenant_id: None)
    leaked = tenancy.placements.open_file(beta.id)
    assert leaked.execute("SELECT tenant_id FROM stamp").fetchone() == (alpha.id,), "the trap, with both guards out"
    leaked.close()


@pytest.mark.parametrize("part", ["main.sqlite3", "."])
def test_a_symbolic_link_is_refused(tenancy, alpha, tmp_path, part):
    original = (tenancy.placements.folder(alpha.id) / part).resolve()
    moved = tmp_path / "elsewhere"
    original.rename(moved)
    original.symlink_to(moved)
    with pytest.raises(DatabaseUnreadable, match="symbolic link"):
        tenancy.placements.open(alpha)


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2 + 100)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "noise":
        path.write_bytes(os.urandom(path.stat().st_size))
    elif how == "plain":
        path.write_bytes(b"SQLite format 3\0" + bytes(4080))


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "noise", "plain"])
def test_a_broken_file_is_that_tenants_trouble_alone_and_the_ledger_names_it(
    app, tenancy, alpha, beta, client_for, how
):
    damage(file_of(tenancy, alpha), how)
    answer = client_for(alpha).get("/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"
    assert client_for(beta).get("/").status_code == 200
    assert {row.tenant_id for row in ledger_rows(app, tenancy, "database_unreadable")} == {alpha.id}


def test_a_broken_file_is_left_alone_for_a_while(app, tenancy, alpha):
    file_of(tenancy, alpha).write_bytes(b"broken" * 1000)
    for _ in range(3):
        with pytest.raises(DatabaseUnreadable):
            tenancy.placements.open(alpha)
    assert len(ledger_rows(app, tenancy, "database_unreadable")) == 1


def test_damage_met_in_the_middle_trips_the_breaker_too(app, tenancy, alpha):
    with app.app_context(), tenant_context(alpha):
        db.session.connection(bind_arguments={"bind": tenancy.engines["tenant"]}).execute(text("SELECT 1 FROM stamp"))
        path = file_of(tenancy, alpha)
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        with pytest.raises(DatabaseUnreadable):
            for (table,) in db.session.connection(bind_arguments={"bind": tenancy.engines["tenant"]}).execute(
                text("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'")
            ):
                db.session.connection(bind_arguments={"bind": tenancy.engines["tenant"]}).execute(
                    text(f"SELECT * FROM {table}")
                )
    assert len(ledger_rows(app, tenancy, "database_unreadable")) == 1


def test_a_sealed_tenant_is_busy_and_its_file_is_not_opened(tenancy, alpha):
    with tenancy.placements.drained(alpha.id), pytest.raises(TenantBusy):
        tenancy.placements.open(alpha)
    again = tenancy.registry.by_slug("alpha")
    assert again.generation == alpha.generation + 1
    tenancy.placements.open(again).close()


def test_drain_gives_up_and_unseals_while_somebody_holds_the_file(tenancy, alpha, monkeypatch):
    monkeypatch.setattr(import_module("app.tenancy.placements"), "DRAIN_SECONDS", 0.5)
    held = tenancy.placements.open_file(alpha.id)
    held.execute("BEGIN IMMEDIATE")
    with pytest.raises(Refused, match="stayed in use"), tenancy.placements.drained(alpha.id):
        pytest.fail("drained")
    held.close()
    assert tenancy.registry.by_slug("alpha").placement == "ready"


def rename_away(path: Path, key: bytes) -> None:
    """Replace the file by a copy of itself, as a restore does, with no drain."""
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    path.rename(path.with_suffix(".old"))
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    copy.rename(path)


IDLE_PROCESS = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from app.tenancy.database import connect
    connection = connect(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))
    connection.execute("UPDATE stamp SET epoch = epoch + 0")
    for line in sys.stdin:
        connection.execute("UPDATE stamp SET epoch = epoch + 1")
        print("committed", flush=True)
    """
)


def test_a_rename_under_an_idle_lease_without_drain_loses_commits_and_with_drain_none(app, tenancy, alpha):
    path, key = file_of(tenancy, alpha), tenancy.keys.database_key(alpha.id)

    # The trap: another process has the file open and idle; its next commit goes into the file that is no longer there.
    holder = subprocess.Popen(
        [sys.executable, "-c", IDLE_PROCESS, str(path), key.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        holder.stdin.write("first\n")
        holder.stdin.flush()
        holder.stdout.readline()
        checker = connect(path, key)
        checker.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = checker.execute("SELECT epoch FROM stamp").fetchone()[0]
        checker.close()
        rename_away(path, key)
        holder.stdin.write("second\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "committed\n"
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
    checker = connect(path, key)
    assert checker.execute("SELECT epoch FROM stamp").fetchone()[0] == before, "the acknowledged commit is lost"
    checker.close()

    # The guard: with our pool idle on the file, drain closes it first, and what is committed afterwards is in the new file.
    def commit(tenant: ResolvedTenant) -> None:
        with app.app_context(), tenant_context(tenant):
            db.session.connection(bind_arguments={"bind": tenancy.engines["tenant"]}).execute(
                text("UPDATE stamp SET epoch = epoch + 1")
            )
            db.session.commit()

    commit(alpha)
    assert tenancy.pool.idle_count() == 1
    with tenancy.placements.drained(alpha.id) as drained:
        rename_away(drained.path, key)
    commit(tenancy.registry.by_slug("alpha"))
    checker = connect(path, key)
    assert checker.execute("SELECT epoch FROM stamp").fetchone()[0] == before + 2
    assert checker.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    checker.close()


# The house is emptied also where the file cannot be opened, and whoever was killed in it leaves a tenant that serves.


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "noise", "plain"])
def test_a_file_that_cannot_be_opened_is_drained_and_replaced_all_the_same(tenancy, alpha, tmp_path, how):
    path = file_of(tenancy, alpha)
    tenancy.pool.discard(alpha.id)
    whole = path.read_bytes()
    damage(path, how)
    with tenancy.placements.drained(alpha.id) as drained:
        assert drained.connection is None
        drained.incoming.write_bytes(whole)
        drained.replace(drained.incoming)
    tenancy.placements.open(tenancy.registry.by_slug("alpha")).close()
    assert sorted(each.name for each in path.parent.iterdir() if each.is_file()) == ["main.sqlite3"]


def test_a_damaged_file_that_somebody_has_open_is_not_drained(tenancy, alpha, monkeypatch):
    monkeypatch.setattr(import_module("app.tenancy.placements"), "DRAIN_SECONDS", 0.3)
    path, key = file_of(tenancy, alpha), tenancy.keys.database_key(alpha.id)
    holder = subprocess.Popen(
        [sys.executable, "-c", IDLE_PROCESS, str(path), key.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        holder.stdin.write("first\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "committed\n"
        with path.open("r+b") as file:
            file.write(os.urandom(4096))
        with pytest.raises(Refused, match="stayed in use"), tenancy.placements.drained(alpha.id):
            pytest.fail("drained")
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
    assert tenancy.registry.by_slug("alpha").placement == "ready"


def killed_inside(tenancy: Tenancy, tenant: ResolvedTenant, work) -> None:
    """Empty a tenant's house in a process of its own that is killed in it."""
    child = os.fork()
    if not child:
        with tenancy.placements.drained(tenant.id) as drained:
            work(drained)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_what_a_killed_mover_left_is_put_right(tenancy, alpha):
    killed_inside(tenancy, alpha, lambda drained: drained.incoming.write_bytes(b"half made"))
    assert tenancy.registry.sealed() == {alpha.id}
    assert tenancy.placements.recover(alpha.id)
    assert not tenancy.registry.sealed()
    tenancy.placements.open(tenancy.registry.by_slug("alpha")).close()
    assert not list(tenancy.placements.folder(alpha.id).glob("*.incoming*"))


@pytest.mark.parametrize("is_renamed", [False, True])
def test_the_key_of_a_killed_rotation_is_the_one_that_opens_the_file(tenancy, alpha, is_renamed):
    def rotate(drained) -> None:
        version = tenancy.keys.make_next(alpha.id)
        copy = connect(drained.incoming, tenancy.keys.database_key(alpha.id, version), create=True, journal="DELETE")
        drained.connection.backup(copy)
        copy.close()
        if is_renamed:
            drained.replace(drained.incoming)

    killed_inside(tenancy, alpha, rotate)
    assert tenancy.keys.pending(alpha.id) == 2
    tenancy.placements.recover(alpha.id)
    assert tenancy.keys.pending(alpha.id) is None
    assert tenancy.keys.version(alpha.id) == (2 if is_renamed else 1)
    tenancy.placements.open(tenancy.registry.by_slug("alpha")).close()


def test_a_mover_at_work_is_left_alone(tenancy, alpha):
    with tenancy.placements.drained(alpha.id):
        assert not tenancy.placements.recover(alpha.id)
        assert tenancy.registry.sealed() == {alpha.id}


def test_nobody_who_is_gone_is_recovered(tenancy):
    assert tenancy.placements.recover("a" * 32)


# The watermark: a file that is older than its newest copy.


def note_copy(app, tenancy: Tenancy, tenant: ResolvedTenant, *, further: int = 0, life: int = 0) -> None:
    """Note in the ledger that the file was copied as it is now, or as it will be in `further` events or lives."""
    file = tenancy.placements.open_file(tenant.id, any_age=True)
    epoch, event_id = file.execute("SELECT epoch, (SELECT coalesce(max(id), 0) FROM event) FROM stamp").fetchone()
    file.close()
    with app.app_context():
        db.session.merge(
            TenantBackup(tenant_id=tenant.id, seq=1, at=utcnow(), epoch=epoch + life, event_id=event_id + further)
        )
        db.session.commit()


@pytest.mark.parametrize(
    ("further", "life", "is_served"), [(0, 0, True), (1, 0, False), (0, 1, False), (5, -1, True), (-1, 0, True)]
)
def test_only_a_file_that_is_no_older_than_its_newest_copy_is_opened(app, tenancy, alpha, further, life, is_served):
    note_copy(app, tenancy, alpha, further=further, life=life)
    if is_served:
        tenancy.placements.open_file(alpha.id).close()
        return
    with pytest.raises(DatabaseUnreadable, match="older than its newest copy"):
        tenancy.placements.open_file(alpha.id)
    tenancy.placements.open_file(alpha.id, any_age=True).close()


def test_an_older_file_put_back_by_hand_is_not_served_and_the_way_out_that_is_told_works(
    app, tenancy, alpha, beta, client_for, runner, at, monkeypatch
):
    def line() -> None:
        db.session.add(Event(kind="LinePosted", subject="line:1", audience="members"))

    path = file_of(tenancy, alpha)
    at(alpha, line)
    tenancy.pool.discard(alpha.id)
    older = path.read_bytes()
    at(alpha, line)
    assert runner("backups", "run", "alpha").exit_code == 0
    note_copy(app, tenancy, alpha)
    tenancy.pool.discard(alpha.id)
    path.write_bytes(older)

    assert client_for(alpha).get("/").status_code == 503
    assert client_for(beta).get("/").status_code == 200
    (told,) = ledger_rows(app, tenancy, "database_unreadable")
    assert told.tenant_id == alpha.id
    way = told.detail["why"].partition("Bring the copy back: freehold ")[2].rstrip(".").replace("SLUG", "alpha").split()
    assert way[:2] == ["backups", "restore"]
    assert runner(*way, "--yes").exit_code == 0
    monkeypatch.setattr(import_module("app.tenancy.placements"), "BREAKER_SECONDS", 0)
    assert client_for(alpha).get("/").status_code == 200
    file = tenancy.placements.open_file(alpha.id)
    assert file.execute("SELECT count(*) FROM event WHERE subject = 'line:1'").fetchone() == (2,)
    file.close()


def test_thirty_quiet_days_leave_a_file_that_is_served(app, tenancy, alpha, at):
    """What is forgotten of the log leaves its newest row, by which the file is known to be of today."""
    at(alpha, lambda: db.session.add(Event(kind="LinePosted", subject="line:1", audience="members")))
    note_copy(app, tenancy, alpha)
    with time_machine.travel(utcnow() + timedelta(days=90)):
        at(alpha, events.retire)
    tenancy.placements.open_file(alpha.id).close()


def test_a_file_that_goes_back_to_its_log_while_somebody_writes_is_waited_for_and_not_taken_for_broken(tenancy, alpha):
    """After a restore or a new key the first to open it bring the log back, and several do so at once."""
    with closing(tenancy.placements.open_file(alpha.id, guarded=False)) as writer:
        writer.execute("PRAGMA journal_mode = DELETE")
        writer.execute("BEGIN IMMEDIATE")
        ending = threading.Timer(0.3, lambda: writer.execute("COMMIT"))
        ending.start()
        with closing(tenancy.placements.open(alpha)) as opened:
            assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        ending.join()
