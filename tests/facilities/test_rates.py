"""Tries are counted for all processes together, refused before the work, and counted here when Valkey is away."""

from __future__ import annotations

import signal
import time

import pytest

from app import create_app
from app.facilities import rates
from app.facilities.rates import LimitReached, Rate, Try

FEW = Rate("few", 3, 60, "That was too often.")
ALL = Rate("all", 5, 60, "Too many came.")


def allowed(app, *tries, times=10):
    """Return how many of so many tries are let through."""
    through = 0
    with app.app_context():
        for _ in range(times):
            try:
                rates.take(*tries)
            except LimitReached:
                continue
            through += 1
    return through


@pytest.fixture
def second(config):
    """Return the application of another process."""
    other = create_app(config)
    yield other
    other.extensions["freehold.live"].end()
    other.extensions["tenancy"].close()


def test_two_processes_count_together(valkey, app, second):
    assert allowed(app, Try(FEW, "house", "ann"), times=2) == 2
    assert allowed(second, Try(FEW, "house", "ann")) == 1
    assert allowed(app, Try(FEW, "house", "bea")) == 3
    assert allowed(app, Try(FEW, "other house", "ann")) == 3


def test_without_valkey_each_process_counts_for_itself_and_refuses(app, second):
    assert allowed(app, Try(FEW, "house", "ann")) == 3
    assert allowed(second, Try(FEW, "house", "ann")) == 3


def test_a_valkey_that_hangs_costs_one_wait_and_refuses_all_the_same(valkey, app):
    valkey.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert allowed(app, Try(FEW, "house", "ann"), times=20) == 3
        assert time.monotonic() - began < 2
    finally:
        valkey.send_signal(signal.SIGCONT)


def test_a_valkey_that_is_back_counts_again(valkey, app, second):
    valkey.kill()
    assert allowed(app, Try(FEW, "house", "ann")) == 3
    valkey.start()
    app.extensions["freehold.rates"]._closed_until = 0.0
    assert allowed(app, Try(FEW, "house", "ann"), times=2) == 2
    assert allowed(second, Try(FEW, "house", "ann")) == 1


@pytest.mark.parametrize("with_valkey", [True, False])
def test_who_is_refused_fills_no_other_count(request, app, with_valkey):
    if with_valkey:
        request.getfixturevalue("valkey")
    assert allowed(app, Try(ALL, "house"), Try(FEW, "house", "ann"), times=100) == 3
    assert allowed(app, Try(ALL, "house"), Try(FEW, "house", "bea"), times=100) == 2


def test_the_answer_says_when_to_come_back(app):
    with app.app_context():
        for _ in range(3):
            rates.take(Try(FEW, "house"))
        with pytest.raises(LimitReached) as refused:
            rates.take(Try(FEW, "house"))
    headers = refused.value.headers
    assert headers["RateLimit-Policy"] == '"few";q=3;w=60'
    assert headers["RateLimit"] == f'"few";r=0;t={headers["Retry-After"]}'
    assert 1 <= int(headers["Retry-After"]) <= 61
    assert refused.value.advice == "That was too often. Please try again in 1 minute."


def test_what_is_forgiven_begins_anew(app):
    assert allowed(app, Try(FEW, "house", "ann")) == 3
    with app.app_context():
        rates.forgive(Try(FEW, "house", "ann"))
    assert allowed(app, Try(FEW, "house", "ann")) == 3


def test_valkey_learns_no_address(valkey, client, app):
    allowed(app, Try(FEW, "house", "ann@alpha.test"))
    keys = client.keys("*")
    assert keys
    assert not [key for key in keys if b"ann" in key or b"alpha" in key]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_a_household_is_one_visitor(app, address, network):
    with app.test_request_context(
        "/", headers={"X-Forwarded-For": f"203.0.113.1, {address}"}, environ_base={"REMOTE_ADDR": ""}
    ):
        assert rates.visitor() == network
