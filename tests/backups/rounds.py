"""An archivist that takes seconds for what takes minutes, and what it has made of it."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from app import Freehold
from app.backups import archivist as module
from app.backups.archivist import Archivist
from app.tenancy import ResolvedTenant, db
from app.tenancy.ledger import TenantBackup

QUICK = {
    "LOOK": 0.0, "INTERVAL": 0.0, "LATE": 0.3, "REST": 0.05, "LONGEST_REST": 0.2, "AGAIN": 0.01,
    "THIN_EVERY": 0.0, "THIN_QUIET": 3600.0, "LEAST_ROOM": 1,
}  # fmt: skip


def quick(monkeypatch: pytest.MonkeyPatch, **others: float) -> None:
    """Let the archivist take seconds for what takes minutes."""
    for name, value in {**QUICK, **others}.items():
        monkeypatch.setattr(module, name, value)


def settled(archivist: Archivist) -> None:
    """Go round until nothing more is copied."""
    quiet, until = 0, time.monotonic() + 30
    while quiet < 3:
        assert time.monotonic() < until, "it copies for ever"
        quiet = 0 if look_and_round(archivist) else quiet + 1


def look_and_round(archivist: Archivist) -> int:
    archivist._look_at = 0.0
    module.LOOK = 5.0
    return archivist.round()


def seqs(archivist: Archivist, owner: str) -> list[int]:
    return [moment.seq for moment in archivist.keeper.shelf(owner).moments()]


def row(app: Freehold, tenant: ResolvedTenant) -> TenantBackup | None:
    with app.app_context():
        return db.session.scalar(select(TenantBackup).where(TenantBackup.tenant_id == tenant.id))
