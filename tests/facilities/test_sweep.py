"""The sweeper: what is due gets its turn, quiet tenants cost nothing, and nobody's trouble is another's."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import select

from app.facilities.events import Event
from app.facilities.sweep import Sweeper
from app.tenancy import database, db, due, jobs, utcnow
from app.tenancy.due import Due
from app.tenancy.ledger import TenantDue
from tests.running import until

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTLED = 0.1  # seconds after which a write shows in a file's time stamps for certain


@pytest.fixture
def sent(app):
    """Hold what is brought to the queue."""
    before, brought = list(jobs._send), []
    jobs.sends_with(brought.extend)
    yield brought
    jobs.sends_with(*before)


@pytest.fixture
def new_sweeper(app):
    """Return a sweeper as its process begins, with what the ledger remembers."""

    def begin():
        sweeper = Sweeper(app)
        sweeper.remember()
        return sweeper

    return begin


@pytest.fixture
def sweeper(new_sweeper):
    return new_sweeper()


@pytest.fixture
def leases(tenancy):
    """Return how often a tenant's file has been used so far."""
    return lambda: tenancy.pool.counters.opens + tenancy.pool.counters.hits


@pytest.fixture
def write_unsent(at, sent):
    """Add work to a tenant's file that the queue never hears of, as when Valkey is down."""

    def write(tenant, **wish):
        at(tenant, lambda: jobs.later("test.write", file="", text="", **wish))
        sent.clear()

    return write


def schedules_of(at, tenant):
    found = select(Due.schedule).where(Due.schedule.is_not(None))
    return set(at(tenant, lambda: db.session.scalars(found).all()))


def become_quiet(sweeper):
    for _ in range(5):
        time.sleep(SETTLED)
        if not sweeper.tick():
            return
    raise AssertionError("it never rests")


def noted(app, tenant):
    with app.app_context():
        row = db.session.get(TenantDue, tenant.id)
        db.session.close()
        return row


def test_every_tenant_gets_every_schedule_new_ones_too(at, tenancy, sent, sweeper, app, alpha, beta):
    sweeper.tick()
    for tenant in (alpha, beta):
        assert schedules_of(at, tenant) == set(jobs.schedules()) >= {"events.retire"}
    with app.app_context():
        tenancy.lifecycle.create("gamma", "Gamma Gardens")
    sweeper.tick()
    assert schedules_of(at, tenancy.registry.by_slug("gamma")) == set(jobs.schedules())


def test_a_schedule_that_the_code_drops_leaves_the_files_after_the_next_start(at, sent, new_sweeper, alpha):
    jobs.every("0 4 * * *", name="test.dropped")(lambda: None)
    try:
        become_quiet(new_sweeper())
        time.sleep(1.2)
        become_quiet(new_sweeper())  # this one writes down when it looked
        assert "test.dropped" in schedules_of(at, alpha)
    finally:
        del jobs._jobs["test.dropped"]
    become_quiet(new_sweeper())
    assert "test.dropped" not in schedules_of(at, alpha)


def test_quiet_tenants_are_not_opened_and_those_that_were_written_to_are(at, sent, sweeper, leases, alpha, beta):
    become_quiet(sweeper)
    before = leases()
    assert [sweeper.tick() for _ in range(20)] == [0] * 20
    assert leases() == before
    at(alpha, lambda: jobs.later("test.write", run_at=utcnow() + HOUR))
    assert sweeper.tick() == 1
    at(alpha, lambda: db.session.scalar(select(Due.id)))  # reading changes nothing
    become_quiet(sweeper)
    assert sweeper.tick() == 0


def test_a_write_in_the_same_moment_as_a_look_is_not_missed(at, sent, sweeper, alpha):
    become_quiet(sweeper)
    for _ in range(30):
        at(alpha, lambda: jobs.later("test.write", run_at=utcnow() + HOUR))
        sweeper.tick()
        at(alpha, lambda: jobs.later("test.write", run_at=utcnow() + HOUR))
        assert sweeper.tick() == 1
        time.sleep(0.01)


def test_a_write_while_the_ledger_keeps_the_sweeper_waiting_is_not_missed(
    at, sent, sweeper, monkeypatch, write_unsent, alpha
):
    become_quiet(sweeper)
    note, slowly = sweeper._note, threading.Event()

    def note_slowly(tenant_id, found):
        slowly.set()
        time.sleep(0.3)
        note(tenant_id, found)

    monkeypatch.setattr(sweeper, "_note", note_slowly)
    at(alpha, lambda: jobs.later("test.write", run_at=utcnow() + HOUR))
    sweeping = threading.Thread(target=sweeper.tick)
    sweeping.start()
    slowly.wait(5)
    write_unsent(alpha, run_at=utcnow() + timedelta(seconds=0.5))
    sweeping.join()
    time.sleep(0.6)
    sweeper.tick()
    sweeper.tick()
    assert len(sent) == 1


def test_what_nobody_brought_is_brought(at, app, sent, sweeper, alpha, beta):
    def crash():
        due.add("test.write", {})
        del db.session.info["due"]  # this process ends before it can

    at(alpha, crash)
    sweeper.tick()
    assert [envelope["tenant"] for envelope in sent] == [alpha.id]
    assert noted(app, alpha).waiting == 1


def test_a_turn_that_comes_later_is_brought_though_nobody_touched_the_file(sent, sweeper, write_unsent, alpha, leases):
    write_unsent(alpha, run_at=utcnow() + timedelta(seconds=1.5))
    become_quiet(sweeper)
    assert sent == []
    until(lambda: sweeper.tick() or sent, seconds=5)
    assert [envelope["tenant"] for envelope in sent] == [alpha.id]


def test_after_a_restart_it_remembers_who_is_quiet_and_when_each_wants_its_turn(
    sent, new_sweeper, write_unsent, leases, alpha, beta
):
    write_unsent(alpha, run_at=utcnow() + timedelta(seconds=5))
    become_quiet(new_sweeper())
    time.sleep(1.2)
    become_quiet(new_sweeper())  # this one writes down when it looked
    restarted = new_sweeper()
    before = leases()
    assert restarted.tick() == 0
    assert leases() == before
    until(lambda: restarted.tick() or sent, seconds=8)
    assert [envelope["tenant"] for envelope in sent] == [alpha.id]


def test_after_a_restart_it_finds_what_was_on_its_way_when_the_queue_lost_it(
    at, sent, valkey, new_sweeper, alpha, beta
):
    at(alpha, lambda: jobs.later("test.write"))
    assert len(sent) == 1  # and Valkey knows nothing of it
    for _ in range(2):
        new_sweeper().tick()
        time.sleep(1.3)
    restarted = new_sweeper()
    until(lambda: restarted.tick() and len(sent) > 1, seconds=6)
    assert sent[1] == sent[0]


def test_work_of_a_process_that_is_gone_is_brought_again_though_the_file_stands_still(at, sent, sweeper, alpha):
    at(alpha, lambda: jobs.later("test.write"))
    child = os.fork()
    if not child:
        time.sleep(60)
    holder = f"{due._machine()}/{child}/{due._started(child)}"
    at(alpha, lambda: setattr(due.claim(sent[0]["due"], 60), "holder", holder))
    become_quiet(sweeper)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert sweeper.tick() == 1
    until(lambda: sweeper.tick() is not None and len(sent) > 1, seconds=5)
    assert (sent[1]["due"], sent[1]["attempt"]) == (sent[0]["due"], 1)


def test_a_tenant_whose_file_is_locked_keeps_no_other_waiting(
    sent, sweeper, tenancy, write_unsent, start_sweeper, alpha, beta
):
    become_quiet(sweeper)
    lock = tenancy.placements.open_file(alpha.id)
    database.be_brief()
    tenancy.pool.dispose()
    try:
        lock.execute("BEGIN IMMEDIATE")
        lock.execute("UPDATE due SET run_at = 0")
        lock.execute("COMMIT")
        lock.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        sweeper.tick()
        assert time.monotonic() - began < 1
        assert sent == []
        write_unsent(beta, run_at=utcnow() + timedelta(seconds=0.2))
        time.sleep(0.3)
        sweeper.tick()
        assert {envelope["tenant"] for envelope in sent} == {beta.id}
    finally:
        lock.close()
        database.waiting.busy = database.waiting.most = database.LOCKED_SECONDS
        tenancy.pool.dispose()
    until(lambda: sweeper.tick() is not None and alpha.id in {envelope["tenant"] for envelope in sent}, seconds=8)


def test_a_tenant_whose_file_is_broken_keeps_no_other_waiting(sent, sweeper, tenancy, write_unsent, alpha, beta):
    become_quiet(sweeper)
    tenancy.pool.dispose()
    tenancy.placements.file(alpha.id).write_bytes(b"not a database" * 1000)
    write_unsent(beta, run_at=utcnow() + timedelta(seconds=0.1))
    time.sleep(0.2)
    for _ in range(3):
        sweeper.tick()
        time.sleep(SETTLED)
    assert [envelope["tenant"] for envelope in sent] == [beta.id]
    assert [sweeper.tick() for _ in range(5)] == [0] * 5  # it is left alone for a while


def test_work_of_a_suspended_tenant_waits_and_comes_when_it_is_resumed(
    app, sent, sweeper, tenancy, write_unsent, leases, alpha
):
    write_unsent(alpha, run_at=utcnow() + timedelta(seconds=0.2))
    with app.app_context():
        tenancy.lifecycle.suspend("alpha", "unpaid")
    become_quiet(sweeper)
    time.sleep(0.3)
    before = leases()
    assert [sweeper.tick() for _ in range(3)] == [0] * 3
    assert (sent, leases()) == ([], before)
    with app.app_context():
        tenancy.lifecycle.resume("alpha")
    sweeper.tick()
    assert [envelope["tenant"] for envelope in sent] == [alpha.id]


def test_a_suspended_tenant_is_not_looked_at_after_a_restart_either(
    app, sent, new_sweeper, tenancy, write_unsent, alpha
):
    write_unsent(alpha, run_at=utcnow() + timedelta(seconds=0.5))
    become_quiet(new_sweeper())
    with app.app_context():
        tenancy.lifecycle.suspend("alpha", "unpaid")
    time.sleep(0.6)
    restarted = new_sweeper()
    become_quiet(restarted)
    time.sleep(1.1)
    assert restarted.tick() == 0


def test_a_clock_that_leaps_ahead_and_back_neither_loses_a_turn_nor_doubles_it(app, at, sent, sweeper, alpha, beta):
    ran = []
    jobs.every("0 * * * *", name="test.hourly")(lambda: ran.append(1))

    def turn():
        found = select(Due.run_at).where(Due.schedule == "test.hourly")
        return at(alpha, lambda: db.session.scalar(found))

    def run_what_came():
        came = []
        sweeper.tick()
        while sent:
            envelope = sent.pop(0)
            if envelope["tenant"] == alpha.id:  # its other jobs too: while they hold its share, nothing else comes
                with app.app_context():
                    done = jobs.perform(envelope)
                came += [done] if envelope["job"] == "test.hourly" else []
        return came

    now = datetime.now(UTC).replace(minute=30)
    try:
        with time_machine.travel(now) as clock:
            assert run_what_came() == []
            clock.shift(30 * DAY)
            assert run_what_came() == [True]
            assert run_what_came() == []
            assert turn() > now + 30 * DAY
            clock.shift(-30 * DAY)
            assert run_what_came() == []
            assert now < turn() < now + HOUR
            clock.shift(HOUR)
            assert run_what_came() == [True]
            assert run_what_came() == []
        assert len(ran) == 2
    finally:
        del jobs._jobs["test.hourly"]


def test_two_sweepers_at_once_do_no_harm(app, at, send, start_worker, start_sweeper, client, notes, rows, alpha, beta):
    start_sweeper()
    start_sweeper()
    for tenant in (alpha, beta):
        for _ in range(5):
            send(tenant, "test.count", file=str(notes))
    client.flushall()
    start_worker()
    until(lambda: not rows(alpha) and not rows(beta), seconds=30)
    time.sleep(3)
    for tenant in (alpha, beta):
        counted = select(db.func.count()).select_from(Event).where(Event.kind == "TestCounted")
        assert at(tenant, lambda: db.session.scalar(counted)) == 5  # noqa: B023
    assert len(notes.read_text().splitlines()) == 10
