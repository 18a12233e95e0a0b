"""What one organisation may have of each meter, what it uses, and exceptions to its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import delete, select

from app.console.tenants import inside
from app.facilities import limits
from app.facilities.limits import Meter, Use
from app.tenancy import db, tenancy, utcnow
from app.tenancy.registry import Tenant, TenantCap, Tier, TierCap


@dataclass(frozen=True)
class Line:
    """One meter of one organisation: what it may have, what it uses (None where that cannot be read), and an exception."""

    meter: Meter
    cap: int | None
    use: Use | None
    exception: TenantCap | None

    @property
    def is_over(self) -> bool:
        """Whether the exception has run out, so that the plan holds again."""
        until = self.exception.until if self.exception else None
        return until is not None and until <= utcnow()


def lines(row: Tenant) -> list[Line]:
    """Return every meter of an organisation. Its file is opened for it, this one alone."""
    tenant = tenancy.registry.by_id(row.id)
    assert tenant is not None
    found = {use.name: use for use in inside(tenant, limits.uses) or ()}
    exceptions = {each.meter: each for each in _exceptions(row)}
    return [Line(each, cap, found.get(each.name), exceptions.get(each.name)) for each, cap in limits.caps_of(tenant)]


def set_for_plan(tier: Tier, meter: str, cap: int | None) -> None:
    """Let a plan allow so much of a meter, None for any amount; the caller commits."""
    tier.caps = [each for each in tier.caps if each.meter != meter or cap is not None]
    known = next((each for each in tier.caps if each.meter == meter), None)
    if known is not None and cap is not None:
        known.cap = cap
    elif cap is not None:
        tier.caps.append(TierCap(meter=meter, cap=cap))


def of_plan(tier: Tier, meter: str) -> int | None:
    """Return how much of a meter a plan allows, None for any amount."""
    return next((each.cap for each in tier.caps if each.meter == meter), None)


def grant(row: Tenant, meter: str, cap: int | None, reason: str, until: datetime | None, actor: str) -> None:
    """Let an organisation have another amount than its plan allows, and note who said so and why."""
    db.session.merge(TenantCap(tenant_id=row.id, meter=meter, cap=cap, reason=reason, until=until))
    tenant_id, day = row.id, until.isoformat() if until else None
    before = amount_of(row, meter)
    db.session.commit()
    tenancy.ledger.record(
        "cap_set", tenant_id, actor=actor, meter=meter, cap=cap, before=before, reason=reason, until=day
    )


def amount_of(row: Tenant, meter: str) -> int | None:
    """Return how much of a meter an organisation may have, None for any amount."""
    tenant = tenancy.registry.by_id(row.id)
    return tenant.cap(meter) if tenant else None


def end(row: Tenant, meter: str, actor: str) -> bool:
    """Let the plan hold again; returns whether there was an exception."""
    tenant_id = row.id
    gone = db.session.execute(delete(TenantCap).where(TenantCap.tenant_id == tenant_id, TenantCap.meter == meter))
    db.session.commit()
    if gone.rowcount:  # type: ignore[attr-defined]
        tenancy.ledger.record("cap_ended", tenant_id, actor=actor, meter=meter)
    return bool(gone.rowcount)  # type: ignore[attr-defined]


def end_of(day: date) -> datetime:
    """Return the moment at which `day` is over, in UTC."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def _exceptions(row: Tenant) -> Sequence[TenantCap]:
    return db.session.scalars(select(TenantCap).where(TenantCap.tenant_id == row.id)).all()
