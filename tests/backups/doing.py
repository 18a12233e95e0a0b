"""What the archivist does, done in a test: copies made, orders carried out, rows of the ledger planted."""

from __future__ import annotations

from contextvars import Context
from datetime import datetime
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import select

from app import Freehold
from app.backups.keeper import Keeper
from app.backups.models import Order, Proof
from app.backups.orders import carry_out
from app.backups.shelf import Moment
from app.tenancy import LedgerModel, ResolvedTenant, db, platform_context, utcnow
from app.tenancy.ledger import TenantBackup
from tests.printed import printed_token


def copied(app: Freehold, tenant: ResolvedTenant) -> Moment:
    """Copy a tenant, and return the moment."""
    keeper = Keeper(app.extensions["tenancy"])
    try:
        Context().run(keeper.copy, tenant.id)
    finally:
        keeper.raw_side.close()
    return keeper.shelf(tenant.id).newest()


def carried_out(app: Freehold) -> int:
    """Carry out the orders that wait; returns how many."""
    with app.app_context(), platform_context(writes=False):
        waiting = db.session.scalars(select(Order.id).where(Order.state == "waiting")).all()
    for number in waiting:
        with app.app_context():
            Context().run(carry_out, app.extensions["tenancy"], number)
    return len(waiting)


def noted(app: Freehold, *rows: LedgerModel) -> None:
    """Put rows into the ledger."""
    with app.app_context(), platform_context():
        db.session.add_all(rows)
        db.session.commit()


def copy_of(tenant: ResolvedTenant, **facts: Any) -> TenantBackup:
    """Return the row of a tenant whose copies stand well, but for `facts`."""
    well = {"seq": 1, "at": utcnow(), "size": 400_000, "kept_bytes": 900_000, "moments": 3, "interval": 8.0}
    return TenantBackup(tenant_id=tenant.id, **(well | facts))


def proof_of(tenant: ResolvedTenant, proven_at: datetime | None = None, error: str = "") -> Proof:
    """Return the row of a restore of a tenant that proved clean, or of one that failed with `error`."""
    at = proven_at or utcnow()
    return Proof(tenant_id=tenant.id, moment_at=at, proven_at=at, seconds=0.8, rows=40, error=error)


def send(client: FlaskClient, path: str, **values: Any) -> Any:
    """Send a form of the desk or the console."""
    return client.post(path, data={"csrf_token": printed_token(client.get(_with_form(client)).text), **values})


def _with_form(client: FlaskClient) -> str:
    return "/settings/" if getattr(client, "host", "").startswith("platform.") else "/desk/settings/"
