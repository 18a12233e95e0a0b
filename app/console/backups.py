"""What the console reads of backups: ledger, registry and the names at the target, so ten thousand tenants cost no open file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import func, not_, select
from werkzeug.exceptions import NotFound

from app import backups
from app.backups.models import Proof
from app.backups.standing import last_return, standing
from app.backups.target import Folder, TargetDown
from app.console.tenants import MOST_PROBLEMS, SETTLING, Problem
from app.facilities.pagination import Pagination
from app.tenancy import db, utcnow
from app.tenancy.ledger import AuditRow, TenantBackup
from app.tenancy.registry import Tenant

CENTRAL = ("registry", "ledger", "keyring")
KEPT_STATES = ("active", "suspended", "archived")
DAMAGE_TOLD_FOR = timedelta(days=1)
LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True)
class Line:
    """One organisation in the table of backups: what is kept of it and what was proven. Sizes are bytes."""

    id: str
    slug: str
    name: str
    copied_at: datetime | None
    late_since: datetime | None
    why_late: str
    moments: int
    kept_bytes: int
    proven_at: datetime | None
    failed_at: datetime | None
    failure: str

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Where it stands in the table: late ones first, then failed proofs, then the oldest proof."""
        rank = 0 if self.late_since else 1 if self.failure else 2
        return rank, self.proven_at or LONG_AGO, self.slug


@dataclass(frozen=True)
class Numbers:
    """All organisations in a few numbers."""

    tenants: int
    proven: int
    late: int
    failed: int
    oldest: Line | None  # of those that were proven


@dataclass(frozen=True)
class Central:
    """One of the central files, and when it was copied last."""

    name: str
    copied_at: datetime | None


@dataclass(frozen=True)
class Damage:
    """A tenant's file could not be read: when that was met last, and why."""

    at: datetime
    why: str


def lines() -> list[Line]:
    """Return every organisation that is kept, those that need a look first."""
    copies, clean, newest, settled = _copies(), _clean_proofs(), _newest_proofs(), utcnow() - SETTLING
    wanted = select(Tenant.id, Tenant.slug, Tenant.name, Tenant.created_at)
    rows = db.session.execute(wanted.where(not_(Tenant.hidden), Tenant.state.in_(KEPT_STATES)))
    found = []
    for number, slug, name, created_at in rows:
        at, late_since, error, moments, kept = copies.get(number, (None, None, "", 0, 0))
        if at is None and created_at < settled:
            late_since = created_at
        failed_at, failure = newest.get(number, (None, ""))
        proof = clean.get(number)
        found.append(Line(number, slug, name, at, late_since, error, moments, kept, proof, failed_at, failure))
    return sorted(found, key=lambda line: line.order)


def page_of(found: Sequence[Line], number: int, size: int) -> Pagination:
    """Return page `number` (from 1) of the table; raises `NotFound` for one that is not there."""
    pages = max(1, -(-len(found) // size))
    if not 1 <= number <= pages:
        raise NotFound
    return Pagination(found[(number - 1) * size : number * size], number, pages, len(found))


def numbers(found: Sequence[Line]) -> Numbers:
    """Return how many are proven, late and failed."""
    proven = [line for line in found if line.proven_at]
    return Numbers(
        tenants=len(found),
        proven=len(proven),
        late=sum(1 for line in found if line.late_since),
        failed=sum(1 for line in found if line.failure),
        oldest=min(proven, key=lambda line: line.proven_at or LONG_AGO, default=None),
    )


def problems() -> list[Problem]:
    """Return the late copies and failed proofs, at most 25, for the list of what needs a look."""
    worst = [line for line in lines() if line.late_since or line.failure][:MOST_PROBLEMS]
    named = select(Tenant).where(Tenant.id.in_([line.id for line in worst]))
    tenants = {tenant.id: tenant for tenant in db.session.scalars(named)} if worst else {}
    return [_explained(line, tenants[line.id]) for line in worst]


def central() -> list[Central]:
    """Return the central files with their last copies; a target that cannot be reached has none to show."""
    return [Central(name, _newest_copy(name)) for name in CENTRAL]


def room() -> tuple[int, int] | None:
    """Return how many bytes are free where the copies lie, and how many there are; None when that place is gone."""
    try:
        return Folder(current_app.config["FREEHOLD"].backups).room()
    except (TargetDown, FileNotFoundError):
        return None


def recovery_kit() -> datetime | None:
    """Return when a kit was made that opens the keyring of today, None when there is none."""
    newest = func.max(AuditRow.at)
    made = db.session.scalar(select(newest).where(AuditRow.kind == "recovery_kit_made"))
    changed = db.session.scalar(select(newest).where(AuditRow.kind == "master_key_rotated"))
    return made if made and (changed is None or changed < made) else None


def panel(tenant: Tenant) -> dict[str, Any]:
    """Return what a tenant's page says about its backups."""
    latest = backups.latest_order(tenant.id)
    return {
        "standing": standing(tenant.id),
        "damage": damage(tenant),
        "going_on": latest if latest and latest.is_open else None,
        "preview_tenant": backups.preview_of(tenant.id),
        "kept": kept(tenant),
    }


def kept(tenant: Tenant) -> tuple[int, int] | None:
    """Return how many moments of a tenant are kept, and in how many bytes; None when their place cannot be reached."""
    try:
        moments = backups.shelf_of(tenant.id).moments()
    except TargetDown:
        return None
    return len(moments), sum(moment.bytes for moment in moments)


def damage(tenant: Tenant) -> Damage | None:
    """Return what was met in a tenant's file within a day and has not been put right by going back since."""
    met = (
        select(AuditRow)
        .where(AuditRow.tenant_id == tenant.id, AuditRow.kind == "database_unreadable")
        .where(AuditRow.at > utcnow() - DAMAGE_TOLD_FOR)
    )
    row = db.session.scalar(met.order_by(AuditRow.at.desc()).limit(1))
    if row is None:
        return None
    back = last_return(tenant.id, DAMAGE_TOLD_FOR)
    return None if back and back.since > row.at else Damage(row.at, row.detail.get("why", ""))


def _copies() -> dict[str, tuple[datetime, datetime | None, str, int, int]]:
    columns = (
        TenantBackup.at,
        TenantBackup.late_since,
        TenantBackup.error,
        TenantBackup.moments,
        TenantBackup.kept_bytes,
    )
    rows = db.session.execute(select(TenantBackup.tenant_id, *columns))
    return {number: tuple(facts) for number, *facts in rows}


def _clean_proofs() -> dict[str, datetime]:
    newest = select(Proof.tenant_id, func.max(Proof.proven_at)).where(Proof.error == "").group_by(Proof.tenant_id)
    return dict(db.session.execute(newest).tuples().all())


def _newest_proofs() -> dict[str, tuple[datetime, str]]:
    """Return when and why the newest try of each tenant failed, of those where it did."""
    # SQLite gives the other columns of the row that has the maximum (https://sqlite.org/lang_select.html#bareagg).
    newest = select(Proof.tenant_id, func.max(Proof.proven_at), Proof.error).group_by(Proof.tenant_id)
    return {number: (at, error) for number, at, error in db.session.execute(newest) if error}


def _newest_copy(owner: str) -> datetime | None:
    try:
        return next((moment.at for moment in backups.shelf_of(owner).moments()), None)
    except TargetDown:
        return None


def _explained(line: Line, tenant: Tenant) -> Problem:
    if line.late_since and line.copied_at is None:
        return Problem(tenant, "There is no copy of it yet.", "See whether the archivist runs, on the page Activity.")
    if line.late_since:
        why = line.why_late or "The archivist has not come to it."
        return Problem(tenant, f"Its copies are late: {why}", "See the page Backups: room, and where the copies lie.")
    return Problem(
        tenant,
        f"A restore to prove its backup failed: {line.failure}",
        "Look at its page and use “Prove now”; older moments may still be whole.",
    )
