"""The doctor names each thing that is not as it should be, says what to do, and touches nothing."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import namedtuple
from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from app.backups.models import RUNNING, Order, Proof
from app.facilities import audit
from app.ops import health, meetings
from app.serve.folders import make_folders
from app.tenancy import utcnow
from app.tenancy.ledger import AuditRow, MigrationRun, TenantBackup, TenantDue
from app.tenancy.registry import Domain, Tenant
from tests.facilities.test_mail import relay  # noqa: F401 (the relay that letters are sent to there)
from tests.running import free_port
from tests.serve.running import environment_of, serving

LONG_AGO = timedelta(days=40)


@pytest.fixture
def config(home, config_of, relay):  # noqa: F811
    return config_of(home, FREEHOLD_SMTP_URL=f"smtp://127.0.0.1:{relay.port}")


@pytest.fixture(autouse=True)
def well(app, config, monkeypatch):
    """Make all well: what processes show of themselves lies there, though they do not run, and there is a recovery kit."""
    make_folders(config)
    for path in config.home.rglob("*"):  # as every command makes them, under its umask
        path.chmod(path.stat().st_mode & 0o700)
    for name in ("valkey", "worker"):
        monkeypatch.setitem(health.CHECKS, name, lambda: None)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(config.run / "live.sock"))
        listener.listen()
        for duty in ("archivist", "copies"):
            (config.run / f"{duty}.beat").touch()
        (config.run / "live.json").write_text(
            json.dumps({"at": time.time(), "streams": 0, "by_tenant": {}, "rings": 0})
        )
        app.extensions["tenancy"].ledger.record("recovery_kit_made")
        yield


@pytest.fixture
def findings(runner):
    """Ask the doctor and return (exit code, what it found as (level, check, tenant, what))."""

    def ask(*command):
        told = runner(*(command or ("doctor",)), "--json")
        found = json.loads(told.stdout)["findings"]
        return told.exit_code, [(each["level"], each["check"], each["tenant"], each["what"]) for each in found]

    return ask


@pytest.fixture
def only(findings):
    """Ask the doctor, who finds one thing alone, and return its advice."""

    def ask(level, check, tenant=""):
        code, found = findings()
        assert [each[:3] for each in found] == [(level, check, tenant)]
        assert code == {"warning": 1, "error": 2}[level]
        return found[0][3]

    return ask


@pytest.fixture
def central(tenancy):
    """Write to the registry or the ledger by hand."""

    def write(name, statement):
        with tenancy.engines[name].begin() as file:
            file.execute(statement)

    return write


@pytest.fixture
def by_hand(tenancy, alpha):
    """Change alpha's own file by hand."""

    def write(statement):
        file = tenancy.placements.open_file(alpha.id, guarded=False)
        file.execute(statement)
        file.close()

    return write


def made_long_ago(central, tenant):
    central("registry", update(Tenant).where(Tenant.id == tenant.id).values(created_at=utcnow() - LONG_AGO))


def a_copy(tenant, **more):
    row = {"tenant_id": tenant.id, "seq": 1, "at": utcnow(), "interval": 8.0, "kept_bytes": 0, "moments": 1}
    return insert(TenantBackup).values(**row | more)


def a_proof(tenant, days_ago=0, error=""):
    at = utcnow() - timedelta(days=days_ago)
    return insert(Proof).values(tenant_id=tenant.id, moment_at=at, proven_at=at, seconds=1.0, error=error)


def old(path):
    os.utime(path, (time.time() - 7200,) * 2)
    return path


# What it says when all is well


def test_all_is_well_and_the_exit_code_is_0(runner):
    told = runner("doctor")
    assert told.stdout == "All is well.\n"
    assert told.exit_code == 0


def test_how_far_it_is_is_told_beside(runner):
    told = runner("doctor")
    assert json.loads(told.stderr.splitlines()[-1])["done"] == 2


def test_it_changes_no_file(tenancy, alpha, config, findings, central):
    central("registry", update(Tenant).where(Tenant.id == alpha.id).values(schema="older"))
    tenancy.close()
    before = contents(config.home)
    assert findings()[0] == 1
    tenancy.close()
    assert contents(config.home) == before


def contents(home):
    """Return what lies in every file, and since when, but for locks and what SQLite keeps beside a file while it is open."""
    files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.parent.name != "locks"]
    files = [path for path in files if not path.name.endswith(("-shm", "-wal"))]
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def test_the_errors_come_first_one_line_for_each(runner, central, alpha, beta, tenancy):
    central("ledger", insert(TenantDue).values(tenant_id=alpha.id, waiting=0, set_aside=3, schedules=""))
    tenancy.placements.file(beta.id).unlink()
    told = runner("doctor")
    first, second, sums = told.stdout.splitlines()
    assert first.startswith("error    file: beta: ")
    assert second.startswith("warning  jobs: alpha: Set aside after they failed: 3. See `freehold jobs list alpha`")
    assert (sums, told.exit_code) == ("1 errors, 1 warnings.", 2)


# The installation


@pytest.mark.parametrize("name", ["valkey", "worker", "archivist", "live"])
def test_a_process_that_does_not_run(only, monkeypatch, name):
    monkeypatch.setitem(health.CHECKS, name, lambda: "It does not run. Start it.")
    assert only("error", name) == "It does not run. Start it."


def test_copies_that_nobody_makes(only, config):
    (config.run / "copies.beat").unlink()
    assert "freehold run archivist" in only("error", "copies")


def test_a_full_disk(only, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, 100 << 30, 5 << 20))
    assert "Make room" in only("error", "disk")


@pytest.mark.parametrize(
    ("name", "level"),
    [("master.key", "error"), ("keyring.sqlite3", "warning"), ("registry.sqlite3", "warning"), (".", "warning")],
)
def test_what_others_can_open(only, config, name, level):
    path = config.instance / name
    path.chmod(path.stat().st_mode | 0o044)
    assert f"chmod go= {path}" in only(level, "permissions")


def test_a_clock_that_went_back(only, central):
    row = {"at": utcnow() + timedelta(days=2), "tenant_id": "", "kind": "test", "actor": "", "detail": {}}
    central("ledger", insert(AuditRow).values(**row))
    assert "Set the clock" in only("error", "clock")


def test_no_relay(app, config_of, home, only):
    app.config["FREEHOLD"] = config_of(home)
    assert "FREEHOLD_SMTP_URL" in only("warning", "mail")


def test_a_relay_that_does_not_answer(app, config_of, home, only):
    app.config["FREEHOLD"] = config_of(home, FREEHOLD_SMTP_URL="smtp://127.0.0.1:1")
    assert "does not answer" in only("error", "mail")


def test_a_relay_that_wants_another_password(app, config_of, home, only, relay):  # noqa: F811
    relay.says |= {"EHLO": "250-here\n250 AUTH PLAIN", "AUTH": "535 not you"}
    app.config["FREEHOLD"] = config_of(home, FREEHOLD_SMTP_URL=f"smtp://me:wrong@127.0.0.1:{relay.port}")
    assert "535 not you" in only("error", "mail")
    assert not relay.letters


def test_no_recovery_kit(only, central):
    central("ledger", update(AuditRow).values(kind="other"))
    assert "freehold keys recovery-kit FILE" in only("warning", "recovery kit")


def test_a_recovery_kit_of_an_older_master_key(only, tenancy):
    tenancy.ledger.record("master_key_rotated")
    assert "before the master key was changed" in only("error", "recovery kit")


def test_a_recovery_kit_that_is_old(only, central):
    kit = AuditRow.kind == "recovery_kit_made"
    central("ledger", update(AuditRow).where(kit).values(at=utcnow() - timedelta(days=400)))
    assert "Is it still found?" in only("warning", "recovery kit")


def test_central_files_without_a_copy(findings, central):
    central(
        "ledger", update(AuditRow).where(AuditRow.kind != "recovery_kit_made").values(at=utcnow() - timedelta(hours=2))
    )
    code, found = findings()
    assert code == 2
    assert [what.partition(":")[0] for _, _, _, what in found] == ["The keyring", "The registry", "The ledger"]


@pytest.mark.parametrize("is_primary", [False, True])
def test_a_tenant_whose_primary_domain_is_not_one(only, central, alpha, is_primary):
    if is_primary:
        central("registry", insert(Domain).values(host="two.example", tenant_id=alpha.id, is_primary=True))
    else:
        central("registry", update(Domain).where(Domain.tenant_id == alpha.id).values(is_primary=False))
    assert "freehold domains list" in only("error", "domain", "alpha")


@pytest.mark.parametrize("kind", meetings.KINDS)
def test_what_belongs_to_one_tenant_tried_at_another_again_and_again(findings, central, alpha, beta, kind):
    def tried(rows, at):
        met = {"kind": kind, "tenant_id": alpha.id, "other_tenant_id": beta.id, "actor": "", "detail": {}, "at": at}
        central("ledger", insert(AuditRow).values([met] * rows))

    tried(meetings.MANY, utcnow() - timedelta(hours=2))
    tried(meetings.MANY - 1, utcnow())
    assert findings() == (0, [])
    tried(1, utcnow())
    code, found = findings()
    assert code == 1
    assert {each[:3] for each in found} == {("warning", "foreign", "alpha"), ("warning", "foreign", "beta")}
    assert f"tried at another {meetings.MANY} times" in found[0][3]


def test_what_belongs_to_one_tenant_tried_at_many_is_that_tenants_alarm(only, central, alpha):
    met = {"kind": "foreign_cookie", "other_tenant_id": alpha.id, "actor": "", "detail": {}, "at": utcnow()}
    central("ledger", insert(AuditRow).values([{**met, "tenant_id": f"{number}"} for number in range(meetings.MANY)]))
    assert "a token may be in wrong hands" in only("warning", "foreign", "alpha")


def test_what_killed_processes_left_in_the_installation(only, config):
    (config.instance / "drill").mkdir(exist_ok=True)
    (config.instance / "drill" / "young.sqlite3").touch()
    scratch = config.instance / "drill" / "old.sqlite3"
    scratch.touch()
    old(scratch)
    assert str(scratch) in only("warning", "leftover")


def test_an_order_that_never_ended(only, central, alpha):
    order = {
        "kind": "replace",
        "asked_by": "olive@alpha.test",
        "asked_at": utcnow() - timedelta(hours=3),
        "state": RUNNING,
    }
    central("ledger", insert(Order).values(tenant_id=alpha.id, **order))
    assert "olive@alpha.test" in only("warning", "leftover", "alpha")


def test_a_folder_that_is_nobodys(only, config):
    folder = config.tenants_data / "ab" / ("ab" * 16)
    folder.mkdir(parents=True, mode=0o700)
    old(folder)
    assert str(folder) in only("warning", "leftover")


# One tenant


def test_a_missing_file(only, tenancy, alpha):
    tenancy.placements.file(alpha.id).unlink()
    assert "freehold backups restore alpha" in only("error", "file", "alpha")


def test_another_tenants_file_in_its_place(only, tenancy, alpha, beta):
    shutil.copy(tenancy.placements.file(beta.id), tenancy.placements.file(alpha.id))
    assert "another tenant's" in only("error", "file", "alpha")


def test_a_file_with_another_stamp(only, by_hand):
    by_hand("UPDATE stamp SET tenant_id = 'somebody else'")
    assert "somebody else" in only("error", "file", "alpha")


def test_a_file_older_than_its_copy(only, central, alpha):
    central("ledger", a_copy(alpha, epoch=1 << 40))
    assert "older than its newest copy" in only("error", "file", "alpha")


def test_an_audit_that_somebody_changed(only, by_hand, alpha, at, tenancy):
    at(alpha, lambda: audit.note("suspended", reason="late"))
    by_hand("DROP TRIGGER audit_is_not_changed")
    by_hand("""UPDATE audit SET detail = '{"reason":"never"}'""")
    assert "changed the file by hand" in only("error", "audit", "alpha")
    assert tenancy.ledger.look("SELECT finding FROM audit_head WHERE tenant_id = ?", alpha.id)[0] == ""


def test_an_audit_whose_end_was_cut_off(only, by_hand, alpha, at):
    at(alpha, lambda: audit.note("suspended", reason="late"))
    by_hand("DELETE FROM audit")
    only("error", "audit", "alpha")


def test_a_tenants_file_that_others_can_open(only, tenancy, alpha):
    tenancy.placements.file(alpha.id).chmod(0o640)
    assert "640" in only("warning", "permissions", "alpha")


def test_a_change_of_key_that_was_cut_short(only, tenancy, alpha):
    tenancy.keys.make_next(alpha.id)
    assert "freehold keys rotate alpha" in only("warning", "keys", "alpha")


def test_a_tenant_that_a_killed_mover_left_closed(only, central, alpha):
    central("registry", update(Tenant).where(Tenant.id == alpha.id).values(placement="sealed"))
    assert "closed" in only("warning", "leftover", "alpha")


def test_a_tenant_only_half_made(only, central, alpha):
    half = {"state": "provisioning", "created_at": utcnow() - timedelta(hours=2)}
    central("registry", update(Tenant).where(Tenant.id == alpha.id).values(**half))
    assert "freehold tenants create alpha" in only("warning", "leftover", "alpha")


def test_an_older_schema(only, central, alpha):
    central("registry", update(Tenant).where(Tenant.id == alpha.id).values(schema="older"))
    assert "freehold migrate --tenant alpha" in only("warning", "schema", "alpha")


def test_a_parked_migration(only, central, alpha):
    central("registry", update(Tenant).where(Tenant.id == alpha.id).values(schema="older"))
    run = {"target": "x", "state": "parked", "attempts": 1, "error": "no such column: y", "at": utcnow()}
    central("ledger", insert(MigrationRun).values(tenant_id=alpha.id, **run))
    assert "no such column: y" in only("error", "schema", "alpha")


def test_no_copy_at_all(only, central, alpha):
    central("registry", update(Tenant).where(Tenant.id == alpha.id).values(created_at=utcnow() - timedelta(hours=2)))
    assert "no copy" in only("error", "copies", "alpha")


@pytest.mark.parametrize(("days", "level"), [(0, "warning"), (2, "error")])
def test_a_late_copy(only, central, alpha, days, level):
    late = {"late_since": utcnow() - timedelta(days=days), "error": "Is its disk mounted?"}
    central("ledger", a_copy(alpha, **late))
    assert "Is its disk mounted?" in only(level, "copies", "alpha")


@pytest.mark.parametrize("proven", [None, 20])
def test_copies_that_nobody_has_proven_of_late(only, central, alpha, proven):
    made_long_ago(central, alpha)
    central("ledger", a_copy(alpha))
    if proven:
        central("ledger", a_proof(alpha, proven))
    assert "freehold backups drill" in only("warning", "copies", "alpha")


def test_copies_that_were_proven_are_well(findings, central, alpha):
    made_long_ago(central, alpha)
    central("ledger", a_copy(alpha))
    central("ledger", a_proof(alpha, 3))
    assert findings() == (0, [])


def test_a_proof_that_failed(only, central, alpha):
    central("ledger", a_proof(alpha, error="a page is not authentic"))
    assert "a page is not authentic" in only("error", "copies", "alpha")


def test_work_that_waits_too_long(only, central, alpha):
    long_ago = utcnow() - timedelta(minutes=10)
    central("ledger", insert(TenantDue).values(tenant_id=alpha.id, waiting=4, oldest_at=long_ago, schedules=""))
    assert only("warning", "jobs", "alpha").startswith("4 wait")


@pytest.mark.parametrize(
    "name", ["main.sqlite3.restored", "main.sqlite3.0a1b2c3d.restored-wal", "main.sqlite3.incoming"]
)
def test_what_a_killed_restore_left(only, tenancy, alpha, name):
    left = tenancy.placements.folder(alpha.id) / name
    left.touch()
    left.with_name(f"{name}-journal").touch()  # of one that is going on
    old(left)
    assert str(left) in only("warning", "leftover", "alpha")


def test_a_check_that_fails_is_told_and_the_others_go_on(findings, monkeypatch, tenancy, alpha, beta):
    def spoilt(tenant_id):
        raise OSError("the disk has gone")

    monkeypatch.setattr(tenancy.keys, "pending", spoilt)
    tenancy.placements.file(beta.id).unlink()
    code, found = findings()
    assert code == 2
    assert [each[1:3] for each in found] == [("keys", "alpha"), ("file", "beta"), ("keys", "beta")]
    assert "the disk has gone" in found[0][3]


# The other command


def test_isolation_is_verified_by_the_same_checks(findings, tenancy, alpha, beta, central):
    assert findings("isolation", "verify") == (0, [])
    central("ledger", insert(TenantDue).values(tenant_id=alpha.id, waiting=0, set_aside=3, schedules=""))
    shutil.copy(tenancy.placements.file(beta.id), tenancy.placements.file(alpha.id))
    code, found = findings("isolation", "verify")
    assert (code, [each[:3] for each in found]) == (2, [("error", "file", "alpha")])


def test_a_running_installation_is_well(home, config_of, relay, tmp_path):  # noqa: F811
    config = config_of(home, PORT=str(free_port()), FREEHOLD_SMTP_URL=f"smtp://127.0.0.1:{relay.port}")
    freehold = [sys.executable, "-m", "app.cli"]
    with serving(config):
        kit = [*freehold, "keys", "recovery-kit", str(tmp_path / "kit"), "--passphrase-stdin"]
        subprocess.run(
            kit, env=environment_of(config), input="a long enough passphrase of words\n", text=True, check=True
        )
        told = subprocess.run(
            [*freehold, "doctor"], env=environment_of(config), capture_output=True, text=True, check=False
        )
    assert (told.returncode, told.stdout) == (0, "All is well.\n"), told.stderr
