"""The ledger: the central append-only file of what happened on the platform. It changes often, so it is not the registry."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Engine, Index, insert
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy.binding import LedgerModel
from app.tenancy.context import current_scope
from app.tenancy.database import Timestamp, utcnow

MEETING_SECONDS = 60
MEETINGS_KNOWN = 1024


class AuditRow(LedgerModel):
    """One fact of the platform's life. Where two tenants met, `other_tenant_id` is the one that was asked for."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_tenant_at", "tenant_id", "at"), Index("audit_kind_at", "kind", "at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    tenant_id: Mapped[str]  # "" for the platform itself
    other_tenant_id: Mapped[str | None]
    kind: Mapped[str]
    actor: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class MigrationRun(LedgerModel):
    """The last attempt to bring one tenant's file to the code's schema."""

    __tablename__ = "migration_run"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str]
    state: Mapped[str]  # done, parked
    attempts: Mapped[int] = mapped_column(default=1)
    error: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class TenantDue(LedgerModel):
    """What waited in one tenant's file when it was looked at last, and when it wants to be looked at again."""

    __tablename__ = "tenant_due"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    next_at: Mapped[datetime | None] = mapped_column(Timestamp)
    waiting: Mapped[int] = mapped_column(default=0)
    oldest_at: Mapped[datetime | None] = mapped_column(Timestamp)
    set_aside: Mapped[int] = mapped_column(default=0)
    schedules: Mapped[str] = mapped_column(default="")  # a mark of the schedules that were planted
    seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class Ledger:
    """Writes facts at once, each in a transaction of its own, whatever the caller's transaction does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._met: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def record_meeting(self, kind: str, tenant_id: str, other: str, **detail: Any) -> None:
        """Append a row that names two tenants, at most one a minute for the same two in each process.

        Whoever brings the wrong cookie or header brings it with every request, and must not fill the disk with that.
        """
        meeting, now = (kind, tenant_id, other), time.monotonic()
        with self._guard:
            if now - self._met.get(meeting, -MEETING_SECONDS) < MEETING_SECONDS:
                return
            self._met[meeting] = now
            self._met.move_to_end(meeting)
            while len(self._met) > MEETINGS_KNOWN:
                self._met.popitem(last=False)
        self.record(kind, tenant_id, other=other, **detail)

    def record(
        self, kind: str, tenant_id: str = "", *, other: str | None = None, actor: str = "", **detail: Any
    ) -> None:
        """Append one row; `tenant_id` is the tenant it happened in, `other` the one it reached for."""
        scope = current_scope()
        if scope is not None:
            detail.setdefault("request_id", scope.request_id)
        with self._engine.begin() as connection:
            connection.execute(
                insert(AuditRow).values(
                    at=utcnow(),
                    tenant_id=tenant_id,
                    other_tenant_id=other,
                    kind=kind,
                    actor=actor,
                    detail=detail,
                )
            )
