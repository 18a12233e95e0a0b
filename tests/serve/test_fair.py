"""Slow pages of one tenant leave a thread to the others, in a real web."""

import re
import select
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
THREADS, SHARE = 4, 3  # of the process, and of one tenant
FORM, FORM_TYPE = b"to=", "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def config(furnished_home, tmp_path_factory, config_of):
    home = copied(furnished_home, tmp_path_factory.mktemp("fair"))
    return config_of(home, FREEHOLD_WEB_WORKERS="1", FREEHOLD_WEB_THREADS=str(THREADS))


@pytest.fixture(scope="module")
def served(config):
    """Run web for the tests that leave it as it was."""
    with running(config, web):
        yield


def without_the_guard(config):
    command = web.command(config)
    return [part.replace("app.serve.fair.FairWorker", "gthread") for part in command]


@contextmanager
def slow_requests(config, count, host=ALPHA):
    """Have so many visitors, each from elsewhere, hold back what they send; yields their connections when all are at work."""
    visitors = [ask_slowly(config, host, number) for number in range(count)]
    try:
        for visitor in visitors:
            assert head_of(visitor)[0] == "HTTP/1.1 100 Continue"
        yield visitors
    finally:
        for visitor in visitors:
            visitor.close()
        until(lambda: visit(config, host)[0] == 200)


def ask_slowly(config, host, number):
    """Send the head of a form; web says "continue" when a thread waits for the rest."""
    visitor = connect(web.socket_path(config))
    headers = (
        f"Host: {host}\r\nX-Forwarded-For: 198.51.100.{number}\r\nExpect: 100-continue\r\nContent-Length: {len(FORM)}"
    )
    visitor.sendall(f"POST /sign-in HTTP/1.1\r\nContent-Type: {FORM_TYPE}\r\n{headers}\r\n\r\n".encode())
    return visitor


def ask_for_home(config, host, number):
    visitor = connect(web.socket_path(config))
    visitor.sendall(ask_for("/", host))
    return visitor


@contextmanager
def in_line(config, count, host=ALPHA, ask=ask_for_home):
    """Have so many more visitors ask; yields their connections."""
    visitors = [ask(config, host, number) for number in range(count)]
    try:
        yield visitors
    finally:
        for visitor in visitors:
            visitor.close()


def first_answered(visitors, seconds=20):
    """Return the connection that is answered first, None when none is."""
    answered, _, _ = select.select(visitors, [], [], seconds)
    return answered[0] if answered else None


def status_of(visitor):
    """Read a whole answer and return its status."""
    head, rest = head_of(visitor)
    length = int(re.search(r"Content-Length: (\d+)", head)[1])
    while len(rest) < length:
        rest += visitor.recv(65536)
    return head.split()[1]


def visit(config, host, path="/"):
    """Return status and answer of a page; a visitor who is never answered ends the test."""
    visitor = connect(web.socket_path(config))
    visitor.sendall(ask_for(path, host, "Connection: close\r\n"))
    head, rest = head_of(visitor)
    while piece := visitor.recv(65536):
        rest += piece
    visitor.close()
    return int(head.split()[1]), (head + "\r\n\r\n" + rest.decode())


@pytest.mark.prove
def test_without_the_guard_the_other_waits(config):
    """The guard is taken out: this is what it is for. It comes first, while no other web listens."""
    with running(config, SimpleNamespace(command=without_the_guard, is_ready=web.is_ready)):
        with slow_requests(config, THREADS), in_line(config, 1, BETA) as others:
            assert first_answered(others, seconds=2) is None


def test_slow_pages_of_one_tenant_do_not_make_another_wait(served, config):
    with slow_requests(config, SHARE), in_line(config, 8, ask=ask_slowly):
        assert {visit(config, BETA)[0] for _ in range(10)} == {200}


def test_who_waits_in_line_is_served_and_the_connection_goes_on(served, config):
    with slow_requests(config, SHARE) as visitors, in_line(config, 9) as waiting:
        for visitor in visitors:
            visitor.sendall(FORM)
        assert {status_of(visitor) for visitor in visitors} == {"422"}  # neither address nor password
        assert {status_of(visitor) for visitor in waiting} == {"200"}
        for visitor in (*visitors, *waiting):
            visitor.sendall(ask_for("/healthz", ALPHA))
        assert {status_of(visitor) for visitor in (*visitors, *waiting)} == {"200"}


def test_a_line_that_is_too_long_is_refused_in_the_tenants_look(served, config):
    with slow_requests(config, SHARE), in_line(config, LONGEST_LINE + 1) as visitors:
        assert status_of(first_answered(visitors)) == "503"
        status, page = visit(config, ALPHA)
        assert status == 503
        assert "Retry-After: 5" in page
        assert "Alpha Allotments" in page
        assert "Many people are here" in page
        assert '"code": "tenant_crowded"' in visit(config, ALPHA, "/api/v1/me")[1]
        assert visit(config, BETA)[0] == 200


def test_a_plan_may_have_less_at_once(served, app, config):
    with app.app_context():
        settings.put({"requests_at_once:standard": "1"})
        db.session.commit()
    with slow_requests(config, 1), in_line(config, LONGEST_LINE + 1) as visitors:
        assert status_of(first_answered(visitors)) == "503"
        assert visit(config, BETA)[0] == 200


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
