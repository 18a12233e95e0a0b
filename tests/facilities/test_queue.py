"""The queue with a real Valkey and a real worker process: what runs, how often, and for whom."""

import time
from pathlib import Path

import pytest

from app.facilities import queue
from app.tenancy import db, jobs, tenancy
from tests.facilities.queue_worker import HAPPENED, events
from tests.facilities.queued import QUEUE, bring, quarantined, read
from tests.running import until


def test_a_job_runs_for_the_tenant_that_asked_for_it(send, start_worker, client, notes, rows, alpha, beta):
    send(alpha, "test.write", file=str(notes), text="one")
    send(beta, "test.write", file=str(notes), text="two")
    start_worker()
    until(lambda: len(read(notes)) == 2)
    assert sorted(read(notes)) == ["alpha one", "beta two"]
    until(lambda: not client.keys("rq:job:*"))
    assert (rows(alpha), rows(beta)) == ([], [])


def test_an_event_is_answered_in_a_job_of_its_own(app, in_tenant, start_worker, notes, rows, counted, client, alpha):
    with app.app_context(), in_tenant(alpha):
        events.record(HAPPENED, 7, audience="nobody", file=str(notes))
        db.session.commit()
    start_worker()
    until(lambda: not rows(alpha))
    assert read(notes) == ["alpha heard test:7"]
    assert counted(alpha) == 1


def test_the_end_of_a_job_brings_the_next_that_waits_for_the_share(send, start_worker, client, notes, rows, alpha):
    for number in range(6):
        send(alpha, "test.write", file=str(notes), text=str(number))
    assert client.llen(QUEUE) == alpha.max_jobs == 2
    assert [row.holder for row in rows(alpha)] == ["queue"] * 2 + [""] * 4
    start_worker()
    until(lambda: not rows(alpha), seconds=20)
    assert sorted(read(notes)) == [f"alpha {number}" for number in range(6)]


def test_a_job_that_always_fails_is_set_aside_with_its_reason_and_others_go_on(
    send, start_worker, start_sweeper, client, notes, rows, alpha
):
    send(alpha, "test.fail", file=str(notes))
    start_worker()
    start_sweeper()
    until(lambda: [row for row in rows(alpha) if row.set_aside_at])
    assert read(notes) == ["alpha tried"] * 2
    assert [(row.error, row.attempts, row.holder) for row in rows(alpha)] == [
        ("ValueError: a private thing of the tenant", 2, "")
    ]
    send(alpha, "test.write", file=str(notes), text="after")
    until(lambda: read(notes)[-1] == "alpha after")
    time.sleep(3)
    assert read(notes).count("alpha tried") == 2


def test_the_trace_of_a_failure_stays_out_of_valkey(send, start_worker, client, notes, rows, alpha):
    send(alpha, "test.fail", file=str(notes))
    start_worker()
    until(lambda: rows(alpha)[0].error)
    assert b"private thing" not in b"".join(client.dump(key) or b"" for key in client.keys("*"))


def test_a_job_that_hangs_is_ended_at_its_timeout_and_that_counts(
    send, start_worker, start_sweeper, client, notes, rows, alpha
):
    send(alpha, "test.hang", file=str(notes))
    start_worker()
    start_sweeper()
    until(lambda: rows(alpha)[0].set_aside_at)
    assert read(notes) == ["alpha began"] * 2
    assert "JobTimeoutException" in rows(alpha)[0].error


@pytest.mark.prove
def test_a_job_that_hangs_and_does_not_listen_is_killed_a_minute_after_its_timeout(
    send, start_worker, start_sweeper, client, notes, rows, alpha
):
    send(alpha, "test.hang_stubbornly", file=str(notes))
    start_worker()
    start_sweeper()
    until(lambda: rows(alpha)[0].set_aside_at, seconds=100)
    assert read(notes) == ["alpha began"]
    assert "ended in the middle" in rows(alpha)[0].error


def test_a_job_that_no_code_knows_any_more_is_set_aside(send, start_worker, client, rows, alpha):
    jobs.job("test.only_here")(lambda: None)
    send(alpha, "test.only_here")
    start_worker()
    until(lambda: rows(alpha)[0].set_aside_at)
    assert "UnknownJob" in rows(alpha)[0].error
    assert client.llen("quarantine") == 0


def test_the_same_envelope_delivered_many_times_to_two_workers_runs_once(
    send, start_worker, client, notes, envelope_of, rows, counted, alpha
):
    asked = send(alpha, "test.take", file=str(notes), seconds=1.0)
    for _ in range(6):
        bring(client, envelope_of(alpha, asked, "test.take"))
    start_worker()
    start_worker()
    until(lambda: not rows(alpha) and not client.llen(QUEUE))
    bring(client, envelope_of(alpha, asked, "test.take"))
    until(lambda: not client.llen(QUEUE) and not client.keys("rq:job:*"))
    assert len(read(notes)) == 1
    assert counted(alpha) == 1
    assert quarantined(client) == []


@pytest.mark.parametrize("slow_jobs", [200, pytest.param(1000, marks=pytest.mark.prove)])
def test_slow_jobs_of_one_tenant_do_not_keep_another_waiting(
    app, in_tenant, send, start_worker, start_sweeper, client, tmp_path, alpha, beta, slow_jobs
):
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    with app.app_context(), in_tenant(alpha):
        for _ in range(slow_jobs):
            jobs.later("test.take", file=str(slow), seconds=0.5)
        db.session.commit()
    start_worker(4)
    start_sweeper()
    until(lambda: len(read(slow)) >= 4)
    waits = []
    for _ in range(3):
        quick.unlink(missing_ok=True)
        asked_at = time.time()
        send(beta, "test.take", file=str(quick), seconds=0)
        until(lambda: read(quick))
        waits.append(float(read(quick)[0].split()[1]) - asked_at)
    assert sorted(waits)[1] < 2
    assert len(read(slow)) < 150


def test_jobs_of_a_suspended_tenant_wait_and_those_of_others_run(
    app, send, start_worker, start_sweeper, client, notes, rows, alpha, beta
):
    send(alpha, "test.write", file=str(notes), text="later")
    with app.app_context():
        tenancy.lifecycle.suspend("alpha", "unpaid")
    send(beta, "test.write", file=str(notes), text="now")
    start_worker()
    start_sweeper()
    until(lambda: read(notes) == ["beta now"])
    until(lambda: not client.keys("rq:job:*"))
    time.sleep(3)
    assert [row.error for row in rows(alpha)] == [""]
    with app.app_context():
        tenancy.lifecycle.resume("alpha")
    until(lambda: len(read(notes)) == 2, seconds=10)
    assert read(notes)[1] == "alpha later"


def test_jobs_of_a_closed_tenant_are_not_run(app, send, start_worker, client, notes, alpha, beta):
    send(alpha, "test.write", file=str(notes), text="never")
    with app.app_context():
        tenancy.lifecycle.archive("alpha")
    send(beta, "test.write", file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes) and not client.keys("rq:job:*"))
    assert read(notes) == ["beta after"]
    assert quarantined(client) == []


def test_a_worker_holds_no_tenant_open_before_it_forks(send, start_worker, notes, rows, alpha):
    send(alpha, "test.write", file=str(notes), text="one")
    worker = start_worker()
    until(lambda: not rows(alpha))
    time.sleep(0.3)
    held = [str(link.readlink()) for link in Path(f"/proc/{worker.pid}/fd").iterdir() if link.exists()]
    assert not [path for path in held if "tenants_data" in path]


def test_waiting_and_heartbeats_are_told(app, send, start_worker, client, notes, alpha):
    assert (queue.lag(client), queue.youngest_heartbeat(client)) == (0, None)
    send(alpha, "test.write", file=str(notes), text="one")
    time.sleep(0.2)
    assert 0.1 < queue.lag(client) < 20
    start_worker()
    until(lambda: read(notes))
    assert queue.lag(client) == 0
    assert queue.youngest_heartbeat(client) < 20
