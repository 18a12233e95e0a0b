"""The queue with a real Valkey and a real worker process: what runs, and what is set aside instead."""

import json
import pickle
import signal
import subprocess
import sys
import time
import uuid
import zlib
from pathlib import Path

import pytest
import redis
from sqlalchemy import select

from app.facilities import queue
from app.serve import valkey as valkey_process
from app.serve.folders import make_folders
from app.tenancy import db, jobs, tenancy
from app.tenancy.ledger import AuditRow
from tests.facilities.queue_worker import write
from tests.running import until

QUEUE = "rq:queue:jobs"


@pytest.fixture
def valkey(config):
    make_folders(config)
    running = subprocess.Popen(valkey_process.command(config), stdout=subprocess.DEVNULL)
    until(lambda: valkey_process.is_ready(config))
    yield running
    running.kill()
    running.wait()


@pytest.fixture
def start_worker(config, valkey):
    started = []

    def start():
        command = [sys.executable, str(Path(__file__).parent / "queue_worker.py"), str(config.home)]
        worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


@pytest.fixture
def client(config, valkey):
    with redis.Redis.from_url(config.valkey_url) as connection:
        yield connection


@pytest.fixture
def send(app, in_tenant):
    def enqueue(tenant, job, **arguments):
        with app.app_context(), in_tenant(tenant):
            return queue.enqueue(job, **arguments)

    return enqueue


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


def read(notes):
    return notes.read_text().splitlines() if notes.exists() else []


def quarantined(client):
    return [json.loads(entry) for entry in client.lrange("quarantine", 0, -1)]


def ledger_rows(app, kind):
    with app.app_context():
        rows = db.session.scalars(select(AuditRow).where(AuditRow.kind == kind)).all()
        db.session.rollback()
        return rows


def test_a_job_runs_for_the_tenant_that_enqueued_it(send, start_worker, client, notes, alpha, beta):
    send(alpha, write, file=str(notes), text="one")
    send(beta, "test.write", file=str(notes), text="two")
    start_worker()
    until(lambda: len(read(notes)) == 2)
    assert read(notes) == ["alpha one", "beta two"]
    until(lambda: not client.keys("rq:job:*"))


def test_a_failing_job_is_tried_three_times_and_its_trace_stays_out_of_valkey(send, start_worker, client, notes, alpha):
    name = send(alpha, "test.fail", file=str(notes))
    start_worker()
    until(lambda: client.zcard("rq:failed:jobs"))
    assert read(notes) == ["alpha tried"] * 3
    assert b"private thing" not in b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert 0 < client.ttl(f"rq:job:{name}") <= queue.FAILURES_KEPT or client.ttl("rq:failed:jobs") == -1


def test_enqueueing_with_valkey_down_says_so_at_once(app, in_tenant, alpha):
    began = time.monotonic()
    with app.app_context(), in_tenant(alpha), pytest.raises(queue.QueueDown) as refusal:
        queue.enqueue(write, file="", text="")
    assert time.monotonic() - began < 1
    assert (refusal.value.status, refusal.value.retry_after) == (503, 60)
    assert "again" in refusal.value.advice


def test_enqueueing_with_valkey_stopped_in_its_tracks_says_so_soon(send, valkey, alpha):
    valkey.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(queue.QueueDown):
            send(alpha, write, file="", text="")
        assert time.monotonic() - began < 2
    finally:
        valkey.send_signal(signal.SIGCONT)


def test_jobs_survive_a_killed_valkey(config, send, valkey, client, alpha, notes):
    send(alpha, write, file=str(notes), text="kept")
    time.sleep(1.2)  # its file is synced every second
    valkey.kill()
    valkey.wait()
    again = subprocess.Popen(valkey_process.command(config), stdout=subprocess.DEVNULL)
    try:
        until(lambda: valkey_process.is_ready(config))
        assert client.llen(QUEUE) == 1
    finally:
        again.kill()
        again.wait()


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


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attacks_are_set_aside_and_never_run(app, send, start_worker, client, tmp_path, notes, alpha, attack):
    target = tmp_path / "target"
    attack(client, target)
    send(alpha, write, file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes))
    assert not target.exists()
    assert len(quarantined(client)) == 1
    assert len(ledger_rows(app, "job_quarantined")) == 1
    assert client.llen(f"{QUEUE}:intermediate") == 0


def with_no_signature(envelope, other):
    return {**envelope, "mac": ""}


def with_the_signature_of_another_tenant(envelope, other):
    return {**envelope, "mac": other["mac"]}


def for_another_tenant(envelope, other):
    return {**envelope, "tenant": other["tenant"]}


def asking_for_another_function(envelope, other):
    return {**envelope, "job": "os.system"}


@pytest.mark.parametrize(
    "forge",
    [with_no_signature, with_the_signature_of_another_tenant, for_another_tenant, asking_for_another_function],
)
def test_a_forged_envelope_is_set_aside_by_the_worker(
    app, in_tenant, send, start_worker, client, notes, alpha, beta, forge
):
    envelopes = []
    for tenant in (alpha, beta):
        with app.app_context(), in_tenant(tenant):
            envelopes.append(jobs.seal(jobs.find(write), {"file": str(notes), "text": "forged"}))
    forged = forge(*envelopes)
    call = [queue._FUNCTION, None, [forged], {}]
    client.hset(f"rq:job:{forged['id']}", mapping=hash_of(json.dumps(call).encode()))
    client.rpush(QUEUE, forged["id"])
    send(alpha, write, file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes))
    assert read(notes) == ["alpha after"]
    assert [entry["name"] for entry in quarantined(client)] == [forged["id"]]
    assert len(ledger_rows(app, "job_quarantined")) == 1


@pytest.mark.parametrize("name", [b"not an id", b"\xff\xfe", b"", b"a" * 32, b"../../x"])
def test_a_name_that_is_no_job_neither_runs_nor_stops_the_worker(send, start_worker, client, notes, alpha, name):
    client.set(b"rq:job:" + name, "a string where a hash should be")
    client.rpush(QUEUE, name)
    send(alpha, write, file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes))
    assert len(quarantined(client)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"data": b"\x00\xff no json"},
        {"data": zlib.compress(b" " * (5 << 20))},
        {"data": zlib.compress(b"[" * 100_000)},
        {"data": b"[]", "created_at": "yesterday"},
        {"data": zlib.compress(json.dumps(["app.tenancy.jobs.perform", None, [{}], {}]).encode()), "status": "odd"},
        {"status": "queued"},
    ],
    ids=["no-json", "bomb", "deep", "no-date", "odd-status", "no-data"],
)
def test_an_entry_that_cannot_be_read_does_not_stop_the_worker(send, start_worker, client, notes, alpha, fields):
    name = uuid.uuid4().hex
    client.hset(f"rq:job:{name}", mapping=fields)
    client.rpush(QUEUE, name)
    send(alpha, write, file=str(notes), text="after")
    start_worker()
    until(lambda: read(notes))
    assert [entry["name"] for entry in quarantined(client)] == [name]


def test_an_entry_smuggled_in_as_an_abandoned_job_is_set_aside(send, start_worker, client, tmp_path, notes, alpha):
    target, name = tmp_path / "target", uuid.uuid4().hex
    call = json.dumps(["os.system", None, [f"touch {target}"], {}]).encode()
    fields = {**hash_of(call), "status": "started", "retries_left": "1", "failure_callback_name": "os.abort"}
    client.hset(f"rq:job:{name}", mapping=fields)
    client.zadd("rq:wip:jobs", {f"{name}:0": 1})
    worker = start_worker()
    until(lambda: quarantined(client) or client.zcard("rq:wip:jobs") == 0)
    send(alpha, write, file=str(notes), text="after")
    until(lambda: read(notes))
    assert worker.poll() is None
    assert not target.exists()


def test_jobs_of_a_suspended_tenant_wait_and_those_of_others_run(app, send, start_worker, client, notes, alpha, beta):
    send(alpha, write, file=str(notes), text="later")
    with app.app_context():
        tenancy.lifecycle.suspend("alpha", "unpaid")
    send(beta, write, file=str(notes), text="now")
    start_worker()
    until(lambda: client.hlen(queue.HELD))
    until(lambda: read(notes) == ["beta now"])
    with app.app_context():
        tenancy.lifecycle.resume("alpha")
    until(lambda: len(read(notes)) == 2, seconds=40)
    assert read(notes)[1] == "alpha later"
    assert client.hlen(queue.HELD) == 0


@pytest.mark.parametrize("text", ["no json", "[" * 100_000, "{}", '{"tenant": "x", "job": "os.system"}'])
def test_what_is_written_among_the_held_by_hand_is_set_aside(send, start_worker, client, notes, alpha, text):
    client.hset(queue.HELD, "by-hand", text)
    start_worker()
    until(lambda: quarantined(client) and not client.hlen(queue.HELD))
    assert client.hlen(queue.HELD) == 0
    send(alpha, write, file=str(notes), text="after")
    until(lambda: read(notes))


def test_jobs_of_a_closed_tenant_are_dropped_with_a_row(app, send, start_worker, client, notes, alpha):
    send(alpha, write, file=str(notes), text="never")
    with app.app_context():
        tenancy.lifecycle.archive("alpha")
    start_worker()
    until(lambda: ledger_rows(app, "job_dropped"))
    assert read(notes) == []
    assert quarantined(client) == []


def test_a_worker_told_to_stop_ends_soon_and_its_job_goes_back(send, start_worker, client, notes, alpha):
    name = send(alpha, "test.long", file=str(notes))
    worker = start_worker()
    until(lambda: read(notes))
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=10)
    assert time.monotonic() - began < 8
    assert client.lrange(QUEUE, 0, -1) == [name.encode()]
    assert client.hget(f"rq:job:{name}", "retries_left") == b"2"


def test_a_worker_holds_no_tenant_open_before_it_forks(send, start_worker, notes, alpha):
    send(alpha, write, file=str(notes), text="one")
    worker = start_worker()
    until(lambda: read(notes))
    time.sleep(0.3)
    held = [str(link.readlink()) for link in Path(f"/proc/{worker.pid}/fd").iterdir() if link.exists()]
    assert not [path for path in held if "tenants_data" in path]


def test_waiting_and_heartbeats_are_told(app, send, start_worker, client, notes, alpha):
    assert (queue.lag(client), queue.youngest_heartbeat(client)) == (0, None)
    send(alpha, write, file=str(notes), text="one")
    time.sleep(0.2)
    assert 0.1 < queue.lag(client) < 20
    start_worker()
    until(lambda: read(notes))
    assert queue.lag(client) == 0
    assert queue.youngest_heartbeat(client) < 20
