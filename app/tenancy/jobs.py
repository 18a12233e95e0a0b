"""Work for later, for one tenant: a registered function, and a signed envelope that names tenant, job and arguments.

The envelope is JSON and carries a MAC under the tenant's own key, so that whoever can write to the queue can neither make
a job, nor change one, nor send one to another tenant. A job may be run twice, so each must be safe to run twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app

from app.tenancy import current_tenant, tenancy, tenant_context, utcnow
from app.tenancy.context import ResolvedTenant
from app.tenancy.errors import DatabaseUnreadable, FreeholdError, TenantBusy, TenantGone, TenantSuspended

Envelope = dict[str, Any]
FIELDS = {"tenant", "job", "arguments", "id", "made_at", "mac"}
HELD_STATES = {"suspended": TenantSuspended, "provisioning": TenantBusy}
GONE_STATES = ("archived", "deleted")


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


@dataclass(frozen=True)
class Job:
    """A function registered as a tenant's job; `timeout` is in seconds, `tries` how often it is run until it succeeds."""

    name: str
    function: Callable[..., None]
    timeout: int
    tries: int


_jobs: dict[str, Job] = {}


def job(name: str, *, timeout: int = 600, tries: int = 3) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the function below as a tenant's job under `name`, such as "content.import"."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        known = _jobs.get(name)
        if known is not None and known.function.__qualname__ != function.__qualname__:
            raise ValueError(f"Two functions are registered as the job {name!r}; give one of them another name.")
        _jobs[name] = Job(name, function, timeout, tries)
        return function

    return register


def jobs() -> tuple[Job, ...]:
    """Return every registered job, by name."""
    return tuple(_jobs[name] for name in sorted(_jobs))


def find(job: str | Callable[..., None]) -> Job:
    """Return the job of that name or function; raises `UnknownJob`."""
    for known in _jobs.values():
        if job in (known.name, known.function):
            return known
    raise UnknownJob(job if isinstance(job, str) else job.__qualname__)


def seal(job: Job, arguments: dict[str, Any]) -> Envelope:
    """Return the signed envelope of a job for the current tenant; raises `TypeError` for arguments that JSON cannot say."""
    tenant = current_tenant()
    envelope = {
        "tenant": tenant.id,
        "job": job.name,
        "arguments": arguments,
        "id": secrets.token_hex(16),
        "made_at": int(utcnow().timestamp()),
    }
    return {**envelope, "mac": _mac(tenant.id, envelope)}


def refuse_foreign(envelope: object) -> Envelope:
    """Return `envelope` when we signed it for the tenant it names; raises `EnvelopeRefused` otherwise."""
    if not isinstance(envelope, dict) or set(envelope) != FIELDS:
        raise EnvelopeRefused("This is not an envelope of ours.")
    if not isinstance(envelope["arguments"], dict) or not all(
        isinstance(envelope[name], str) for name in ("tenant", "job", "id", "mac")
    ):
        raise EnvelopeRefused("The envelope's fields are not of the right kinds.")
    unsigned = {name: value for name, value in envelope.items() if name != "mac"}
    try:
        expected = _mac(envelope["tenant"], unsigned)
    except (DatabaseUnreadable, ValueError):
        raise EnvelopeRefused("The envelope names a tenant that has no key, or a number that is none.") from None
    if not hmac.compare_digest(expected.encode(), envelope["mac"].encode()):
        raise EnvelopeRefused("The envelope's signature is not that of the tenant it names.")
    if envelope["job"] not in _jobs:
        raise EnvelopeRefused(f"The envelope asks for {envelope['job']!r}, which is no job.")
    return envelope


def perform(envelope: object) -> None:
    """Run the job of a signed envelope in its tenant's context, entered from an empty one.

    The job commits by itself. Raises `EnvelopeRefused`, `TenantSuspended` or `TenantBusy` (keep it for later), `TenantGone`.
    """
    sound = refuse_foreign(envelope)
    tenant = open_tenant(sound["tenant"])
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    Context().run(_perform, app, tenant, _jobs[sound["job"]], sound["arguments"], sound["id"])


def open_tenant(tenant_id: str) -> ResolvedTenant:
    """Return the tenant when its jobs may run now; raises `TenantSuspended`, `TenantBusy` or `TenantGone`."""
    tenant = tenancy.registry.by_id(tenant_id)
    if tenant is None or tenant.state in GONE_STATES:
        raise TenantGone(f"Tenant {tenant_id} is closed; its jobs are not run.")
    if tenant.state in HELD_STATES:
        raise HELD_STATES[tenant.state](f"Tenant {tenant.slug} is {tenant.state}; its jobs wait.")
    if tenant.placement != "ready":
        raise TenantBusy(f"Tenant {tenant.slug} is being looked after; its jobs wait.")
    tenancy.schema.require_current(tenant)
    return tenant


def _perform(app: Flask, tenant: ResolvedTenant, job: Job, arguments: dict[str, Any], request_id: str) -> None:
    with app.app_context(), tenant_context(tenant, origin="job", writes=True, request_id=request_id):
        job.function(**arguments)


def _mac(tenant_id: str, unsigned: Envelope) -> str:
    """Return HMAC-SHA256 over the canonical JSON of `unsigned`, under the tenant's key for jobs, in hex."""
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(tenancy.keys.tenant_subkey(tenant_id, "jobs"), text.encode(), hashlib.sha256).hexdigest()
