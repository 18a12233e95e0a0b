"""The span in which one tenant is current.

`tenant_context` is the only way in. A context asserts that none is current when it begins, refuses a second one inside
itself, and restores on exit whatever happened, its session closed and its connections back in the pool.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from app.tenancy.errors import AlreadyBound, NoTenant, OpenLease


class Grant(NamedTuple):
    """An exception to a tenant's plan: what it may have of a meter, None for any amount, `until` a moment or for good."""

    meter: str
    cap: int | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class ResolvedTenant:
    """What the registry knows of a tenant, as of one look. Sizes are bytes; a cap of None is no limit."""

    id: str
    slug: str
    name: str
    state: str
    reason: str
    tier: str
    max_jobs: int
    placement: str
    generation: int
    schema: str
    primary_host: str
    hosts: tuple[str, ...]
    preview_of: str | None = None  # the id of the living tenant that this shows as it was at `preview_at`
    preview_at: datetime | None = None
    second_factor: str = ""  # of whom the plan asks one: "" for nobody, owners, managers, everybody
    caps: dict[str, int] = field(default_factory=dict, hash=False)  # of the plan, by meter
    grants: tuple[Grant, ...] = ()

    def cap(self, meter: str) -> int | None:
        """Return how much of a meter this tenant may have now; None is no limit."""
        for grant in self.grants:
            if grant.meter == meter and (grant.until is None or datetime.now(UTC) < grant.until):
                return grant.cap
        return self.caps.get(meter)

    @property
    def max_users(self) -> int | None:
        """How many people may sign in."""
        return self.cap("users")

    @property
    def max_bytes(self) -> int | None:
        """How much its files and its database may take on the disk."""
        return self.cap("storage")


@dataclass(slots=True, eq=False)
class Scope:
    """One unit of work: a request, a job or a command, for one tenant or (tenant None) for the platform."""

    tenant: ResolvedTenant | None
    origin: str  # request, job, command
    writes: bool
    request_id: str
    leases: int = field(default=0)


_scope: ContextVar[Scope | None] = ContextVar("freehold_scope", default=None)
_at_exit: list[Callable[[], None]] = []


def current_scope() -> Scope | None:
    """Return the scope of the work at hand, None outside of any."""
    return _scope.get()


def current_tenant() -> ResolvedTenant:
    """Return the current tenant; raises `NoTenant` when there is none."""
    return require_scope("Asking for the current tenant").tenant  # type: ignore[return-value]


def require_scope(what: str) -> Scope:
    """Return the scope of a tenant; raises `NoTenant`, naming `what` needed it."""
    scope = _scope.get()
    if scope is None or scope.tenant is None:
        raise NoTenant(what)
    return scope


def before_exit(release: Callable[[], None]) -> None:
    """Have `release` called at the end of every scope, while it is still current."""
    _at_exit.append(release)


@contextmanager
def tenant_context(
    tenant: ResolvedTenant, *, origin: str = "command", writes: bool = True, request_id: str = ""
) -> Iterator[Scope]:
    """Make `tenant` current for the block; raises `AlreadyBound` inside another scope.

    `writes=False` opens the tenant's file for reading alone, as GET and HEAD requests do.
    """
    with _entered(Scope(tenant, origin, writes, request_id or secrets.token_hex(8))) as scope:
        yield scope


@contextmanager
def platform_context(*, origin: str = "command", writes: bool = True, request_id: str = "") -> Iterator[Scope]:
    """Work on the registry and the ledger with no tenant current; tenant tables raise `NoTenant` inside."""
    with _entered(Scope(None, origin, writes, request_id or secrets.token_hex(8))) as scope:
        yield scope


@contextmanager
def _entered(scope: Scope) -> Iterator[Scope]:
    current = _scope.get()
    if current is not None:
        raise AlreadyBound(_name(current), _name(scope))
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        try:
            for release in _at_exit:
                release()
        finally:
            _scope.reset(token)
    if scope.leases:
        raise OpenLease(
            f"The context of {_name(scope)} ended with {scope.leases} connection(s) still in use. Close what was opened by "
            "hand, or use db.session, which the context closes by itself."
        )


def _name(scope: Scope) -> str:
    return scope.tenant.slug if scope.tenant else "the platform"
