"""The bell: it says which tenant has news, to those who listen, and nothing depends on it."""

import signal
import threading
import time
from datetime import timedelta

import pytest
import redis

from app.facilities import doorbell, events, live, queue
from app.tenancy import db, jobs, utcnow
from tests.facilities.queue_worker import COUNTED
from tests.running import until

STRANGE = [
    b"",
    b"*",
    b"garbage",
    b"\x00\xff\xfe",
    b"f" * 31,
    b"F" * 32,
    b"f" * 32 + b"\n",
    b"f" * 32 + b":" + b"e" * 32,
    b"f" * 32 + b"," + b"e" * 32,
    b"../" + b"f" * 29,
    b"f" * 100_000,
]


@pytest.fixture
def heard(config, client):
    """Listen, in a thread, until Valkey goes away; return what was heard."""
    found = []
    ears = redis.Redis.from_url(config.valkey_url)

    def listen():
        try:
            for each in doorbell.listen(ears):
                found.append(each)
        except (redis.RedisError, ValueError):
            pass

    thread = threading.Thread(target=listen)
    thread.start()
    until(lambda: client.pubsub_numsub(doorbell.CHANNEL)[0][1] == 1)
    yield found
    client.client_kill_filter(_type="pubsub")
    thread.join(5)
    ears.close()


@pytest.fixture
def record(app, in_tenant):
    """Record events of a tenant in one transaction."""

    def write(tenant, *, times=1, keep=True):
        with app.app_context(), in_tenant(tenant):
            for number in range(times):
                events.record(COUNTED, number, audience="nobody")
            (db.session.commit if keep else db.session.rollback)()

    return write


def test_a_commit_with_events_rings_once_for_its_tenant(record, heard, alpha, beta):
    record(alpha, times=5)
    record(beta)
    until(lambda: len(heard) == 2)
    time.sleep(0.2)
    assert heard == [alpha.id, beta.id]


def test_what_is_rolled_back_rings_for_nobody(record, heard, alpha, beta):
    record(alpha, keep=False)
    record(beta)
    until(lambda: heard)
    assert heard == [beta.id]


def test_a_savepoint_rings_only_with_the_commit_around_it(app, in_tenant, heard, alpha):
    with app.app_context(), in_tenant(alpha):
        with db.session.begin_nested():
            events.record(COUNTED, 1, audience="nobody")
        time.sleep(0.3)
        assert heard == []
        db.session.commit()
    until(lambda: heard == [alpha.id])


def test_a_commit_without_events_rings_for_nobody(app, in_tenant, record, heard, alpha, beta):
    with app.app_context(), in_tenant(alpha):
        jobs.later("test.write", file="", text="", run_at=utcnow() + timedelta(days=1))
        db.session.commit()
    record(beta)
    until(lambda: heard)
    assert heard == [beta.id]


@pytest.mark.parametrize("message", STRANGE)
def test_a_ring_that_names_no_tenant_is_heard_as_none(client, heard, message):
    client.publish(doorbell.CHANNEL, message)
    until(lambda: heard)
    assert heard == [None]


def test_strange_rings_and_those_for_tenants_that_do_not_exist_are_counted_and_ignored(app, client, heard, alpha):
    hub = live.Hub(app)
    for message in (*STRANGE, b"f" * 32, alpha.id.encode()):
        client.publish(doorbell.CHANNEL, message)
    until(lambda: len(heard) == len(STRANGE) + 2)
    for each in heard:
        hub._hear(each)
    assert hub.counters.strange_rings == len(STRANGE) + 1
    assert (hub.counters.rings, hub.report()["streams"]) == (0, 0)


def test_nobody_listens_by_pattern_or_to_another_channel(client, heard, alpha):
    assert client.pubsub_numpat() == 0
    assert client.pubsub_channels() == [doorbell.CHANNEL.encode()]
    for channel in ("doorbell:x", "door*", "*", "__keyspace@0__:x", alpha.id):
        client.publish(channel, alpha.id)
    client.publish(doorbell.CHANNEL, b"last")
    until(lambda: heard)
    assert heard == [None]


def test_whoever_listens_is_told_when_valkey_goes_away(config, valkey, client):
    ears = redis.Redis.from_url(config.valkey_url)
    ended = threading.Event()

    def listen():
        with pytest.raises(redis.RedisError):
            list(doorbell.listen(ears))
        ended.set()

    thread = threading.Thread(target=listen)
    thread.start()
    until(lambda: client.pubsub_numsub(doorbell.CHANNEL)[0][1] == 1)
    valkey.kill()
    assert ended.wait(20)
    thread.join()
    ears.close()


def test_with_valkey_down_or_frozen_a_commit_rings_for_nobody_and_is_fast(app, record, valkey, alpha):
    valkey.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            began = time.monotonic()
            record(alpha)
            assert time.monotonic() - began < 1
    finally:
        valkey.send_signal(signal.SIGCONT)
    valkey.kill()
    app.extensions["freehold.queue_rest"]["until"] = 0.0
    began = time.monotonic()
    record(alpha)
    assert time.monotonic() - began < 1
    assert app.extensions["freehold.queue_rest"]["until"] > time.monotonic() + queue.REST - 2
