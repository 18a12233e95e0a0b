"""The list of hosts that may have a certificate follows the registry."""

import threading

import pytest
from sqlalchemy import update

from app.serve import ask
from app.serve.hosts import HostList
from app.tenancy import db, platform_context
from app.tenancy.registry import Domain, Tenant
from tests.running import until


@pytest.fixture
def listed(app, config):
    """Return what the list says after a look."""
    keeper = HostList(app)

    def look():
        keeper.refresh()
        return ask.allowed_hosts(config).read_text().split()

    return look


def add_host(app, tenant, host):
    with app.app_context(), platform_context():
        db.session.add(Domain(host=host, tenant_id=tenant.id))
        db.session.commit()


def test_it_names_every_host_of_every_tenant_and_the_console(app, alpha, listed):
    assert listed() == ["alpha.localhost", "beta.localhost", "platform.localhost"]
    add_host(app, alpha, "allotments.example")
    assert "allotments.example" in listed()


def put_in_state(app, tenant, state):
    with app.app_context(), platform_context():
        db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(state=state))
        db.session.commit()


@pytest.mark.parametrize(
    ("state", "is_listed"),
    [("suspended", True), ("archived", True), ("deleted", False), ("provisioning", False)],
)
def test_who_shows_visitors_a_page_keeps_the_certificate(app, beta, listed, state, is_listed):
    put_in_state(app, beta, state)
    assert ("beta.localhost" in listed()) is is_listed
    assert "alpha.localhost" in listed()


def test_it_is_written_only_when_it_changes(app, config, alpha):
    keeper = HostList(app)
    assert keeper.refresh()
    written = ask.allowed_hosts(config).stat()
    assert not keeper.refresh()
    assert ask.allowed_hosts(config).stat() == written
    add_host(app, alpha, "allotments.example")
    assert keeper.refresh()
    assert ask.allowed_hosts(config).stat().st_ino != written.st_ino


def test_it_is_kept_while_the_archivist_runs(app, config, alpha):
    stop = threading.Event()
    keeping = threading.Thread(target=HostList(app).keep, args=(stop,))
    keeping.start()
    try:
        until(ask.allowed_hosts(config).exists, seconds=5)
        add_host(app, alpha, "allotments.example")
        until(lambda: "allotments.example" in ask.allowed_hosts(config).read_text(), seconds=5)
    finally:
        stop.set()
        keeping.join()


def test_a_look_that_fails_is_followed_by_another(app, config, caplog):
    """A folder stands where the list should be."""
    ask.allowed_hosts(config).mkdir()
    stop = threading.Event()
    keeping = threading.Thread(target=HostList(app).keep, args=(stop,))
    keeping.start()
    try:
        stop.wait(0.5)
        ask.allowed_hosts(config).rmdir()
        until(ask.allowed_hosts(config).is_file, seconds=5)
    finally:
        stop.set()
        keeping.join()
