import os
import shutil
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import select, text

from app.tenancy import ResolvedTenant, Tenancy, db, tenant_context
from app.tenancy.database import connect
from app.tenancy.errors import DatabaseUnreadable, Refused, TenantBusy
from app.tenancy.ledger import AuditRow


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
    monkeypatch.setattr(tenancy.keys, "database_key", lambda owner: key)
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
        rename_away(drained, key)
    commit(tenancy.registry.by_slug("alpha"))
    checker = connect(path, key)
    assert checker.execute("SELECT epoch FROM stamp").fetchone()[0] == before + 2
    assert checker.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    checker.close()
