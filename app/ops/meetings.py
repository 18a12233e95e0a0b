"""Where cookies, tokens and names of one organisation were tried at another, again and again: somebody may be at work.

One of them is a slip, of a program that mixes up two addresses; many within an hour want a look.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select, union_all

from app.tenancy import db, utcnow
from app.tenancy.ledger import AuditRow

KINDS = ("foreign_cookie", "foreign_token", "tenant_mismatch")
WITHIN = timedelta(hours=1)
MANY = 20  # rows, of which the ledger writes one a minute for the same two


def alarming() -> dict[str, int]:
    """Return how often it was tried at a tenant, or with what belongs to it, by its id: of those with many, most first."""
    lately = (AuditRow.kind.in_(KINDS), AuditRow.at > utcnow() - WITHIN)
    sides = union_all(
        *(select(side.label("id")).where(*lately) for side in (AuditRow.tenant_id, AuditRow.other_tenant_id))
    )
    met = sides.subquery()
    counts = select(met.c.id, func.count()).where(met.c.id != "").group_by(met.c.id)
    found = db.session.execute(counts.having(func.count() >= MANY).order_by(func.count().desc()).limit(100))
    return {row[0]: row[1] for row in found}


def told(count: int) -> str:
    """Return in words what was met."""
    return f"What belongs to one organisation was tried at another {count} times within an hour, and this is one of the two."


ADVICE = (
    "It was refused each time. A cookie or a token may be in wrong hands: its owners can sign everybody out and revoke tokens. "
    "The console's pages of the organisations tell when it was."
)
