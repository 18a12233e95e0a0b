"""What others put into the queue: set aside, and never run."""

import json
import pickle
import subprocess
import sys
import uuid
import zlib

import pytest

from tests.facilities.queued import QUEUE, bring, hash_of, quarantined, read
from tests.running import until

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
