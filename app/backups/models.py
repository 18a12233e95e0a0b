"""What was proven, and what was asked for: rows of the ledger."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy import LedgerModel, Timestamp, utcnow

KINDS = ("preview", "replace", "discard", "drill", "tick")
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"


class Proof(LedgerModel):
    """One restore that was done to prove that it can be done. `error` is empty when all was there; sizes are bytes."""

    __tablename__ = "proof"
    __table_args__ = (Index("proof_tenant", "tenant_id", "proven_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    moment_at: Mapped[datetime] = mapped_column(Timestamp)
    proven_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    seconds: Mapped[float]
    bytes: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")


class Order(LedgerModel):
    """Something asked for on a page, carried out by the archivist; `done` and `total` are bytes of the present step."""

    __tablename__ = "backup_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    seq: Mapped[int | None]
    asked_by: Mapped[str]
    asked_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    state: Mapped[str] = mapped_column(default=WAITING, index=True)
    step: Mapped[str] = mapped_column(default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(default="")
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)

    @property
    def is_open(self) -> bool:
        """Whether it is still to be carried out, or being so."""
        return self.state in (WAITING, RUNNING)
