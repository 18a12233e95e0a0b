"""Jobs on their way: tenants' signed envelopes in Valkey, run by RQ workers.

An envelope points at a row in its tenant's file, which is the truth: the queue may lose everything it holds, and the sweeper
brings it again. When Valkey is down nothing is brought, and a worker waits and goes on when it is back. RQ would import
and call whatever an entry names: here it only ever sees envelopes, and every other entry is moved to the list `quarantine`,
with a row in the ledger, and never run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import redis
import rq
import rq.job
import structlog
from flask import Flask, current_app
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry
from rq import worker_registration
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

from app.tenancy import jobs, tenancy
from app.tenancy.errors import TenantBusy, TenantGone, TenantSuspended

log = structlog.get_logger(__name__)

NAME = "jobs"
QUARANTINE = "quarantine"
KEPT_IN_QUARANTINE = 1000
LARGEST_ENTRY = 1 << 20  # bytes
REQUEST_TIMEOUT = 0.2  # seconds; a request never waits longer for one answer of Valkey
REST = 2.0  # seconds without a question of a request after a failure
FAILURES_KEPT = 3600  # seconds
LONGEST_SHUTDOWN = 5.0  # seconds that a job may still run when the worker is told to stop
LAST_WORDS = 1.0  # seconds in which a stopped job is put back
LONGEST_ABSENCE = 1.0  # seconds that a worker stays away from a Valkey that did not answer
HEARTBEAT = 20  # seconds of RQ's worker TTL: an idle worker looks up every 5 s

_ID = re.compile(rb"[0-9a-f]{32}")
_FUNCTION = "app.tenancy.jobs.perform"
_FIELDS = frozenset(
    (
        b"created_at data origin description status enqueued_at started_at ended_at last_heartbeat worker_name "
        b"number_of_retries retries_left retry_intervals timeout result_ttl failure_ttl"
    ).split()
)


class Entry(rq.job.Job):
    """What RQ keeps of one job. It imports nothing by name and has no callbacks, whatever is written in Valkey."""

    @classmethod
    def fetch(cls, id: str, connection: redis.Redis | None = None, serializer: Any = None) -> Entry:  # noqa: A002
        """Read an entry; one that cannot be read counts as gone."""
        try:
            return super().fetch(id, connection=connection, serializer=serializer)  # type: ignore[return-value]
        except (NoSuchJobError, redis.ConnectionError, redis.TimeoutError):
            raise
        except Exception as error:
            raise NoSuchJobError(f"The entry {id!r} cannot be read.") from error

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take over the fields that we write ourselves and no other."""
        super().restore({name: value for name, value in raw_data.items() if name in _FIELDS})
        self.result_ttl, self.failure_ttl, self.retry_intervals = 0, FAILURES_KEPT, None

    def _execute(self) -> None:
        """Run the envelope, in this fork. One we did not sign is quarantined; one of a paused tenant goes: its row waits."""
        signal.signal(signal.SIGUSR1, _stop)
        envelope, began = self.args[0], time.monotonic()
        try:
            has_run = jobs.perform(envelope)
        except jobs.EnvelopeRefused as refusal:
            set_aside(self.connection, self.id.encode(), str(refusal))
        except (TenantSuspended, TenantBusy, TenantGone) as refusal:
            log.info("job_waits", job=envelope["job"], tenant=envelope["tenant"], why=refusal.code)
        else:
            seconds = round(time.monotonic() - began, 3)
            if has_run:
                log.info("job_ran", job=envelope["job"], tenant=envelope["tenant"], id=self.id, seconds=seconds)


class Queue(rq.Queue):
    """RQ's queue, with a customs house at its exit."""

    job_class = Entry

    @classmethod
    def lmove(cls, connection: redis.Redis, queue_key: str, timeout: int | None) -> Any:
        """Take the next entry; those that cannot be ours are set aside before RQ reads them."""
        while (found := super().lmove(connection, queue_key, timeout)) is not None:
            flaw = find_flaw(connection, found[1])
            if flaw is None:
                break
            set_aside(connection, found[1], flaw)
        return found


class Worker(rq.Worker):
    """Runs each job in a fork. It opens no tenant itself; what it asks of registry and ledger is closed before a fork."""

    job_class = Entry
    queue_class = Queue
    max_connection_wait_time = LONGEST_ABSENCE

    @classmethod
    def at(cls, connection: redis.Redis) -> Worker:
        """Return a worker on our queue, as soon as Valkey answers."""
        while not _answers(connection):
            time.sleep(LONGEST_ABSENCE)
        return cls(
            [_queue(connection)],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=HEARTBEAT,
            maintenance_interval=10,
            job_monitoring_interval=5,
            log_job_description=False,
        )

    def work(self, burst: bool = False) -> bool:  # type: ignore[override]
        """Work until told to stop, or (`burst`) until the queue is empty; returns whether there was anything to do."""
        return super().work(burst=burst, logging_level="WARNING")

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Give a sign of life, and enter the list of workers again, which Valkey may have lost."""
        super().heartbeat(timeout, pipeline)
        worker_registration.register(self, pipeline)

    def maintain_heartbeats(self, *details: Any) -> None:
        """Give signs of life while a job runs, which goes on without Valkey too."""
        try:
            super().maintain_heartbeats(*details)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            log.warning("valkey_down", why=str(error))

    def handle_warm_shutdown_request(self) -> None:
        """Let the job in hand run on for a few seconds, then have it put back, then end it."""
        super().handle_warm_shutdown_request()
        if self.horse_pid:
            for seconds, number in (
                (LONGEST_SHUTDOWN - LAST_WORDS, signal.SIGUSR1),
                (LONGEST_SHUTDOWN, signal.SIGKILL),
            ):
                stopper = threading.Timer(seconds, self.kill_horse, (number,))
                stopper.daemon = True
                stopper.start()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End the job in hand; when there is none any more, RQ would end this worker's own group."""
        if self.horse_pid:
            super().kill_horse(sig)

    def handle_exception(self, job: rq.job.Job, *exc_info: Any) -> None:
        """Log the failure with the job's and the tenant's name."""
        envelope = job.args[0]
        log.error("job_failed", job=envelope["job"], tenant=envelope["tenant"], id=job.id, exc_info=exc_info)

    def handle_job_failure(self, job: rq.job.Job, queue: rq.Queue, *rest: Any, **details: Any) -> None:
        """Note the failure without its traceback, which may quote the tenant's data; that is in the log."""
        super().handle_job_failure(job, queue, *rest, **{**details, "exc_string": "See the log of the worker."})


def init_app(app: Flask) -> None:
    """Give `app` its connection to the queue; nothing is connected yet."""
    app.extensions["freehold.queue"] = redis.Redis.from_url(
        app.config["FREEHOLD"].valkey_url,
        socket_timeout=REQUEST_TIMEOUT,
        socket_connect_timeout=REQUEST_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )
    app.extensions["freehold.queue_rest"] = {"until": 0.0}
    jobs.sends_with(send)


def connection() -> redis.Redis:
    """Return the connection of the request path: it waits 200 ms at most and never tries twice."""
    client: redis.Redis = current_app.extensions["freehold.queue"]
    return client


def patient_connection() -> redis.Redis:
    """Return a connection for a process that may wait: it tries for a second, not for the half minute of redis-py."""
    return redis.Redis.from_url(current_app.config["FREEHOLD"].valkey_url, retry=Retry(ConstantBackoff(0.25), 4))


def ask(question: Callable[[redis.Redis], object]) -> bool:
    """Ask Valkey something that may be left out; returns whether it answered. After a failure it is not asked for 2 s."""
    resting: dict[str, float] = current_app.extensions["freehold.queue_rest"]
    if time.monotonic() < resting["until"]:
        return False
    try:
        question(connection())
    except redis.RedisError as error:
        resting["until"] = time.monotonic() + REST
        log.warning("valkey_down", why=str(error))
        return False
    return True


def send(envelopes: list[jobs.Envelope]) -> None:
    """Bring envelopes to the queue, each under a name that one attempt always has; what does not arrive the sweeper brings."""
    ask(lambda client: _send(client, envelopes))


def missing(client: redis.Redis, envelopes: list[jobs.Envelope]) -> list[jobs.Envelope]:
    """Return those of `envelopes` that are not in the queue, or there in name only; raises `redis.RedisError`.

    A worker may have one of them in hand.
    """
    with client.pipeline(transaction=False) as pipe:
        for envelope in envelopes:
            pipe.lpos(_queue(client).key, _name(envelope))
            pipe.exists(_key(_name(envelope).encode()))
        found = pipe.execute()
    whole = zip(envelopes, found[::2], found[1::2], strict=True)
    return [envelope for envelope, place, entry in whole if place is None or not entry]


def length(client: redis.Redis) -> int:
    """Return how many entries are in the queue; raises `redis.RedisError`."""
    found: Any = client.llen(_queue(client).key)
    return int(found)


def lag(client: redis.Redis) -> float:
    """Return how many seconds the oldest waiting job has waited, 0 when none waits; raises `redis.RedisError`."""
    waiting: Any = client.lindex(_queue(client).key, 0)
    since: Any = (
        client.hget(f"rq:job:{waiting.decode()}", "enqueued_at") if waiting and _ID.fullmatch(waiting) else None
    )
    return _age(since) if since else 0.0


def youngest_heartbeat(client: redis.Redis) -> float | None:
    """Return the seconds since a worker last gave a sign of life, None without any; raises `redis.RedisError`."""
    signs: list[Any] = [client.hget(key, "last_heartbeat") for key in client.smembers("rq:workers")]
    return min((_age(sign) for sign in signs if sign), default=None)


def find_flaw(client: redis.Redis, name: bytes) -> str | None:
    """Return why the entry `name` cannot be ours, None when it looks like ours; its signature is checked in the fork."""
    if not _ID.fullmatch(name):
        return "Its name is not one that we give."
    try:
        fields: Any = client.hgetall(_key(name))
        if not fields:
            return None  # gone meanwhile, which RQ passes over
        strange = sorted(field.decode("ascii", "replace") for field in fields if fields[field] and field not in _FIELDS)
        if strange:
            return f"It has fields that we never write: {', '.join(strange)}."
        function, instance, positional, named = json.loads(_unpacked(fields[b"data"]))
        if (function, instance, named) != (_FUNCTION, None, {}) or len(positional) != 1:
            return "It does not carry an envelope."
        Entry(name.decode(), connection=client, serializer=JSONSerializer).restore(fields)
    except redis.ResponseError:
        return "It is not a job."
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        AssertionError,
        NoSuchJobError,
        zlib.error,
    ):
        return "It cannot be read."
    return None


def set_aside(client: redis.Redis, name: bytes, reason: str) -> None:
    """Move the entry `name` into quarantine, for an operator to look at, and write a row in the ledger."""
    kept = {
        "name": name.decode("ascii", "backslashreplace"),
        "reason": reason,
        "at": int(time.time()),
        "dump": base64.b64encode((client.dump(_key(name)) or b"")[:LARGEST_ENTRY]).decode(),
    }
    with client.pipeline() as pipe:
        pipe.lpush(QUARANTINE, json.dumps(kept))
        pipe.ltrim(QUARANTINE, 0, KEPT_IN_QUARANTINE - 1)
        pipe.lrem(_queue(client).intermediate_queue_key, 0, name)  # type: ignore[arg-type]
        pipe.delete(_key(name))
        pipe.execute()
    tenancy.ledger.record("job_quarantined", entry=kept["name"], reason=reason)


def _send(client: redis.Redis, envelopes: list[jobs.Envelope]) -> None:
    for envelope in envelopes:
        _queue(client).enqueue_call(
            _FUNCTION,
            args=(envelope,),
            job_id=_name(envelope),
            description=envelope["job"],
            timeout=jobs.timeout_of(envelope["job"]),
            result_ttl=0,
            failure_ttl=FAILURES_KEPT,
        )


def _name(envelope: jobs.Envelope) -> str:
    """Return the entry's name: who sends the same attempt again changes the same entry."""
    facts = f"{envelope['tenant']}:{envelope['due']}:{envelope['attempt']}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def _stop(number: int, frame: FrameType | None) -> None:
    raise jobs.Stopped


def _queue(client: redis.Redis) -> Queue:
    return Queue(NAME, connection=client, serializer=JSONSerializer)


def _key(name: bytes) -> bytes:
    return b"rq:job:" + name


def _unpacked(data: bytes) -> bytes:
    opener = zlib.decompressobj()
    plain = opener.decompress(data, LARGEST_ENTRY)
    if opener.unconsumed_tail:
        raise ValueError("larger than any envelope")
    return plain


def _age(sign: bytes) -> float:
    moment = datetime.fromisoformat(sign.decode())
    return (datetime.now(UTC) - moment).total_seconds()
