"""The central file of tenants, domains, tiers, operators and settings. It changes seldom and is asked on every request.

Look-ups go over one autocommit connection per process, one indexed query each, and are kept until `PRAGMA data_version`
says that another connection has committed: a suspension acts on the next request of every process, Valkey or not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.tenancy.binding import RegistryModel
from app.tenancy.context import Grant, ResolvedTenant
from app.tenancy.database import EPOCH, Connection, Timestamp, utcnow

STATES = ("provisioning", "active", "suspended", "archived", "deleted")
KNOWN_AT_MOST = 20_000


class Tier(RegistryModel):
    """A plan. What it allows is in its caps; a meter without one has no limit."""

    __tablename__ = "tier"

    name: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str]
    max_jobs: Mapped[int] = mapped_column(default=2)  # that may be on their way or running at once: the tenant's share
    backup_days: Mapped[int] = mapped_column(default=92)  # that a moment is kept at most
    backup_share: Mapped[int] = mapped_column(default=3)  # times its own size that a tenant's shelf may take
    second_factor: Mapped[str] = mapped_column(default="")  # of whom one is asked: "", owners, managers, everybody
    position: Mapped[int] = mapped_column(default=0)

    caps: Mapped[list[TierCap]] = relationship(cascade="all, delete-orphan")


class TierCap(RegistryModel):
    """How much of one meter a plan allows."""

    __tablename__ = "tier_cap"

    tier: Mapped[str] = mapped_column(ForeignKey("tier.name", ondelete="CASCADE"), primary_key=True)
    meter: Mapped[str] = mapped_column(primary_key=True)
    cap: Mapped[int]


class TenantCap(RegistryModel):
    """An exception for one tenant: a cap of its own, None for no limit, `until` a moment or for good."""

    __tablename__ = "tenant_cap"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    meter: Mapped[str] = mapped_column(primary_key=True)
    cap: Mapped[int | None]
    reason: Mapped[str]
    until: Mapped[datetime | None] = mapped_column(Timestamp)


class Tenant(RegistryModel):
    """One organisation: its state, its plan, and where its data lies."""

    __tablename__ = "tenant"

    id: Mapped[str] = mapped_column(primary_key=True)  # 32 hex digits, random, never user text: it names the folder
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="provisioning", index=True)
    reason: Mapped[str] = mapped_column(default="")  # of the suspension, shown to the owner
    tier_name: Mapped[str] = mapped_column(ForeignKey("tier.name"))
    placement: Mapped[str] = mapped_column(default="ready")  # ready, sealed
    generation: Mapped[int] = mapped_column(default=1)
    schema: Mapped[str] = mapped_column(default="", index=True)
    hidden: Mapped[bool] = mapped_column(default=False)
    preview_of: Mapped[str | None]  # the id of the living tenant that this shows a past moment of
    preview_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    tier: Mapped[Tier] = relationship()
    domains: Mapped[list[Domain]] = relationship(back_populates="tenant", order_by="Domain.created_at")


class Domain(RegistryModel):
    """A host name that a tenant answers to."""

    __tablename__ = "domain"

    host: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"), index=True)
    is_primary: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    tenant: Mapped[Tenant] = relationship(back_populates="domains")


class Setting(RegistryModel):
    """A setting of the whole platform, changed by operators on the console."""

    __tablename__ = "setting"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Operator(RegistryModel):
    """Somebody who runs the platform."""

    __tablename__ = "operator"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # case-folded
    name: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(default="all")  # what they may do on the console, which says what there is
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class OperatorSession(RegistryModel):
    """A browser in which an operator is signed in."""

    __tablename__ = "operator_session"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    operator_id: Mapped[int] = mapped_column(ForeignKey("operator.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    proved_at: Mapped[datetime | None] = mapped_column(Timestamp, default=utcnow)  # when all factors were given last
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    user_agent: Mapped[str] = mapped_column(default="")

    operator: Mapped[Operator] = relationship()


class VisitLeave(RegistryModel):
    """An operator's leave to be inside one tenant. It is gone with the session of the console that asked for it."""

    __tablename__ = "operator_visit"

    id: Mapped[str] = mapped_column(primary_key=True)
    session_hash: Mapped[str] = mapped_column(
        ForeignKey("operator_session.token_hash", ondelete="CASCADE", onupdate="CASCADE"), index=True
    )
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), index=True)
    link_hash: Mapped[str] = mapped_column(unique=True)  # of the one-time link by which they come in
    reason: Mapped[str]
    wants_change: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class Identity(RegistryModel):
    """A person, known here by a keyed hash of their address alone, and one tenant that they may sign in at."""

    __tablename__ = "identity"

    mark: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True, index=True)


class Leave(NamedTuple):
    """What the registry knows of a visit that may go on now."""

    id: str
    email: str
    name: str
    reason: str
    wants_change: bool
    created_at: datetime
    expires_at: datetime


_LEAVES = """
SELECT visit.id, operator.email, operator.name, visit.reason, visit.wants_change, visit.created_at, visit.expires_at
FROM operator_visit AS visit
JOIN operator_session AS session ON session.token_hash = visit.session_hash
JOIN operator ON operator.id = session.operator_id
WHERE visit.tenant_id = ? AND min(visit.expires_at, session.expires_at) > ?
"""

_TENANT = """
SELECT tenant.id, tenant.slug, tenant.name, tenant.state, tenant.reason, tenant.tier_name, tier.max_jobs,
       tenant.placement, tenant.generation, tenant.schema, tenant.preview_of, tenant.preview_at,
       (SELECT json_group_object(meter, cap) FROM tier_cap WHERE tier_cap.tier = tenant.tier_name),
       (SELECT json_group_array(json_array(meter, cap, until)) FROM tenant_cap
        WHERE tenant_id = coalesce(tenant.preview_of, tenant.id)),
       tier.second_factor
FROM tenant JOIN tier ON tier.name = tenant.tier_name
"""


class Registry:
    """Look-ups of the request path. Changes go through the ORM, and every process sees them at its next look."""

    def __init__(self, open_file: Callable[[], Connection]) -> None:
        self._open_file = open_file
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._seen = -1
        self._by_host: dict[str, ResolvedTenant | None] = {}
        self._settings: dict[str, str] | None = None
        self._serving: frozenset[str] | None = None
        self._keeping: dict[str, tuple[int, int]] | None = None
        self._sealed: frozenset[str] | None = None

    def resolve(self, host: str) -> ResolvedTenant | None:
        """Return the tenant that answers at exactly `host`, None for an unknown one."""
        with self._lock:
            connection = self._current()
            try:
                return self._by_host[host]
            except KeyError:
                pass
            row = connection.execute(
                f"{_TENANT} JOIN domain ON domain.tenant_id = tenant.id WHERE domain.host = ?",
                (host,),
            ).fetchone()
            # Unknown names are not kept: anybody can invent them.
            if row is None:
                return None
            if len(self._by_host) >= KNOWN_AT_MOST:
                self._by_host.clear()
            tenant = self._by_host[host] = self._resolved(connection, row)
            return tenant

    def by_slug(self, slug: str) -> ResolvedTenant | None:
        """Return the tenant with this slug, None for an unknown one."""
        return self._one("tenant.slug = ?", slug)

    def by_id(self, tenant_id: str) -> ResolvedTenant | None:
        """Return the tenant with this id, None for an unknown one."""
        return self._one("tenant.id = ?", tenant_id)

    def preview_of(self, tenant_id: str) -> ResolvedTenant | None:
        """Return the preview of a tenant, None when there is none that can be looked at."""
        return self._one("tenant.state = 'active' AND tenant.preview_of = ?", tenant_id)

    def serving(self) -> frozenset[str]:
        """Return the ids of the living tenants that are active and not sealed; the same set while the registry stands still."""
        with self._lock:
            connection = self._current()
            if self._serving is None:
                rows = connection.execute(
                    "SELECT id FROM tenant WHERE state = 'active' AND placement = 'ready' AND preview_of IS NULL"
                )
                self._serving = frozenset(row[0] for row in rows)
            return self._serving

    def keeping(self) -> dict[str, tuple[int, int]]:
        """Return for each tenant whose data is kept (days, share): for how long, and in how many times its own size.

        Previews are not among them. The same dictionary is returned while the registry stands still.
        """
        with self._lock:
            connection = self._current()
            if self._keeping is None:
                rows = connection.execute(
                    "SELECT id, backup_days, backup_share FROM tenant JOIN tier ON tier.name = tier_name "
                    "WHERE state IN ('active', 'suspended', 'archived') AND preview_of IS NULL"
                )
                self._keeping = {tenant_id: (days, share) for tenant_id, days, share in rows}
            return self._keeping

    def sealed(self) -> frozenset[str]:
        """Return the ids of the tenants whose file is being moved, or was when the mover ended.

        The same set is returned while the registry stands still.
        """
        with self._lock:
            connection = self._current()
            if self._sealed is None:
                rows = connection.execute("SELECT id FROM tenant WHERE placement = 'sealed'")
                self._sealed = frozenset(row[0] for row in rows)
            return self._sealed

    def leave(self, tenant_id: str, known_by: str) -> Leave | None:
        """Return an operator's leave to be in a tenant, by its id or its link's hash; None when it has ended."""
        return next(iter(self._leaves("AND ? IN (visit.id, visit.link_hash)", tenant_id, known_by)), None)

    def leaves(self, tenant_id: str) -> list[Leave]:
        """Return the leaves that hold at a tenant, the newest first."""
        return self._leaves("ORDER BY visit.created_at DESC", tenant_id)

    def hosts(self) -> list[str]:
        """Return every host that a serving tenant answers to, and so may have a certificate, sorted."""
        with self._lock:
            rows = self._current().execute(
                "SELECT host FROM domain JOIN tenant ON tenant.id = domain.tenant_id WHERE tenant.state = 'active' ORDER BY host"
            )
            return [row[0] for row in rows]

    def placement(self, tenant_id: str) -> tuple[str, int] | None:
        """Return where a tenant stands, (placement, generation): one cheap look, for those who ask often."""
        with self._lock:
            connection = self._connection or self._current()
            found = connection.execute("SELECT placement, generation FROM tenant WHERE id = ?", (tenant_id,))
            return found.fetchone()

    def tenants(self, *states: str) -> Iterator[ResolvedTenant]:
        """Yield all tenants, or those in one of `states`, by slug, a thousand at a time."""
        chosen = states or STATES
        marks = ", ".join("?" * len(chosen))
        last = ""
        while True:
            with self._lock:
                connection = self._current()
                rows = connection.execute(
                    f"{_TENANT} WHERE tenant.state IN ({marks}) AND tenant.slug > ? ORDER BY tenant.slug LIMIT 1000",
                    (*chosen, last),
                ).fetchall()
                batch = [self._resolved(connection, row) for row in rows]
            yield from batch
            if len(batch) < 1000:
                return
            last = batch[-1].slug

    def settings(self) -> dict[str, str]:
        """Return the platform's settings that have been set, by name."""
        with self._lock:
            connection = self._current()
            if self._settings is None:
                self._settings = dict(connection.execute("SELECT name, value FROM setting").fetchall())
            return self._settings

    def close(self) -> None:
        """Close the connection, as before a fork; the next look opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _leaves(self, rest: str, tenant_id: str, *values: str) -> list[Leave]:
        now = (utcnow() - EPOCH) // timedelta(microseconds=1)
        with self._lock:
            rows = self._current().execute(f"{_LEAVES} {rest}", (tenant_id, now, *values)).fetchall()
        return [
            Leave(number, email, name, reason, bool(wants_change), _instant(began), _instant(until))
            for number, email, name, reason, wants_change, began, until in rows
        ]

    def _one(self, condition: str, value: str) -> ResolvedTenant | None:
        with self._lock:
            connection = self._current()
            row = connection.execute(f"{_TENANT} WHERE {condition}", (value,)).fetchone()
            return None if row is None else self._resolved(connection, row)

    def _current(self) -> Connection:
        if self._connection is None:
            self._connection = self._open_file()
            self._seen = -1
        seen = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if seen != self._seen:
            self._by_host.clear()
            self._settings = None
            self._serving = None
            self._keeping = None
            self._sealed = None
            self._seen = seen
        return self._connection

    def _resolved(self, connection: Connection, row: tuple[Any, ...]) -> ResolvedTenant:
        hosts = connection.execute(
            "SELECT host, is_primary FROM domain WHERE tenant_id = ? ORDER BY is_primary DESC, created_at",
            (row[0],),
        ).fetchall()
        tenant_id, slug, name, state, reason, tier, max_jobs, placement, generation, schema = row[:10]
        preview_of, preview_at, caps, grants, second_factor = row[10:]
        return ResolvedTenant(
            id=tenant_id,
            slug=slug,
            name=name,
            state=state,
            reason=reason,
            tier=tier,
            max_jobs=0 if preview_of else max_jobs,  # nothing that a preview shows may happen again
            placement=placement,
            generation=generation,
            schema=schema,
            primary_host=hosts[0][0] if hosts else "",
            hosts=tuple(host for host, _ in hosts),
            preview_of=preview_of,
            preview_at=_moment(preview_at),
            second_factor=second_factor,
            caps=json.loads(caps),
            grants=tuple(Grant(meter, cap, _moment(until)) for meter, cap, until in json.loads(grants)),
        )


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _instant(microseconds)


def _instant(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
