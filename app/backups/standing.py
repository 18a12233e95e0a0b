"""How safe the data of one organisation is, as its owners and the operator are told. Read from the ledger alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import current_app
from sqlalchemy import select

from app import backups
from app.backups.models import Proof
from app.tenancy import db, utcnow
from app.tenancy.ledger import AuditRow, TenantBackup

LONGEST_SILENCE = 60.0  # seconds without a sign of life of whoever makes the copies
SOON = 20.0  # seconds; a file that is copied within them counts as copied at once
TOLD_FOR = timedelta(days=7)  # that owners are told their organisation was brought back


@dataclass(frozen=True)
class Standing:
    """The newest copy, the last restore that proved clean, the one that failed since, and when copying fell silent.

    None where there is none.
    """

    copy: TenantBackup | None
    proof: Proof | None
    failed: Proof | None
    silent_since: datetime | None

    @property
    def took(self) -> str:
        """How long the last clean restore took, in words."""
        return in_words(self.proof.seconds) if self.proof else ""

    @property
    def rhythm(self) -> str:
        """How long what is written may stay without a copy, in words."""
        interval = self.copy.interval if self.copy else 0.0
        return "within seconds" if interval <= SOON else f"within {in_words(interval)}"

    @property
    def is_slow(self) -> bool:
        """Whether the file is so large that it is copied less often than every few seconds."""
        return self.copy is not None and self.copy.interval > SOON


@dataclass(frozen=True)
class Return:
    """An organisation was brought back: to what time, when, and at which moment its state before that is kept, if it is."""

    at: datetime
    since: datetime
    before: datetime | None


def standing(tenant_id: str) -> Standing:
    """Return how safe the data of a tenant is."""
    newest = db.session.scalar(
        select(Proof).where(Proof.tenant_id == tenant_id).order_by(Proof.proven_at.desc(), Proof.id.desc()).limit(1)
    )
    failed = newest if newest and newest.error else None
    return Standing(backups.state(tenant_id), backups.last_proof(tenant_id), failed, silent_since())


def silent_since() -> datetime | None:
    """Return since when nobody makes copies, None while somebody does, and before anybody ever did."""
    try:
        beat = (current_app.config["FREEHOLD"].run / "copies.beat").stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(beat, UTC) if time.time() - beat > LONGEST_SILENCE else None


def last_return(tenant_id: str, within: timedelta = TOLD_FOR) -> Return | None:
    """Return what was last put in the place of a tenant's living state, None when nothing was `within` that time."""
    done = select(AuditRow).where(AuditRow.tenant_id == tenant_id, AuditRow.kind == "tenant_brought_back")
    row = db.session.scalar(done.where(AuditRow.at > utcnow() - within).order_by(AuditRow.at.desc()).limit(1))
    if row is None:
        return None
    return _return(row)


def returns_of(tenant_id: str) -> list[Return]:
    """Return every time that something was put in the place of a tenant's living state, newest first."""
    rows = db.session.scalars(
        select(AuditRow)
        .where(AuditRow.tenant_id == tenant_id, AuditRow.kind == "tenant_brought_back")
        .order_by(AuditRow.at.desc())
    )
    return [_return(row) for row in rows]


def in_words(seconds: float) -> str:
    """Return a span of time as people say it, such as "0.8 s", "40 seconds" or "3 minutes"."""
    if seconds < 0.1:
        return "less than 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 86400:.0f} days"


def _return(row: AuditRow) -> Return:
    before = row.detail.get("before")
    return Return(
        datetime.fromisoformat(row.detail["moment"]), row.at, datetime.fromisoformat(before) if before else None
    )
