"""The queue when processes are killed and Valkey is down, frozen or empty: nothing is lost, and nothing is there twice."""

import os
import signal
import time

import pytest

from app.facilities import queue
from tests.facilities.queued import QUEUE, read
from tests.running import alive, descendants, until


@pytest.mark.parametrize("victims", ["the horse", "all", pytest.param("the worker", marks=pytest.mark.prove)])
def test_a_job_killed_in_the_middle_runs_again_soon_and_its_effect_is_there_once(
    send, start_worker, start_sweeper, client, notes, rows, counted, alpha, victims
):
    start_sweeper()
    time.sleep(2)  # it has planted the schedules, and rests
    send(alpha, "test.count", file=str(notes), seconds=60)
    worker = start_worker()
    until(lambda: read(notes))
    horses = descendants(worker.pid)
    assert horses
    start_worker()
    until(lambda: client.scard("rq:workers") == 2)
    time.sleep(1.5)  # the sweeper has seen the job run
    killed_at = time.monotonic()
    for pid in {"the horse": horses, "the worker": {worker.pid}, "all": {worker.pid, *horses}}[victims]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not rows(alpha), seconds=15)
    assert time.monotonic() - killed_at < 7  # two ticks and a pause
    assert read(notes) == ["alpha counted"] * 2
    assert counted(alpha) == 1
    assert not alive(horses)


def test_a_job_whose_process_is_killed_each_time_is_set_aside(
    send, start_worker, start_sweeper, notes, rows, counted, alpha
):
    send(alpha, "test.long", file=str(notes))
    worker = start_worker()
    start_sweeper()
    for times in (1, 2):
        until(lambda: len(read(notes)) == times)  # noqa: B023
        for horse in descendants(worker.pid):
            os.kill(horse, signal.SIGKILL)
    until(lambda: rows(alpha)[0].set_aside_at)
    assert "ended in the middle" in rows(alpha)[0].error


def test_with_valkey_down_a_commit_is_fast_and_its_job_runs_when_it_is_back(
    send, start_worker, start_sweeper, valkey, notes, rows, alpha
):
    start_worker()
    start_sweeper()
    time.sleep(3)  # they have begun
    valkey.kill()
    began = time.monotonic()
    send(alpha, "test.write", file=str(notes), text="kept")
    assert time.monotonic() - began < 1
    time.sleep(10)
    assert len(rows(alpha)) == 1
    valkey.start()
    back = time.monotonic()
    until(lambda: read(notes), seconds=30)
    assert time.monotonic() - back < 5
    until(lambda: not rows(alpha))
    assert read(notes) == ["alpha kept"]


def test_with_valkey_frozen_a_commit_is_fast_and_its_job_runs_once(
    send, start_worker, start_sweeper, valkey, notes, rows, alpha
):
    valkey.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            send(alpha, "test.write", file=str(notes), text="kept")
            assert time.monotonic() - began < 1
    finally:
        valkey.send_signal(signal.SIGCONT)
    start_worker()
    start_sweeper()
    until(lambda: not rows(alpha), seconds=20)
    time.sleep(2)
    assert read(notes) == ["alpha kept"] * 2


def test_what_a_flush_of_valkey_loses_is_brought_again_within_seconds_and_runs_once(
    send, start_worker, start_sweeper, client, notes, rows, counted, alpha
):
    send(alpha, "test.count", file=str(notes))
    start_sweeper()
    time.sleep(1)
    client.flushall()
    flushed = time.monotonic()
    until(lambda: client.llen(QUEUE))
    assert time.monotonic() - flushed < 5
    start_worker()
    until(lambda: not rows(alpha))
    time.sleep(3)  # nothing comes a second time
    assert read(notes) == ["alpha counted"]
    assert counted(alpha) == 1


def test_a_worker_goes_on_after_a_flush_of_valkey_and_is_seen_to(
    send, start_worker, start_sweeper, client, notes, rows, alpha
):
    worker = start_worker()
    until(lambda: queue.youngest_heartbeat(client) is not None)
    client.flushall()
    start_sweeper()
    send(alpha, "test.write", file=str(notes), text="after")
    until(lambda: read(notes), seconds=10)
    until(lambda: queue.youngest_heartbeat(client) is not None, seconds=10)
    assert worker.poll() is None


def test_jobs_survive_a_killed_valkey(config, send, valkey, client, alpha, notes):
    send(alpha, "test.write", file=str(notes), text="kept")
    time.sleep(1.2)  # its file is synced every second
    valkey.kill()
    valkey.start()
    assert client.llen(QUEUE) == 1


def test_a_worker_told_to_stop_ends_soon_and_its_job_goes_back(send, start_worker, client, notes, rows, alpha):
    send(alpha, "test.long", file=str(notes))
    worker = start_worker()
    until(lambda: read(notes))
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=10)
    assert time.monotonic() - began < 8
    assert [(row.attempts, row.error, row.set_aside_at) for row in rows(alpha)] == [(0, "", None)]


def test_a_job_that_went_back_runs_again_in_the_next_worker(
    send, start_worker, start_sweeper, client, notes, rows, counted, alpha
):
    send(alpha, "test.count", file=str(notes), seconds=60)
    worker = start_worker()
    until(lambda: read(notes))
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=10)
    start_sweeper()
    start_worker()
    until(lambda: not rows(alpha), seconds=10)
    assert counted(alpha) == 1
