"""What the console reads of the tenants: lists from registry and ledger alone, so ten thousand cost no open file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from flask import current_app
from sqlalchemy import ColumnElement, Select, and_, case, func, not_, or_, select
from sqlalchemy.orm import selectinload

from app.accounts.models.support_visit import LINK_LIFETIME, SupportRule
from app.facilities import audit
from app.ops import meetings
from app.tenancy import ResolvedTenant, db, due, tenancy, tenant_context, utcnow
from app.tenancy.errors import FreeholdError
from app.tenancy.ledger import AuditRow, MigrationRun, TenantDue
from app.tenancy.registry import STATES, Domain, Leave, Tenant

T = TypeVar("T")

MOST_PROBLEMS = 25
LONGEST_VISIT = timedelta(hours=4)
SETTLING = timedelta(minutes=10)  # that a tenant may take to be made


@dataclass(frozen=True)
class Problem:
    """A tenant that needs a look: what is wrong and what to do."""

    tenant: Tenant
    what: str
    advice: str


def counts() -> dict[str, int]:
    """Return how many tenants there are in each state."""
    rows = db.session.execute(select(Tenant.state, func.count()).where(not_(Tenant.hidden)).group_by(Tenant.state))
    found = {row[0]: row[1] for row in rows}
    return {state: found.get(state, 0) for state in STATES}


def troubled() -> ColumnElement[bool]:
    """Return, as SQL, whether a tenant stands other than it should."""
    stuck = and_(Tenant.state == "provisioning", Tenant.created_at < utcnow() - SETTLING)
    return or_(Tenant.state == "suspended", stuck, Tenant.placement != "ready")


def listed(search: str, state: str) -> Select[tuple[Tenant]]:
    """Select the tenants that match, those in trouble first, then by name."""
    rows = select(Tenant).where(not_(Tenant.hidden)).options(selectinload(Tenant.domains), selectinload(Tenant.tier))
    if state in STATES:
        rows = rows.where(Tenant.state == state)
    if search:
        by_host = select(Domain.tenant_id).where(Domain.host.contains(search.lower(), autoescape=True))
        rows = rows.where(
            or_(
                Tenant.slug.contains(search.lower(), autoescape=True),
                Tenant.name.icontains(search, autoescape=True),
                Tenant.id.in_(by_host),
            )
        )
    return rows.order_by(case((troubled(), 0), else_=1), Tenant.slug)


def newest(number: int) -> Sequence[Tenant]:
    """Return the tenants made last."""
    rows = select(Tenant).where(not_(Tenant.hidden)).options(selectinload(Tenant.domains))
    return db.session.scalars(rows.order_by(Tenant.created_at.desc()).limit(number)).all()


def problems() -> list[Problem]:
    """Return what needs a look, at most 25, the gravest first."""
    parked = select(MigrationRun).where(MigrationRun.state == "parked").limit(MOST_PROBLEMS)
    errors = {run.tenant_id: run.error for run in db.session.scalars(parked)}
    audits = audit.broken()
    rows = (
        select(Tenant)
        .where(not_(Tenant.hidden), or_(troubled(), Tenant.id.in_({*errors, *audits})))
        .options(selectinload(Tenant.domains))
    )
    tenants = db.session.scalars(rows.order_by(Tenant.slug).limit(MOST_PROBLEMS)).all()
    return sorted(
        (explained(tenant, errors, audits) for tenant in tenants),
        key=lambda problem: problem.tenant.state == "suspended",
    )


def met() -> list[Problem]:
    """Return where what belongs to one tenant was tried at another, again and again."""
    counts = meetings.alarming()
    named = select(Tenant).where(not_(Tenant.hidden), Tenant.id.in_(counts)).options(selectinload(Tenant.domains))
    tenants = sorted(db.session.scalars(named), key=lambda tenant: -counts[tenant.id]) if counts else []
    return [Problem(tenant, meetings.told(counts[tenant.id]), meetings.ADVICE) for tenant in tenants]


def explained(tenant: Tenant, parked: dict[str, str], audits: dict[str, str]) -> Problem:
    """Say what is wrong with a tenant, and what to do about it."""
    if tenant.id in audits:
        return Problem(
            tenant,
            f"Its audit is not as it was written: {audits[tenant.id]}",
            f"Somebody had its file in hand. Run freehold audit verify {tenant.slug}, then bring back a moment from before.",
        )
    if tenant.id in parked:
        return Problem(
            tenant,
            f"Its data could not be brought up to date: {parked[tenant.id] or 'no reason was given'}",
            f"Mend the cause, then run freehold migrate --tenant {tenant.slug}.",
        )
    if tenant.placement != "ready":
        return Problem(
            tenant, "Sealed: its data is being moved or restored.", "If that lasts, see the log of the mover."
        )
    if tenant.state == "provisioning":
        return Problem(
            tenant,
            "Its creation was cut short.",
            "Create it again under the same short name; nothing doubles.",
        )
    return Problem(tenant, f"Suspended: {tenant.reason or 'no reason was given'}", "Resume it when the reason is gone.")


def by_slug(slug: str) -> Tenant | None:
    """Return one tenant with its domains and plan."""
    return db.session.scalar(
        select(Tenant).where(Tenant.slug == slug).options(selectinload(Tenant.domains), selectinload(Tenant.tier))
    )


def history(tenant: Tenant) -> Sequence[AuditRow]:
    """Return what happened to a tenant lately, newest first."""
    rows = select(AuditRow).where(AuditRow.tenant_id == tenant.id)
    return db.session.scalars(rows.order_by(AuditRow.at.desc()).limit(10)).all()


def visits(tenant: Tenant) -> list[tuple[Leave, bool]]:
    """Return the visits that may go on, newest first, each with whether its operator is there: what ended is none any more."""
    told: dict[str, set[str]] = {"support_visit_began": set(), "support_visit_ended": set()}
    rows = select(AuditRow.kind, AuditRow.detail["visit"].as_string()).where(AuditRow.tenant_id == tenant.id)
    for kind, mark in db.session.execute(rows.where(AuditRow.at > utcnow() - LONGEST_VISIT, AuditRow.kind.in_(told))):
        told[kind].add(mark)
    began, ended = told.values()
    unused_since = utcnow() - LINK_LIFETIME
    return [
        (leave, leave.id in began)
        for leave in tenancy.registry.leaves(tenant.id)
        if leave.id not in ended and (leave.id in began or leave.created_at > unused_since)
    ]


def visits_may_change(tenant: Tenant) -> bool | None:
    """Tell whether the owners let visits change things, None where that cannot be read now."""
    resolved = tenancy.registry.by_id(tenant.id)
    return inside(resolved, lambda: SupportRule.current().may_change) if resolved else None


def inside(tenant: ResolvedTenant, read: Callable[[], T]) -> T | None:
    """Return what `read` finds in a tenant's file, this one alone, in a context of its own; None where it cannot be read now."""
    is_readable = tenant.state in ("active", "suspended") and tenant.placement == "ready"
    if not is_readable or tenant.schema != tenancy.schema.head:
        return None
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def look() -> T:
        with app.app_context(), tenant_context(tenant, writes=False):
            return read()

    try:
        return Context().run(look)
    except FreeholdError:
        return None


def waits(tenant: Tenant) -> TenantDue | None:
    """Return what waited in a tenant's file when the archivist looked last."""
    return db.session.get(TenantDue, tenant.id)


def retry_set_aside(tenant: Tenant) -> int:
    """Let a tenant's work that was set aside try again; returns how many. It has a context of its own, as no scope holds two."""
    app, resolved = current_app._get_current_object(), tenancy.registry.by_id(tenant.id)  # type: ignore[attr-defined]
    assert resolved is not None

    def again() -> int:
        with app.app_context(), tenant_context(resolved):
            count = due.retry()
            db.session.commit()
            return count

    return Context().run(again)


def suggested_slug(name: str) -> str:
    """Return a short name made from an organisation's name, as near to it as plain letters allow."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:40].strip("-").lstrip("0123456789-")
