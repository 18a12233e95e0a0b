"""Work for later, for one tenant: registered functions, the rows that ask for them, and the signed envelopes that point there.

`later` writes a row into the tenant's file in the transaction that wants the work; its commit seals an envelope and gives
it to the queue. The envelope carries a MAC under the tenant's own key, so that whoever can write to the queue can neither
make a job, nor change one, nor send one to another tenant; what is to be done, the row alone says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from flask import Flask, current_app
from sqlalchemy import event

from app.tenancy import current_tenant, due, tenancy, tenant_context
from app.tenancy.binding import BoundSession, db
from app.tenancy.context import ResolvedTenant, current_scope
from app.tenancy.errors import DatabaseUnreadable, FreeholdError, TenantBusy, TenantGone, TenantSuspended

log = structlog.get_logger(__name__)

Envelope = dict[str, Any]
FIELDS = {"tenant": str, "due": int, "attempt": int, "job": str, "mac": str}
HELD_STATES = {"suspended": TenantSuspended, "provisioning": TenantBusy}
GONE_STATES = ("archived", "deleted")
MOST_TRIES = 8
_WORK = "due-"  # and the number of the row: what a log line of a job is known by


class EnvelopeRefused(FreeholdError):
    """An entry of the queue is not an envelope that we signed; the message says what is wrong with it."""

    code = "envelope_refused"


class UnknownJob(FreeholdError):
    """No function is registered under this name."""

    code = "unknown_job"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no job {name!r}. Mark the function with @job({name!r}) in a module that create_app imports."
        )


class Stopped(BaseException):
    """The worker is told to stop: the job in hand is put back with none of its tries used up."""


@dataclass(frozen=True)
class Job:
    """A function registered as a tenant's job. `timeout` is in seconds, `tries` how often it is begun at most.

    `cron` is when it comes by itself (UTC), None for one that is asked for.
    """

    name: str
    function: Callable[..., None]
    timeout: int
    tries: int
    cron: str | None = None


_jobs: dict[str, Job] = {}
_send: list[Callable[[list[Envelope]], None]] = []


def job(
    name: str, *, timeout: int = 60, tries: int = MOST_TRIES, cron: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the function below as a tenant's job under `name`, such as "content.import".

    It runs in its tenant's context and may be run twice, so it must be safe to. What it has not committed itself is
    committed with the end of its row, so that what it does in the tenant's file happens exactly once.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        known = _jobs.get(name)
        if known is not None and _origin(known.function) != _origin(function):
            raise ValueError(f"Two functions are registered as the job {name!r}; give one of them another name.")
        _jobs[name] = Job(name, function, timeout, tries, cron)
        return function

    return register


def every(
    cron: str, *, name: str, timeout: int = 60, tries: int = MOST_TRIES
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the function below as a job that comes to every tenant by itself; turns that were missed come once.

    `cron` is minute, hour, day, month, weekday in UTC; "H" stands for a number of the tenant's own, such as "H 4 * * *".
    """
    return job(name, timeout=timeout, tries=tries, cron=cron)


def _origin(function: Callable[..., None]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def jobs() -> tuple[Job, ...]:
    """Return every registered job, by name."""
    return tuple(_jobs[name] for name in sorted(_jobs))


def schedules() -> dict[str, str]:
    """Return the cron expressions of the jobs that come by themselves, by name."""
    return {known.name: known.cron for known in jobs() if known.cron}


def find(name: str) -> Job:
    """Return the job of that name; raises `UnknownJob`."""
    try:
        return _jobs[name]
    except KeyError:
        raise UnknownJob(name) from None


def timeout_of(name: str) -> int:
    """Return how long the job of that name may run, in seconds; one that no code knows any more fails at once."""
    return _jobs[name].timeout if name in _jobs else 60


def tries() -> dict[str, int]:
    """Return how often each job is begun at most, by name."""
    return {known.name: known.tries for known in jobs()}


def later(name: str, *, run_at: datetime | None = None, **arguments: Any) -> due.Due:
    """Have the job of that name run after the commit of this transaction, or not before `run_at`; raises `UnknownJob`.

    It costs one row, which is returned; nothing is lost when Valkey, or this process, ends before the worker hears of it.
    """
    return due.add(find(name).name, arguments, run_at=run_at)


def in_hand() -> int | None:
    """Return the number of the row whose work this is, None outside of one."""
    scope = current_scope()
    number = scope.request_id.partition(_WORK)[2] if scope else ""
    return int(number) if number else None


def sends_with(send: Callable[[list[Envelope]], None]) -> None:
    """Have `send` bring envelopes to the queue; it must not raise, since what it does not bring is found again."""
    _send[:] = [send]


def seal(row: due.Reserved) -> Envelope:
    """Return the signed envelope that points at a row of the current tenant."""
    tenant = current_tenant().id
    envelope = {"tenant": tenant, "due": row.id, "attempt": row.attempts, "job": row.job}
    return {**envelope, "mac": _mac(tenant, envelope)}


def refuse_foreign(envelope: object) -> Envelope:
    """Return `envelope` when we signed it for the tenant it names; raises `EnvelopeRefused` otherwise.

    One that we signed before the tenant got a new key raises `TenantBusy`: its row waits, and is brought again.
    """
    if not isinstance(envelope, dict) or set(envelope) != set(FIELDS):
        raise EnvelopeRefused("This is not an envelope of ours.")
    if any(type(envelope[name]) is not kind for name, kind in FIELDS.items()):
        raise EnvelopeRefused("The envelope's fields are not of the right kinds.")
    unsigned = {name: value for name, value in envelope.items() if name != "mac"}
    try:
        expected = _mac(envelope["tenant"], unsigned)
    except (DatabaseUnreadable, ValueError):
        raise EnvelopeRefused("The envelope names a tenant that has no key, or a number that is none.") from None
    mac = envelope["mac"].encode(errors="replace")
    if not hmac.compare_digest(expected.encode(), mac):
        if _is_outdated(envelope["tenant"], unsigned, mac):
            raise TenantBusy(f"Tenant {envelope['tenant']} has a new key; what the old one signed is brought again.")
        raise EnvelopeRefused("The envelope's signature is not that of the tenant it names.")
    return envelope


def perform(envelope: object) -> bool:
    """Run what a signed envelope points at, in its tenant's context, entered from an empty one.

    Returns False when it is done or in hand already. A failure is noted in the row and logged, not raised. Raises
    `EnvelopeRefused`, `TenantSuspended` or `TenantBusy` (the row waits), `TenantGone`.
    """
    sound = refuse_foreign(envelope)
    tenant = open_tenant(sound["tenant"])
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    return Context().run(_perform, app, tenant, sound["due"])


def open_tenant(tenant_id: str) -> ResolvedTenant:
    """Return the tenant when its jobs may run now; raises `TenantSuspended`, `TenantBusy` or `TenantGone`."""
    tenant = tenancy.registry.by_id(tenant_id)
    if tenant is None or tenant.state in GONE_STATES or tenant.preview_of:
        raise TenantGone(f"Tenant {tenant_id} is closed; its jobs are not run.")
    if tenant.state in HELD_STATES:
        raise HELD_STATES[tenant.state](f"Tenant {tenant.slug} is {tenant.state}; its jobs wait.")
    if tenant.placement != "ready":
        raise TenantBusy(f"Tenant {tenant.slug} is being looked after; its jobs wait.")
    tenancy.schema.require_current(tenant)
    return tenant


def _perform(app: Flask, tenant: ResolvedTenant, due_id: int) -> bool:
    with app.app_context(), tenant_context(tenant, origin="job", writes=True, request_id=f"{_WORK}{due_id}"):
        name = _name_of(due_id)
        if name is None:
            return False
        known = _jobs.get(name)
        row = due.claim(due_id, timeout_of(name))
        arguments = row.arguments if row else {}
        db.session.commit()
        if row is None:
            return False
        try:
            if known is None:
                raise UnknownJob(name)
            known.function(**arguments)
            due.finish(due_id, known.cron)
            db.session.commit()
        except Stopped:
            db.session.rollback()
            due.give_back(due_id)
            db.session.commit()
        except Exception as error:
            db.session.rollback()
            is_last = due.fail(due_id, f"{type(error).__name__}: {error}", known.tries if known else 1)
            db.session.commit()
            log.exception("job_set_aside" if is_last else "job_failed", job=name, id=due_id)
        return True


def _name_of(due_id: int) -> str | None:
    row = db.session.get(due.Due, due_id)
    name = row.job if row else None
    db.session.rollback()
    return name


def _mac(tenant_id: str, unsigned: Envelope, version: int | None = None) -> str:
    """Return HMAC-SHA256 over the canonical JSON of `unsigned`, under the tenant's key for jobs, in hex."""
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(tenancy.keys.tenant_subkey(tenant_id, "jobs", version), text.encode(), hashlib.sha256).hexdigest()


def _is_outdated(tenant_id: str, unsigned: Envelope, mac: bytes) -> bool:
    older = (_mac(tenant_id, unsigned, version) for version in tenancy.keys.versions(tenant_id))
    return any(hmac.compare_digest(expected.encode(), mac) for expected in older)


# A commit that touched due rows reserves those whose turn it is, in the same transaction, and then brings them to the queue.


def _reserve(session: BoundSession) -> None:
    if session.info.get("due") and not session.in_nested_transaction():
        del session.info["due"]
        session.info["reserved"] = due.reserve()


def _bring(session: BoundSession) -> None:
    rows = () if session.in_nested_transaction() else session.info.pop("reserved", ())
    if rows and _send:
        _send[0]([seal(row) for row in rows])


def _forget(session: BoundSession) -> None:
    if session.in_nested_transaction():
        return
    session.info.pop("due", None)
    session.info.pop("reserved", None)


event.listen(BoundSession, "before_commit", _reserve)
event.listen(BoundSession, "after_commit", _bring)
event.listen(BoundSession, "after_rollback", _forget)
