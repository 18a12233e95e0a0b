"""Any tenant back at any moment, proven: copies, restores, previews, drills."""

from __future__ import annotations

from flask import Flask
from sqlalchemy import select

from app.backups import desk, previews
from app.backups.keeper import Keeper
from app.backups.keeper import shelf_of as _shelf_of
from app.backups.models import Order, Proof
from app.backups.orders import ask, latest
from app.backups.shelf import Moment, Shelf
from app.tenancy import ResolvedTenant, Tenancy, db, tenancy
from app.tenancy.ledger import TenantBackup

__all__ = [
    "Moment",
    "Order",
    "Proof",
    "Shelf",
    "ask",
    "init_app",
    "last_drill",
    "last_proof",
    "latest_order",
    "preview_of",
    "shelf_of",
    "state",
]

latest_order = latest


def init_app(app: Flask) -> None:
    """Make the folder of the copies on the first start, and open the desk's pages on them."""
    core: Tenancy = app.extensions["tenancy"]
    Keeper(core).prepare()
    desk.init_app(app)


def shelf_of(owner: str) -> Shelf:
    """Return all that is kept of a tenant's id, "registry", "ledger" or "keyring"."""
    return _shelf_of(tenancy, owner)


def state(tenant_id: str) -> TenantBackup | None:
    """Return how a tenant's copies stand, None before the first one."""
    return db.session.get(TenantBackup, tenant_id)


def last_proof(tenant_id: str) -> Proof | None:
    """Return the last restore that proved clean, None when there was none."""
    clean = (Proof.tenant_id == tenant_id, Proof.error == "")
    return db.session.scalar(select(Proof).where(*clean).order_by(Proof.proven_at.desc()).limit(1))


def last_drill(tenant_id: str) -> Proof | None:
    """Return the last drill, however it went, None when there was none."""
    return db.session.scalar(
        select(Proof).where(Proof.tenant_id == tenant_id).order_by(Proof.proven_at.desc()).limit(1)
    )


def preview_of(tenant_id: str) -> ResolvedTenant | None:
    """Return the preview of a tenant, None when there is none."""
    return previews.preview_of(tenancy, tenant_id)
