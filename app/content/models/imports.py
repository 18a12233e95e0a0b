"""Runs of bringing in another system's export."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy import TenantModel, Timestamp, utcnow


class Import(TenantModel):
    """One run of bringing in another system's export, with its progress and its report."""

    __tablename__ = "content_import"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # of the file
    stored_name: Mapped[str | None] = mapped_column(ForeignKey("stored_file.name"))
    state: Mapped[str] = mapped_column(default="waiting")  # waiting, running, done, failed
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    report: Mapped[str] = mapped_column(
        default="{}"
    )  # JSON: {"came": {kind: n}, "changed": [...], "left": [{what, title, why}]}
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)

    @property
    def findings(self) -> dict[str, Any]:
        """Return the report as it was written: what came, what was changed, what was left out and why."""
        found: dict[str, Any] = json.loads(self.report or "{}")
        return found

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed")
