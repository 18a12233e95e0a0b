"""Which person belongs where: for the letter that tells somebody at which organisations they may sign in.

The registry keeps a keyed hash of each address and the tenants where its person may sign in, and nothing else of them. A
commit that lets somebody in or out, or gives them another address, is told to it at once; what hinders that is logged and
hinders nothing else, since each night the map is compared with the tenant's own file, which is the truth.
"""

from __future__ import annotations

import hmac
from typing import Any

import structlog
from sqlalchemy import delete, event, inspect, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.models import User
from app.tenancy import ResolvedTenant, current_tenant, db, tenancy
from app.tenancy.binding import BoundSession
from app.tenancy.database import Connection
from app.tenancy.errors import FreeholdError
from app.tenancy.jobs import every
from app.tenancy.lifecycle import settles
from app.tenancy.registry import Identity

log = structlog.get_logger(__name__)

CHECK = "accounts.check_identities"


def mark(email: str) -> str:
    """Return what the registry knows an address by."""
    key = tenancy.keys.subkey("identities")
    return hmac.digest(key, email.strip().casefold().encode(), "sha256").hex()


def tenants_of(email: str) -> list[ResolvedTenant]:
    """Return the tenants in service where the person with this address may sign in, by name."""
    with tenancy.engines["registry"].connect() as registry:
        ids = registry.scalars(select(Identity.tenant_id).where(Identity.mark == mark(email))).all()
    found = [tenant for number in ids if (tenant := tenancy.registry.by_id(number)) and tenant.state == "active"]
    return sorted(found, key=lambda tenant: tenant.name.casefold())


@every("H H(1-5) * * *", name=CHECK)
def check() -> None:
    """Bring the map up to date with who may sign in at the current tenant."""
    # The tenant's file stays locked meanwhile, so that nobody comes or goes between the question and the answer.
    here = {mark(email) for email in db.session.scalars(select(User.email).where(User.state == "active"))}
    with tenancy.engines["registry"].connect() as registry:
        known = set(registry.scalars(select(Identity.mark).where(Identity.tenant_id == current_tenant().id)))
    _write(dict.fromkeys(known - here, False) | dict.fromkeys(here - known, True))


@settles
def check_soon(connection: Connection) -> None:
    """Have the map compared soon with the file of a tenant that was brought back: other people may be in it."""
    connection.execute("UPDATE due SET run_at = 0 WHERE schedule = ?", (CHECK,))


def _write(changes: dict[str, bool]) -> None:
    """Note for each mark whether its person may sign in at the current tenant; a preview's people count for nothing."""
    here = current_tenant()
    if here.preview_of is not None or not changes:
        return
    with tenancy.engines["registry"].begin() as registry:
        for each, is_in in changes.items():
            row = {"mark": each, "tenant_id": here.id}
            if is_in:
                registry.execute(insert(Identity).values(**row).on_conflict_do_nothing())
            else:
                registry.execute(delete(Identity).filter_by(**row))


# A commit tells the registry of the people whom it let in or out.


def _gather(session: BoundSession, *_: object) -> None:
    for row in (*session.new, *session.dirty):
        if isinstance(row, User):
            session.info.setdefault("identities", {}).update(_changes(row))


def _changes(user: User) -> dict[str, bool]:
    """Return by address, the one of before too, whether somebody may sign in with it; nothing when that stays as it was."""
    attributes: Any = inspect(user).attrs
    if not any(attributes[name].history.has_changes() for name in ("email", "state")):
        return {}
    before = attributes["email"].history.deleted or ()
    return dict.fromkeys(before, False) | {user.email: user.state in (None, "active")}


def _tell(session: BoundSession) -> None:
    changes = None if session.in_nested_transaction() else session.info.pop("identities", None)
    if not changes:
        return
    try:
        _write({mark(email): is_in for email, is_in in changes.items()})
    except (FreeholdError, SQLAlchemyError) as error:
        log.warning("identities_not_written", tenant=session.tenant_id, error=str(error))


def _forget(session: BoundSession) -> None:
    if not session.in_nested_transaction():
        session.info.pop("identities", None)


event.listen(BoundSession, "before_flush", _gather)
event.listen(BoundSession, "after_commit", _tell)
event.listen(BoundSession, "after_rollback", _forget)
