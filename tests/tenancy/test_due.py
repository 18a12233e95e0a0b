"""What is still to be done in a tenant's file: with the change that wants it or not at all, by its share, once."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import select, update

from app.tenancy import db, due, jobs, utcnow
from app.tenancy.due import Due
from app.tenancy.registry import Tier

RAN = []
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@jobs.job("test.run", tries=3)
def run(number=0):
    RAN.append(number)


@jobs.job("test.linger", tries=3)
def linger():
    RAN.append("began")
    time.sleep(0.5)


@jobs.job("test.fall", tries=3)
def fall():
    RAN.append("fell")
    raise ValueError("no bread")


@jobs.job("test.write_and_fall", tries=3)
def write_and_fall():
    jobs.later("test.run", number=99)
    db.session.flush()
    raise ValueError("no bread")


@jobs.job("test.write_and_end")
def write_and_end():
    jobs.later("test.run", number=99)


@pytest.fixture(autouse=True)
def _nothing_ran_yet():
    RAN.clear()


@pytest.fixture
def sent(app):
    """Hold what commits bring to the queue."""
    before, brought = list(jobs._send), []
    jobs.sends_with(brought.extend)
    yield brought
    jobs.sends_with(*before)


@pytest.fixture
def rows(at):
    mine = select(Due).where(Due.job.like("test.%")).order_by(Due.id)
    return lambda tenant: at(tenant, lambda: db.session.scalars(mine).all())


@pytest.fixture
def perform(app):
    def run(envelope):
        with app.app_context():
            return jobs.perform(envelope)

    return run


def test_work_and_the_change_that_wants_it_stand_or_fall_together(app, in_tenant, sent, rows, alpha):
    with app.app_context(), in_tenant(alpha):
        jobs.later("test.run", number=1)
        db.session.flush()
        db.session.rollback()
        db.session.commit()
    assert (sent, rows(alpha)) == ([], [])
    with app.app_context(), in_tenant(alpha):
        jobs.later("test.run", number=2)
        assert sent == []
        db.session.commit()
    assert [row.arguments for row in rows(alpha)] == [{"number": 2}]
    assert [envelope["due"] for envelope in sent] == [rows(alpha)[0].id]


def test_work_of_a_savepoint_that_is_taken_back_goes_with_it_and_the_rest_is_brought(app, in_tenant, sent, rows, alpha):
    with app.app_context(), in_tenant(alpha):
        with db.session.begin_nested():
            jobs.later("test.run", number=1)
        assert sent == []
        savepoint = db.session.begin_nested()
        jobs.later("test.run", number=2)
        db.session.flush()
        savepoint.rollback()
        assert sent == []
        db.session.commit()
    assert [row.arguments["number"] for row in rows(alpha)] == [1]
    assert len(sent) == 1


def test_no_commit_brings_more_than_the_tenants_share(at, sent, rows, alpha, beta):
    for number in range(5):
        at(alpha, lambda: jobs.later("test.run", number=number))  # noqa: B023
    assert [envelope["due"] for envelope in sent] == [row.id for row in rows(alpha)[: alpha.max_jobs]]
    at(beta, lambda: jobs.later("test.run"))
    assert sent[-1]["tenant"] == beta.id


def test_a_tiers_share_is_what_the_registry_says(app, at, tenancy, sent, alpha):
    with app.app_context():
        for tier in db.session.scalars(select(Tier)):
            tier.max_jobs = 4
        db.session.commit()
    wide = tenancy.registry.by_id(alpha.id)
    at(wide, lambda: [jobs.later("test.run", number=number) for number in range(6)])
    assert len(sent) == 4


def test_the_end_of_a_job_brings_the_next(at, sent, rows, perform, alpha):
    at(alpha, lambda: [jobs.later("test.run", number=number) for number in range(4)])
    assert len(sent) == 2
    while sent:
        assert perform(sent.pop(0))
    assert RAN == [0, 1, 2, 3]
    assert rows(alpha) == []


def test_work_for_later_is_not_brought_before_its_time(at, sent, rows, perform, alpha):
    at(alpha, lambda: jobs.later("test.run", run_at=utcnow() + HOUR))
    assert sent == []
    early = at(alpha, lambda: jobs.seal(due.Reserved(rows(alpha)[0].id, "test.run", 0)))
    assert perform(early) is False
    with time_machine.travel(datetime.now(UTC) + HOUR + SECOND):
        at(alpha, due.touch)
        assert len(sent) == 1
        assert perform(sent[0]) is True


def test_an_envelope_runs_once_however_often_it_comes(at, sent, perform, alpha):
    at(alpha, lambda: jobs.later("test.run", number=7))
    assert [perform(sent[0]) for _ in range(3)] == [True, False, False]
    assert RAN == [7]


def test_an_envelope_that_comes_to_many_at_once_runs_once(app, at, sent, alpha):
    at(alpha, lambda: jobs.later("test.linger"))
    start, results = threading.Barrier(6), []

    def take():
        start.wait()
        with app.app_context():
            results.append(jobs.perform(sent[0]))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 5 + [True]
    assert RAN == ["began"]


def test_what_a_job_writes_is_committed_with_its_end_or_not_at_all(at, sent, rows, perform, alpha):
    at(alpha, lambda: jobs.later("test.write_and_fall"))
    perform(sent.pop())
    assert [row.job for row in rows(alpha)] == ["test.write_and_fall"]
    at(alpha, lambda: jobs.later("test.write_and_end"))
    perform(sent.pop())
    assert [row.job for row in rows(alpha)] == ["test.write_and_fall", "test.run"]


def test_a_job_that_always_fails_waits_longer_each_time_and_is_set_aside_with_its_reason(
    at, sent, rows, perform, alpha
):
    at(alpha, lambda: jobs.later("test.fall"))
    at(alpha, lambda: jobs.later("test.run", number=1))
    pauses = []
    with time_machine.travel(datetime.now(UTC)) as clock:
        while sent:
            perform(sent.pop(0))
            row = rows(alpha)[0]
            pauses.append(row.run_at - utcnow())
            clock.shift(pauses[-1] + SECOND)
            at(alpha, due.touch)
    assert RAN == ["fell", 1, "fell", "fell"]
    assert SECOND < pauses[0] <= 2.5 * SECOND < pauses[2] <= 5 * SECOND
    assert (row.error, row.attempts, row.holder) == ("ValueError: no bread", 3, "")
    assert row.set_aside_at is not None


@pytest.mark.parametrize("attempts", [1, 2, 12, 13, 40, 10_000])
def test_no_pause_is_shorter_than_a_second_or_longer_than_an_hour_and_a_quarter(attempts):
    assert all(SECOND < due._pause(attempts) <= 1.25 * HOUR for _ in range(20))


def test_what_was_set_aside_tries_again_from_the_beginning_when_told_to(at, sent, rows, perform, alpha):
    at(alpha, lambda: [jobs.later("test.fall"), jobs.later("test.run")])
    fallen, other = [row.id for row in rows(alpha)]
    assert at(alpha, lambda: due.retry([fallen, other])) == 0
    at(alpha, lambda: setattr(db.session.get(Due, fallen), "attempts", 2))
    perform(sent.pop(0))
    assert rows(alpha)[0].set_aside_at
    assert at(alpha, lambda: due.retry([other, 10**6])) == 0
    assert at(alpha, due.retry) == 1
    row = rows(alpha)[0]
    assert (row.set_aside_at, row.attempts) == (None, 0)
    assert [envelope["due"] for envelope in sent] == [other, fallen]


def test_what_is_set_aside_neither_runs_nor_takes_a_share(at, sent, rows, perform, alpha):
    for _ in range(2):
        at(alpha, lambda: jobs.later("test.run"))
    aside = [envelope["due"] for envelope in sent]

    def put_aside():
        for row in db.session.scalars(select(Due).where(Due.id.in_(aside))):
            row.set_aside_at, row.holder = utcnow(), ""

    at(alpha, put_aside)
    assert [perform(envelope) for envelope in sent] == [False, False]
    at(alpha, lambda: [jobs.later("test.run", number=5) for _ in range(2)])
    assert len(sent) == 4


# Who holds a row, and whether they still are.


def test_a_process_is_told_from_one_that_ended_and_from_another_of_its_number():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = due.this_process()
    machine = me.split("/")[0]
    theirs = f"{machine}/{child.pid}/{due._started(child.pid)}"
    assert not due.is_over(me, None)
    assert not due.is_over(theirs, utcnow() - HOUR)
    assert due.is_over(f"{machine}/{child.pid}/1", utcnow() + HOUR)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert due.is_over(theirs, utcnow() + HOUR)  # nobody has asked for its end yet
    child.communicate()
    assert due.is_over(theirs, utcnow() + HOUR)


def test_a_process_of_another_machine_is_trusted_until_its_lease_ends():
    assert not due.is_over("other-1/5/77", utcnow() + SECOND)
    assert due.is_over("other-1/5/77", utcnow() - SECOND)
    assert due.is_over("other-1/5/77", None)


def test_a_row_whose_process_is_gone_tries_again_and_that_counts(at, sent, rows, alpha):
    at(alpha, lambda: [jobs.later("test.run"), jobs.later("test.fall")])
    one, other = rows(alpha)

    def take():
        for row, holder in ((one, f"{due.this_process()}1"), (other, due.this_process())):
            assert due.claim(row.id, 60)
            db.session.get(Due, row.id).holder = holder

    at(alpha, take)
    sent.clear()
    assert at(alpha, lambda: due.free_abandoned(jobs.tries())) == 1
    freed, kept = rows(alpha)
    assert (freed.holder, freed.attempts, freed.error) == ("", 1, "The process that ran it ended in the middle.")
    assert kept.holder == due.this_process()


def test_a_row_whose_processes_died_as_often_as_it_has_tries_is_set_aside(at, sent, rows, alpha):
    at(alpha, lambda: jobs.later("test.run"))
    asked = rows(alpha)[0].id

    def die():
        row = db.session.get(Due, asked)
        row.holder, row.attempts = f"{due.this_process()}1", 3

    at(alpha, die)
    at(alpha, lambda: due.free_abandoned(jobs.tries()))
    assert rows(alpha)[0].set_aside_at is not None


def test_a_row_on_its_way_is_freed_only_when_the_queue_has_lost_it(at, sent, rows, alpha):
    at(alpha, lambda: [jobs.later("test.run"), jobs.later("test.run")])
    _, second = [row.id for row in rows(alpha)]
    sent.clear()
    assert at(alpha, lambda: due.free_abandoned(jobs.tries(), frozenset({second}))) == 1
    assert [envelope["due"] for envelope in sent] == [second]
    assert [row.attempts for row in rows(alpha)] == [0, 0]


def test_a_row_that_is_put_back_has_used_no_try(at, sent, rows, alpha):
    at(alpha, lambda: jobs.later("test.run"))
    asked = rows(alpha)[0].id
    assert at(alpha, lambda: due.claim(asked, 60)).attempts == 1
    at(alpha, lambda: due.give_back(asked))
    row = rows(alpha)[0]
    assert (row.attempts, row.holder, len(sent)) == (0, "", 1)
    at(alpha, due.touch)
    assert sent[1] == sent[0]


def test_a_job_told_to_stop_puts_its_row_back_and_undoes_what_it_wrote(at, sent, rows, perform, alpha):
    @jobs.job("test.stop")
    def stop():
        jobs.later("test.run", number=9)
        raise jobs.Stopped

    at(alpha, lambda: jobs.later("test.stop"))
    perform(sent.pop())
    assert [(row.job, row.attempts) for row in rows(alpha)] == [("test.stop", 0)]


# Schedules.


def turns(tenant, at):
    scheduled = select(Due).where(Due.schedule.is_not(None)).order_by(Due.schedule)
    return {row.schedule: row for row in at(tenant, lambda: db.session.scalars(scheduled).all())}


def test_a_schedule_has_one_row_and_one_that_the_code_drops_has_none(at, sent, alpha):
    for _ in range(2):
        at(alpha, lambda: due.plant({"test.nightly": "0 4 * * *", "test.hourly": "0 * * * *"}))
    assert set(turns(alpha, at)) == {"test.nightly", "test.hourly"}
    at(alpha, lambda: due.plant({"test.nightly": "0 4 * * *"}))
    assert set(turns(alpha, at)) == {"test.nightly"}
    assert sent == []


def test_h_in_a_schedule_is_another_moment_for_another_tenant_and_always_the_same_for_one(at, alpha, beta):
    turn_of = lambda tenant: at(tenant, lambda: due.next_turn("H H * * *", tenant.id))  # noqa: E731
    assert turn_of(alpha) == turn_of(alpha) != turn_of(beta)


def test_turns_that_were_missed_come_once(at, sent, perform, alpha):
    jobs.every("0 * * * *", name="test.hourly")(run)
    try:
        with time_machine.travel(datetime(2030, 1, 1, 0, 30, tzinfo=UTC)) as clock:
            at(alpha, lambda: due.plant({"test.hourly": "0 * * * *"}))
            clock.move_to(datetime(2030, 1, 3, 12, 30, tzinfo=UTC))
            for _ in range(3):
                at(alpha, due.touch)
            assert len(sent) == 1
            assert perform(sent[0])
            at(alpha, due.touch)
            assert RAN == [0]
            assert turns(alpha, at)["test.hourly"].run_at == datetime(2030, 1, 3, 13, tzinfo=UTC)
            assert len(sent) == 1
    finally:
        del jobs._jobs["test.hourly"]


def test_a_clock_that_leaps_ahead_and_back_neither_loses_a_turn_nor_doubles_it(at, sent, perform, alpha):
    jobs.every("0 * * * *", name="test.hourly")(run)
    plant = lambda: due.plant({"test.hourly": "0 * * * *"})  # noqa: E731
    try:
        with time_machine.travel(datetime(2030, 1, 1, 0, 30, tzinfo=UTC)) as clock:
            at(alpha, plant)
            clock.shift(30 * DAY)
            at(alpha, plant)
            assert perform(sent.pop())
            clock.shift(-30 * DAY)
            at(alpha, plant)
            assert turns(alpha, at)["test.hourly"].run_at == datetime(2030, 1, 1, 1, tzinfo=UTC)
            clock.shift(HOUR)
            at(alpha, plant)
            assert perform(sent.pop())
            assert (RAN, sent) == ([0, 0], [])
    finally:
        del jobs._jobs["test.hourly"]


def test_a_pause_that_began_while_the_clock_was_ahead_ends_all_the_same(at, sent, perform, alpha):
    with time_machine.travel(datetime(2030, 6, 1, tzinfo=UTC)) as clock:
        at(alpha, lambda: jobs.later("test.fall"))
        perform(sent.pop())
        clock.shift(-30 * DAY)
        at(alpha, due.touch)
        assert perform(sent.pop())
    assert RAN == ["fell"] * 2


# What stands in the file.


@pytest.fixture
def backlog(tenancy):
    """Return what stands in a tenant's file."""

    def read(tenant):
        with closing(tenancy.placements.open_file(tenant.id)) as file:
            return due.standing(file, tenant, {}).backlog

    return read


def test_the_backlog_says_what_waits_since_when_and_when_to_look_again(at, sent, backlog, alpha):
    soon, past = utcnow() + HOUR, utcnow() - HOUR

    def wish():
        for moment in (past, past + SECOND, past + 2 * SECOND, soon):
            jobs.later("test.run", run_at=moment)

    at(alpha, wish)
    found = backlog(alpha)
    assert (found.waiting, found.oldest_at, found.set_aside) == (3, past, 0)
    assert found.next_at is None  # the end of what runs brings the next


def test_an_idle_tenant_wants_to_be_looked_at_when_its_next_turn_comes(at, sent, backlog, alpha):
    turn = utcnow().replace(microsecond=0) + HOUR
    at(alpha, lambda: jobs.later("test.run", run_at=turn))
    assert backlog(alpha).next_at == turn
    at(alpha, lambda: db.session.execute(db.delete(Due)))
    assert backlog(alpha).next_at is None


def test_a_schedule_that_fails_rests_for_an_hour_and_begins_anew(at, sent, alpha):
    at(alpha, lambda: due.plant({"test.run": "0 0 1 1 *"}))
    (row,) = at(alpha, lambda: db.session.scalars(select(Due).where(Due.schedule == "test.run")).all())
    at(alpha, lambda: db.session.execute(update(Due).where(Due.id == row.id).values(attempts=8)))
    assert at(alpha, lambda: due.fail(row.id, "no", 8)) is True
    (row,) = at(alpha, lambda: db.session.scalars(select(Due).where(Due.schedule == "test.run")).all())
    assert (row.set_aside_at, row.attempts, row.error) == (None, 0, "no")
    assert timedelta(minutes=59) < row.run_at - utcnow() <= due.LONGEST_PAUSE
