"""A real Valkey, real worker processes and a sweeper, for the tests of what is done later."""

import functools
import subprocess
import sys
import threading
from contextvars import Context
from pathlib import Path

import pytest
import redis
from sqlalchemy import select

from app.facilities.events import Event
from app.facilities.sweep import Sweeper
from app.serve import valkey as valkey_process
from app.serve.folders import make_folders
from app.tenancy import db, due, jobs, tenant_context
from app.tenancy.ledger import AuditRow
from tests.facilities import queue_worker  # noqa: F401 (registers its jobs here too)
from tests.running import descendants, until


class Valkey:
    """The server of the product, which a test may stop, freeze and start again."""

    def __init__(self, config):
        self.config = config
        self.process = None

    def start(self):
        self.process = subprocess.Popen(valkey_process.command(self.config), stdout=subprocess.DEVNULL)
        until(lambda: valkey_process.is_ready(self.config))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def send_signal(self, number):
        self.process.send_signal(number)


@pytest.fixture
def valkey(config):
    make_folders(config)
    running = Valkey(config)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def client(config, valkey):
    with redis.Redis.from_url(config.valkey_url) as connection:
        yield connection


@pytest.fixture
def start_worker(config, valkey):
    started = []

    def start(size=1):
        command = [sys.executable, str(Path(__file__).parent / "queue_worker.py"), str(config.home), str(size)]
        worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        children = descendants(worker.pid)
        worker.kill()
        print(worker.communicate()[1][-3000:])  # pytest shows it when the test has failed
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))  # noqa: B023


@pytest.fixture
def start_sweeper(app, home):
    stops = []

    def start():
        stop = threading.Event()
        thread = threading.Thread(target=Sweeper(app).run, args=(stop, home / "beat"))
        thread.start()
        stops.append((stop, thread))

    yield start
    for stop, thread in stops:
        stop.set()
        thread.join()


@pytest.fixture
def send(app):
    """Ask for a job in a transaction of the tenant; returns the id of its row."""

    def ask(tenant, job, **arguments):
        with app.app_context(), tenant_context(tenant):
            jobs.later(job, **arguments)
            db.session.commit()
            return db.session.scalar(select(due.Due.id).order_by(due.Due.id.desc()).limit(1))

    return lambda tenant, job, **arguments: Context().run(ask, tenant, job, **arguments)


@pytest.fixture
def rows(app):
    """Return what stands in a tenant's file, schedules left out."""

    def read(tenant):
        with app.app_context(), tenant_context(tenant, writes=False):
            return db.session.scalars(select(due.Due).where(due.Due.schedule.is_(None)).order_by(due.Due.id)).all()

    return lambda tenant: Context().run(read, tenant)


@pytest.fixture
def ledger_rows(app):
    def read(kind):
        with app.app_context():
            found = db.session.scalars(select(AuditRow).where(AuditRow.kind == kind)).all()
            db.session.close()
            return found

    return lambda kind: Context().run(functools.partial(read, kind))


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


@pytest.fixture
def envelope_of(app, in_tenant):
    def seal(tenant, due_id, job="test.write"):
        with app.app_context(), in_tenant(tenant):
            return jobs.seal(due.Reserved(due_id, job, 0))

    return lambda *given: Context().run(seal, *given)


@pytest.fixture
def counted(app, in_tenant):
    """Return how often a job of the tests has left its trace in a tenant's file."""

    def count(tenant):
        with app.app_context(), in_tenant(tenant):
            return db.session.query(Event).filter_by(kind="TestCounted").count()

    return lambda tenant: Context().run(count, tenant)
