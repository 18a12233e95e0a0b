"""The ledger: the central append-only file of what happened on the platform. It changes often, so it is not the registry."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Engine, Index, insert
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy.binding import LedgerModel
from app.tenancy.context import current_scope
from app.tenancy.database import EPOCH, Connection, Timestamp, utcnow

MEETING_SECONDS = 60
MEETINGS_KNOWN = 1024
SELDOM_AT_MOST = 20  # rows a minute of a kind that strangers can bring about


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


class TenantBackup(LedgerModel):
    """What is kept of one owner: a tenant's id, "registry", "ledger" or "keyring". Sizes are bytes.

    `epoch` and `event_id` say how far its newest copy goes: a file that ends before is not served.
    """

    __tablename__ = "tenant_backup"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int]  # of the newest moment
    at: Mapped[datetime] = mapped_column(Timestamp)
    epoch: Mapped[int] = mapped_column(default=0)
    event_id: Mapped[int] = mapped_column(default=0)
    size: Mapped[int] = mapped_column(default=0)  # of the live file
    kept_bytes: Mapped[int] = mapped_column(default=0)
    moments: Mapped[int] = mapped_column(default=0)
    interval: Mapped[float] = mapped_column(default=0.0)  # seconds between two copies at present
    late_since: Mapped[datetime | None] = mapped_column(Timestamp)
    error: Mapped[str] = mapped_column(default="")  # why it is late
    signature: Mapped[str] = mapped_column(default="")  # of the live file when it was copied


class Ledger:
    """Writes facts at once, each in a transaction of its own, whatever the caller's transaction does."""

    def __init__(self, engine: Engine, open_file: Callable[[], Connection]) -> None:
        self._engine = engine
        self._open_file = open_file
        self._connection: Connection | None = None
        self._guard = threading.Lock()
        self._met: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def archived_up_to(self, tenant_id: str) -> tuple[int, int] | None:
        """Return how far the newest copy of a tenant's file goes, (epoch, event id); None when there is none."""
        return self.look("SELECT epoch, event_id FROM tenant_backup WHERE tenant_id = ? AND seq > 0", tenant_id)

    def look(self, question: str, *values: Any) -> Any:
        """Return the first row of an answer, None for none, whoever holds the ledger for writing, as a session may.

        Asked at every opening of a file, so over a connection of its own, in autocommit: a few microseconds.
        """
        with self._guard:
            if self._connection is None:
                self._connection = self._open_file()
            return self._connection.execute(question, values).fetchone()

    def close(self) -> None:
        """Close that connection, as before a fork; the next question opens it again."""
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def record_meeting(self, kind: str, tenant_id: str, other: str, **detail: Any) -> bool:
        """Append a row that names two tenants, at most one a minute for the same two in each process; returns whether.

        Whoever brings the wrong cookie or header brings it with every request, and must not fill the disk with that.
        """
        meeting, now = (kind, tenant_id, other), time.monotonic()
        with self._guard:
            if now - self._met.get(meeting, -MEETING_SECONDS) < MEETING_SECONDS:
                return False
            self._met[meeting] = now
            self._met.move_to_end(meeting)
            while len(self._met) > MEETINGS_KNOWN:
                self._met.popitem(last=False)
        self.record(kind, tenant_id, other=other, **detail)
        return True

    def record_seldom(self, kind: str, mark: str, **facts: Any) -> bool:
        """Append a row of what strangers bring about: once a minute for a `mark`, twenty times in all; returns whether."""
        since = (utcnow() - timedelta(seconds=MEETING_SECONDS) - EPOCH) // timedelta(microseconds=1)
        alike = "count(*) FILTER (WHERE json_extract(detail, '$.mark') = ?)"
        known = self.look(f"SELECT count(*), {alike} FROM audit WHERE kind = ? AND at > ?", mark, kind, since)  # noqa: S608
        if known[0] >= SELDOM_AT_MOST or known[1]:
            return False
        self.record(kind, mark=mark, **facts)
        return True

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
