"""What monitors are told, and by whom it may be read."""

import json
import shutil
import socket
import subprocess
import time
from collections import namedtuple
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import insert

from app.ops import health
from app.serve import valkey
from app.serve.folders import make_folders
from app.tenancy import db, utcnow
from app.tenancy.ledger import TenantBackup, TenantDue
from app.tenancy.registry import Tenant
from tests.running import until

ANYWHERE = {"REMOTE_ADDR": "203.0.113.9"}


@pytest.fixture
def monitor(app):
    client = app.test_client()

    def ask(path, host="nobody.example", headers=None, **environ):
        return client.get(path, headers={"Host": host, **(headers or {})}, environ_overrides=environ)

    return ask


@pytest.fixture
def stack():
    with ExitStack() as found:
        yield found


@pytest.fixture(autouse=True)
def listener(config, stack):
    """Leave what archivist and live show of themselves, which do not run here."""
    make_folders(config)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(config.run / "live.sock"))
    listener.listen()
    for duty in ("archivist", "copies"):
        (config.run / f"{duty}.beat").touch()
    (config.run / "live.json").write_text(json.dumps({"at": time.time(), "streams": 3, "by_tenant": {}, "rings": 7}))
    return listener


@pytest.fixture
def otherwise_well(monkeypatch):
    """Take Valkey and the worker as fine, which do not run here."""
    monkeypatch.setitem(health.CHECKS, "valkey", lambda: None)
    monkeypatch.setitem(health.CHECKS, "worker", lambda: None)


@pytest.mark.parametrize("host", ["alpha.localhost", "platform.localhost", "nobody.example", "127.0.0.1:8000"])
def test_the_process_says_that_it_is_alive_on_any_host(monitor, host):
    answer = monitor("/healthz", host)
    assert (answer.status_code, answer.json) == (200, {"status": "alive"})
    assert answer.cache_control.no_store


@pytest.mark.parametrize("host", ["alpha.localhost", "platform.localhost", "nobody.example"])
def test_the_platform_is_ready_when_every_check_is_fine(monitor, otherwise_well, host):
    answer = monitor("/readyz", host)
    assert (answer.status_code, answer.json["status"], answer.json["failing"]) == (200, "ready", {})


def test_with_valkey_down_it_is_not_ready_and_says_so(monitor):
    answer = monitor("/readyz")
    assert answer.status_code == 503
    assert list(answer.json["failing"]) == ["valkey"]
    assert "jobs" in answer.json["failing"]["valkey"]


def test_from_elsewhere_only_the_names_are_told(monitor):
    assert monitor("/readyz", **ANYWHERE).json["failing"] == ["valkey"]


def test_the_token_opens_the_detail_and_a_wrong_one_does_not(app, monitor, runner):
    token = runner("health", "--token").output.strip()
    right = monitor("/readyz", headers={"Authorization": f"Bearer {token}"}, **ANYWHERE)
    wrong = monitor("/readyz", headers={"Authorization": f"Bearer {token[:-1]}é"}, **ANYWHERE)
    assert "valkey" in right.json["failing"]
    assert isinstance(right.json["failing"], dict)
    assert wrong.json["failing"] == ["valkey"]


def test_a_full_disk_is_told(monitor, otherwise_well, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, 100 << 30, 5 << 20))
    assert "5 MiB" in monitor("/readyz").json["failing"]["disk"]


def test_tenants_at_an_older_schema_are_counted(app, monitor, otherwise_well, alpha):
    with app.app_context():
        db.session.get(Tenant, alpha.id).schema = "older"
        db.session.commit()
    assert monitor("/readyz").json["failing"]["migrations"].startswith("1 ")


def test_a_ledger_that_cannot_be_read_is_told(app, config, monitor, otherwise_well):
    app.extensions["tenancy"].close()
    ledger = config.instance / "ledger.sqlite3"
    ledger.with_name("ledger.sqlite3-wal").unlink(missing_ok=True)
    ledger.write_bytes(b"not a database at all" * 500)
    assert list(monitor("/readyz").json["failing"]) == ["ledger"]


def test_without_a_worker_it_is_not_ready(config, monitor):
    running = subprocess.Popen(valkey.command(config), stdout=subprocess.DEVNULL)
    try:
        until(lambda: valkey.is_ready(config))
        failing = monitor("/readyz").json["failing"]
        assert list(failing) == ["worker"]
        assert "freehold run worker" in failing["worker"]
    finally:
        running.kill()
        running.wait()


def test_without_an_archivist_it_is_not_ready(config, monitor, otherwise_well):
    (config.run / "archivist.beat").unlink()
    assert "freehold run archivist" in monitor("/readyz").json["failing"]["archivist"]


def test_without_copies_it_is_not_ready(config, monitor, otherwise_well):
    (config.run / "copies.beat").unlink()
    assert "No copies are being made" in monitor("/readyz").json["failing"]["copies"]


def test_late_copies_are_told_with_the_reason(tenancy, alpha, monitor, otherwise_well):
    with tenancy.engines["ledger"].begin() as ledger:
        row = {"tenant_id": alpha.id, "seq": 1, "at": utcnow(), "interval": 8.0, "kept_bytes": 0, "moments": 1}
        late = {"late_since": utcnow(), "error": "Is its disk mounted?"}
        ledger.execute(insert(TenantBackup).values(**row, **late))
    assert monitor("/readyz").json["failing"]["copies"] == "The copies of 1 tenants are late. Is its disk mounted?"


def test_without_live_it_is_not_ready(config, monitor, otherwise_well):
    (config.run / "live.json").write_text(json.dumps({"at": time.time() - 60, "streams": 3}))
    assert "freehold run live" in monitor("/readyz").json["failing"]["live"]


def test_a_live_that_was_just_killed_is_told_at_once(monitor, otherwise_well, listener):
    listener.close()
    assert "freehold run live" in monitor("/readyz").json["failing"]["live"]


def test_work_that_waits_too_long_is_told(app, monitor, otherwise_well, alpha):
    with app.app_context():
        old = utcnow() - timedelta(seconds=301)
        db.session.add(TenantDue(tenant_id=alpha.id, waiting=4, oldest_at=old, set_aside=0))
        db.session.commit()
    assert monitor("/readyz").json["failing"]["jobs"].startswith("4 jobs wait")


def test_the_figures_are_told_in_sum_and_name_no_tenant(app, monitor, otherwise_well, alpha):
    with app.app_context():
        db.session.add(TenantDue(tenant_id=alpha.id, waiting=2, oldest_at=utcnow(), set_aside=1))
        db.session.commit()
    answer = monitor("/readyz")
    figures = answer.json["activity"]
    assert (figures["waiting"], figures["set_aside"], figures["streams"]) == (2, 1, 3)
    assert figures["live"]["rings"] == 7
    assert alpha.id not in answer.text
    assert alpha.name not in answer.text
    assert "activity" not in monitor("/readyz", **ANYWHERE).json


def test_the_command_says_the_same_and_ends_with_one(runner):
    told = runner("health", "--json")
    assert told.exit_code == 1
    assert list(json.loads(told.output)["failing"]) == ["valkey"]
