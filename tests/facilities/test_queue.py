"""The queue with a real Valkey and a real worker process: what runs, how often, and what is set aside instead."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
import zlib
from contextvars import Context
from pathlib import Path

import pytest

from app.facilities import queue
from app.facilities.events import Event
from app.tenancy import db, due, jobs, tenancy
from tests.facilities.queue_worker import HAPPENED, events
from tests.running import alive, descendants, until

QUEUE = "rq:queue:jobs"


@pytest.fixture
def envelope_of(app, in_tenant):
    def seal(tenant, due_id, job="test.write"):
        with app.app_context(), in_tenant(tenant):
            return jobs.seal(due.Reserved(due_id, job, 0))

    return lambda *given: Context().run(seal, *given)


@pytest.fixture
def counted(app, in_tenant):
    """Return how often a job of the tests has left its trace in a tenant's file."""

    def count(tenant):
        with app.app_context(), in_tenant(tenant):
            return db.session.query(Event).filter_by(kind="TestCounted").count()

    return lambda tenant: Context().run(count, tenant)


def read(notes):
    return notes.read_text().splitlines() if notes.exists() else []


def quarantined(client):
    return [json.loads(entry) for entry in client.lrange("quarantine", 0, -1)]


def bring(client, envelope):
    """Put an envelope into the queue by hand, under a name that is sound."""
    name = uuid.uuid4().hex
    call = [queue._FUNCTION, None, [envelope], {}]
    client.hset(f"rq:job:{name}", mapping=hash_of(json.dumps(call).encode()))
    client.rpush(QUEUE, name)
    return name


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
    until(lambda: rows(alpha)[0].attempts == 1 and rows(alpha)[0].error, seconds=10)
    until(lambda: rows(alpha)[0].set_aside_at, seconds=20)
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


@pytest.mark.parametrize("victims", ["the horse", "the worker", "all"])
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


# Attacks. Each writes into `target` when it succeeds; `test_the_attacks_work_on_a_plain_worker` shows that they would.


def by_pickle(client, target):
    name = uuid.uuid4().hex
    call = ("os.system", None, (f"touch {target}",), {})
    client.hset(f"rq:job:{name}", mapping=hash_of(pickle.dumps(call)))
    client.rpush(QUEUE, name)


def by_function_name(client, target):
    name = uuid.uuid4().hex
    client.hset(f"rq:job:{name}", mapping=hash_of(json.dumps(["os.system", None, [f"touch {target}"], {}]).encode()))
    client.rpush(QUEUE, name)


def by_callback(client, target):
    name = uuid.uuid4().hex
    call = ["time.time", None, [], {}]
    fields = {**hash_of(json.dumps(call).encode()), "success_callback_name": "tests_attack.succeed"}
    client.hset(f"rq:job:{name}", mapping=fields)
    client.rpush(QUEUE, name)


ATTACKS = [by_pickle, by_function_name, by_callback]


def hash_of(data):
    stamp = "2026-01-01T00:00:00.000000Z"
    return {"data": zlib.compress(data), "created_at": stamp, "origin": "jobs", "status": "queued", "timeout": "30"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attacks_work_on_a_plain_worker(client, tmp_path, attack):
    """Show that what is set aside below is not set aside for nothing."""
    target = tmp_path / "target"
    (tmp_path / "tests_attack.py").write_text(f"def succeed(*_):\n    open({str(target)!r}, 'w').close()\n")
    serializer = "pickle" if attack is by_pickle else "json"
    plain = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport redis, rq\n"
        f"c = redis.Redis(unix_socket_path={client.connection_pool.connection_kwargs['path']!r})\n"
        f"rq.Worker(['jobs'], connection=c, serializer={serializer!r}).work(burst=True)"
    )
    attack(client, target)
    subprocess.run([sys.executable, "-c", plain], check=True, capture_output=True, timeout=60)
    assert target.exists()


def test_the_attacks_are_set_aside_and_never_run(ledger_rows, send, start_worker, client, tmp_path, notes, alpha):
    targets = [tmp_path / attack.__name__ for attack in ATTACKS]
    for attack, target in zip(ATTACKS, targets, strict=True):
        attack(client, target)
    send(alpha, "test.write", file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes))
    assert not any(target.exists() for target in targets)
    assert len(quarantined(client)) == len(ledger_rows("job_quarantined")) == len(ATTACKS)
    assert client.llen(f"{QUEUE}:intermediate") == 0


def with_no_signature(envelope, other):
    return {**envelope, "mac": ""}


def with_a_signature_that_is_no_text(envelope, other):
    return {**envelope, "mac": "\ud800"}


def with_the_signature_of_another_tenant(envelope, other):
    return {**envelope, "mac": other["mac"]}


def for_another_tenant(envelope, other):
    return {**envelope, "tenant": other["tenant"]}


def asking_for_another_function(envelope, other):
    return {**envelope, "job": "os.system"}


def pointing_at_another_row(envelope, other):
    return {**envelope, "due": envelope["due"] + 1}


def carrying_arguments(envelope, other):
    return {**envelope, "arguments": {"text": "forged"}}


FORGERIES = [
    with_no_signature,
    with_a_signature_that_is_no_text,
    with_the_signature_of_another_tenant,
    for_another_tenant,
    asking_for_another_function,
    pointing_at_another_row,
    carrying_arguments,
]


def test_a_forged_envelope_is_set_aside_by_the_worker(
    ledger_rows, send, start_worker, client, notes, envelope_of, rows, alpha, beta
):
    asked = [send(tenant, "test.write", file=str(notes), text="forged") for tenant in (alpha, beta)]
    client.flushall()
    true = envelope_of(alpha, asked[0]), envelope_of(beta, asked[1])
    names = [bring(client, forge(*true)) for forge in FORGERIES]
    send(alpha, "test.write", file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes))
    assert read(notes) == ["alpha after"]
    assert {entry["name"] for entry in quarantined(client)} == set(names)
    assert len(ledger_rows("job_quarantined")) == len(FORGERIES)
    assert [rows(tenant)[0].attempts for tenant in (alpha, beta)] == [0, 0]


def test_a_signed_envelope_of_one_tenant_never_runs_the_row_of_the_same_number_of_another(
    send, start_worker, client, notes, envelope_of, alpha, beta
):
    send(alpha, "test.write", file=str(notes), text="mine")
    client.flushall()
    other = send(beta, "test.write", file=str(notes), text="theirs")
    client.flushall()
    bring(client, envelope_of(beta, other))
    start_worker()
    until(lambda: read(notes))
    assert read(notes) == ["beta theirs"]


NO_IDS = [b"not an id", b"\xff\xfe", b"", b"a" * 32, b"../../x"]
UNREADABLE = {
    "no json": {"data": b"\x00\xff no json"},
    "a bomb": {"data": zlib.compress(b" " * (5 << 20))},
    "too deep": {"data": zlib.compress(b"[" * 100_000)},
    "no date": {"data": b"[]", "created_at": "yesterday"},
    "an odd state": {
        "data": zlib.compress(json.dumps(["app.tenancy.jobs.perform", None, [{}], {}]).encode()),
        "status": "odd",
    },
    "no data": {"status": "queued"},
}


def test_a_name_that_is_no_job_neither_runs_nor_stops_the_worker(send, start_worker, client, notes, alpha):
    for name in NO_IDS:
        client.set(b"rq:job:" + name, "a string where a hash should be")
        client.rpush(QUEUE, name)
    send(alpha, "test.write", file=str(notes), text="after")
    worker = start_worker()
    until(lambda: read(notes))
    assert len(quarantined(client)) == len(NO_IDS)
    assert worker.poll() is None


def test_an_entry_that_cannot_be_read_does_not_stop_the_worker(send, start_worker, client, notes, alpha):
    names = [uuid.uuid4().hex for _ in UNREADABLE]
    for name, fields in zip(names, UNREADABLE.values(), strict=True):
        client.hset(f"rq:job:{name}", mapping=fields)
        client.rpush(QUEUE, name)
    send(alpha, "test.write", file=str(notes), text="after")
    worker = start_worker()
    until(lambda: read(notes))
    assert {entry["name"] for entry in quarantined(client)} == set(names)
    assert worker.poll() is None


def test_an_entry_smuggled_in_as_an_abandoned_job_is_set_aside(send, start_worker, client, tmp_path, notes, alpha):
    target, name = tmp_path / "target", uuid.uuid4().hex
    call = json.dumps(["os.system", None, [f"touch {target}"], {}]).encode()
    fields = {**hash_of(call), "status": "started", "retries_left": "1", "failure_callback_name": "os.abort"}
    client.hset(f"rq:job:{name}", mapping=fields)
    client.zadd("rq:wip:jobs", {f"{name}:0": 1})
    worker = start_worker()
    until(lambda: quarantined(client) or client.zcard("rq:wip:jobs") == 0)
    send(alpha, "test.write", file=str(notes), text="after")
    until(lambda: read(notes))
    assert worker.poll() is None
    assert not target.exists()


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
