"""Jobs on their way: tenants' signed envelopes in Valkey, run by RQ workers.

When Valkey is down, `enqueue` raises `QueueDown` within half a second, with nothing enqueued; a worker waits and goes on when
it is back. RQ would import and call whatever an entry names: here it only ever sees envelopes, and every other entry is
moved to the list `quarantine`, with a row in the ledger, and never run.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
import rq
import rq.job
import structlog
from flask import Flask, current_app
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

from app.tenancy import jobs, tenancy
from app.tenancy.errors import FreeholdError, TenantBusy, TenantGone, TenantSuspended

log = structlog.get_logger(__name__)

NAME = "jobs"
QUARANTINE = "quarantine"
HELD = "held"
KEPT_IN_QUARANTINE = 1000
LARGEST_ENTRY = 1 << 20  # bytes
REQUEST_TIMEOUT = 0.2  # seconds; a request never waits longer for one answer of Valkey
FAILURES_KEPT = 7 * 86400  # seconds
LONGEST_SHUTDOWN = 5.0  # seconds that a job may still run when the worker is told to stop
HEARTBEAT = 20  # seconds of RQ's worker TTL: an idle worker looks up every 5 s

_ID = re.compile(rb"[0-9a-f]{32}")
_FUNCTION = "app.tenancy.jobs.perform"
_FIELDS = frozenset(
    (
        b"created_at data origin description status enqueued_at started_at ended_at last_heartbeat worker_name "
        b"number_of_retries retries_left retry_intervals timeout result_ttl failure_ttl"
    ).split()
)


class QueueDown(FreeholdError):
    """Valkey does not answer, so nothing was enqueued."""

    code = "queue_down"
    status = 503
    title = "This cannot be started right now"
    advice = "Nothing was lost. Please try again in a minute."
    retry_after = 60


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
        """Run the envelope. One we did not sign is quarantined, one of a paused tenant kept for later."""
        envelope, began = self.args[0], time.monotonic()
        try:
            jobs.perform(envelope)
            seconds = round(time.monotonic() - began, 3)
            log.info("job_done", job=envelope["job"], tenant=envelope["tenant"], id=self.id, seconds=seconds)
        except jobs.EnvelopeRefused as refusal:
            set_aside(self.connection, self.id.encode(), str(refusal))
        except (TenantSuspended, TenantBusy):
            hold(self.connection, envelope)
        except TenantGone as gone:
            tenancy.ledger.record("job_dropped", envelope["tenant"], job=envelope["job"], reason=str(gone))


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

    @classmethod
    def at(cls, connection: redis.Redis) -> Worker:
        """Return a worker on our queue."""
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

    def run_maintenance_tasks(self) -> None:
        """Look for abandoned jobs, and for held ones whose tenant is back."""
        super().run_maintenance_tasks()
        if self.connection.exists(HELD):
            release(self.connection)

    def handle_warm_shutdown_request(self) -> None:
        """Let the job in hand run on for a few seconds, then end it; it goes back to the queue."""
        super().handle_warm_shutdown_request()
        if self.horse_pid:
            stopper = threading.Timer(LONGEST_SHUTDOWN, self.kill_horse)
            stopper.daemon = True
            stopper.start()

    def handle_work_horse_killed(self, job: rq.job.Job, *details: Any) -> None:
        """Keep an ended job's tries: that we stop is not its failure."""
        super().handle_work_horse_killed(job, *details)
        if self._stop_requested:
            job.retries_left = (job.retries_left or 0) + 1

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


def connection() -> redis.Redis:
    """Return the connection of the request path: it waits 200 ms at most and never tries twice."""
    client: redis.Redis = current_app.extensions["freehold.queue"]
    return client


def patient_connection() -> redis.Redis:
    """Return a connection for a worker, which may wait."""
    return redis.Redis.from_url(current_app.config["FREEHOLD"].valkey_url)


def enqueue(job: str | Callable[..., None], **arguments: Any) -> str:
    """Enqueue a job of the current tenant, by function or name, and return its id (32 hex digits).

    Call it after the commit: a worker may start at once. Raises `QueueDown`, `jobs.UnknownJob`, `NoTenant`.
    """
    known = jobs.find(job)
    envelope = jobs.seal(known, arguments)
    try:
        _send(connection(), envelope)
    except redis.RedisError as error:
        raise QueueDown(
            f"Valkey does not answer: {error}. Start it with `freehold serve` or `freehold run valkey`."
        ) from error
    return str(envelope["id"])


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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, NoSuchJobError, zlib.error):
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


def hold(client: redis.Redis, envelope: jobs.Envelope) -> None:
    """Keep the envelope until its tenant is back."""
    client.hset(HELD, envelope["id"], json.dumps(envelope))


def release(client: redis.Redis) -> None:
    """Enqueue the held envelopes whose tenant is back; forget those whose tenant is gone, set aside those not ours."""
    held: Any = client.hgetall(HELD)
    for name, text in held.items():
        try:
            envelope = jobs.refuse_foreign(json.loads(text))
            jobs.open_tenant(envelope["tenant"])
            _send(client, envelope)
        except (TenantSuspended, TenantBusy):
            continue
        except (jobs.EnvelopeRefused, ValueError, RecursionError) as refusal:
            set_aside(client, name, f"It was among the held: {refusal}")
        except TenantGone as gone:
            tenancy.ledger.record("job_dropped", envelope["tenant"], job=envelope["job"], reason=str(gone))
        client.hdel(HELD, name)


def _send(client: redis.Redis, envelope: jobs.Envelope) -> None:
    known = jobs.find(envelope["job"])
    _queue(client).enqueue_call(
        _FUNCTION,
        args=(envelope,),
        job_id=envelope["id"],
        description=known.name,
        timeout=known.timeout,
        retry=rq.Retry(max=known.tries - 1) if known.tries > 1 else None,
        result_ttl=0,
        failure_ttl=FAILURES_KEPT,
    )


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
