"""Slow pages of one tenant leave a thread to the others, in a real web."""

import re
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from app.facilities import settings
from app.serve import web
from app.serve.fair import LONGEST_LINE, Lines
from app.tenancy import db
from app.tenancy.errors import TenantCrowded
from tests.running import until
from tests.serve.running import ask_for, connect, head_of, running
from tests.town import copied

ALPHA, BETA = "alpha.localhost", "beta.localhost"
HELD, PROMPT = 4.5, 1.0  # seconds; a writer waits for five


@pytest.fixture(scope="module")
def config(furnished_home, tmp_path_factory, config_of):
    home = copied(furnished_home, tmp_path_factory.mktemp("fair"))
    return config_of(home, FREEHOLD_WEB_WORKERS="1", FREEHOLD_WEB_THREADS="4")


@pytest.fixture(scope="module")
def served(config):
    """Run web for the tests that leave it as it was."""
    with running(config, web):
        yield


def without_the_guard(config):
    command = web.command(config)
    return [part.replace("app.serve.fair.FairWorker", "gthread") for part in command]


@contextmanager
def held(config, tenancy, tenant):
    """Have every change of a tenant wait while somebody writes for some seconds; nobody is in line when it ends."""
    file = tenancy.placements.open_file(tenant.id)
    file.execute("BEGIN IMMEDIATE")
    over = threading.Timer(HELD, lambda: file.execute("ROLLBACK"))
    over.start()
    try:
        yield
    finally:
        over.join()
        file.close()
        until(lambda: visit(config, tenant.primary_host)[0] == 200)


@contextmanager
def slow_requests(config, count, host=ALPHA):
    """Have so many visitors, each from elsewhere, send a form that waits for the file; yields their connections."""
    visitors = [connect(web.socket_path(config)) for _ in range(count)]
    for number, visitor in enumerate(visitors):
        headers = f"Host: {host}\r\nX-Forwarded-For: 198.51.{{}}.{number}\r\nContent-Length: 0"
        visitor.sendall(f"POST /sign-in HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    time.sleep(1)
    try:
        yield visitors
    finally:
        for visitor in visitors:
            visitor.close()


def status_of(visitor):
    """Read a whole answer and return its status."""
    head, rest = head_of(visitor)
    length = int(re.search(r"Content-Length: (\d+)", head)[1])
    while len(rest) < length:
        rest += visitor.recv(65536)
    return head.split()[1]


def seconds_for(config, host=BETA):
    """Return how long a visitor waits for the home page."""
    began = time.monotonic()
    status, _ = visit(config, host)
    assert status == 200
    return time.monotonic() - began


def visit(config, host, path="/"):
    visitor = connect(web.socket_path(config))
    visitor.sendall(ask_for(path, host, "Connection: close\r\n"))
    head, rest = head_of(visitor)
    while piece := visitor.recv(65536):
        rest += piece
    visitor.close()
    return int(head.split()[1]), (head + "\r\n\r\n" + rest.decode())


@pytest.mark.prove
def test_without_the_guard_the_other_waits(config, tenancy, alpha):
    """The guard is taken out: this is what it is for. It comes first, while no other web listens."""
    with (
        running(config, SimpleNamespace(command=without_the_guard, is_ready=web.is_ready)),
        held(config, tenancy, alpha),
    ):
        seconds_for(config)
        with slow_requests(config, 4):
            assert seconds_for(config) > PROMPT


def test_slow_pages_of_one_tenant_do_not_make_another_wait(served, config, tenancy, alpha):
    with held(config, tenancy, alpha):
        seconds_for(config)
        with slow_requests(config, 8):
            assert max(seconds_for(config) for _ in range(10)) < PROMPT


def test_who_waits_in_line_is_served_and_the_connection_goes_on(served, config, tenancy, alpha):
    with held(config, tenancy, alpha), slow_requests(config, 12) as visitors:
        assert {status_of(visitor) for visitor in visitors} == {"422"}  # an empty form
        for visitor in visitors:
            visitor.sendall(ask_for("/healthz", ALPHA))
        assert {status_of(visitor) for visitor in visitors} == {"200"}


def test_a_line_that_is_too_long_is_refused_in_the_tenants_look(served, config, tenancy, alpha):
    with held(config, tenancy, alpha):
        seconds_for(config, ALPHA)
        with slow_requests(config, LONGEST_LINE + 3):
            status, page = visit(config, ALPHA)
            assert status == 503
            assert "Retry-After: 5" in page
            assert "Alpha Allotments" in page
            assert "Many people are here" in page
            assert '"code": "tenant_crowded"' in visit(config, ALPHA, "/api/v1/me")[1]
            assert seconds_for(config) < PROMPT


def test_a_plan_may_have_less_at_once(served, app, config, tenancy, alpha):
    with app.app_context():
        settings.put({"requests_at_once:standard": "1"})
        db.session.commit()
    seconds_for(config, ALPHA)
    with held(config, tenancy, alpha):
        with slow_requests(config, 1):
            until(lambda: seconds_for(config, ALPHA) > PROMPT, seconds=HELD)  # when that one has come to work
            assert seconds_for(config) < PROMPT


# The line itself


def test_the_next_in_line_takes_the_place_of_whoever_leaves():
    lines, called = Lines(), []
    assert lines.enter("a", 2, None)
    assert lines.enter("a", 2, None)
    assert not lines.enter("a", 2, lambda: called.append("first"))
    assert not lines.enter("a", 2, lambda: called.append("second"))
    assert lines.enter("b", 2, None)
    lines.leave("a")
    assert called == ["first"]
    assert not lines.enter("a", 2, lambda: called.append("third"))
    for _ in range(4):
        lines.leave("a")
    assert called == ["first", "second", "third"]
    lines.leave("b")
    assert (dict(lines._at_work), lines._waiting) == ({}, {})


def test_nobody_stands_in_a_line_that_is_full():
    lines = Lines()
    assert lines.enter("a", 1, None)
    for _ in range(LONGEST_LINE):
        assert not lines.enter("a", 1, None)
    with pytest.raises(TenantCrowded):
        lines.enter("a", 1, None)
    assert lines.enter("b", 1, None)
