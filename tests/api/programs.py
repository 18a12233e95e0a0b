"""Programs as tests need them: tokens of people and services, and what they ask."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.accounts import User
from app.api import Token
from app.facilities.audit import Audit
from app.tenancy import db, platform_context
from app.tenancy.ledger import AuditRow

MEMBERS = "/api/v1/members"


def make(at: Any, tenant: Any, *, email: str = "", scopes: Collection[str] = ("members.read",), **options: Any) -> str:
    """Make a token of a person, by default of the owner, and return it as a program carries it."""

    def work() -> str:
        person = User.by_email(email or f"owner@{tenant.slug}.test")
        _, key = Token.make("A till", scopes, options.pop("lifetime", timedelta(days=30)), by=person, **options)
        return str(key)

    return at(tenant, work)


def ask(client: Any, text: str, path: str = MEMBERS, method: str = "GET", **headers: str) -> Any:
    """Ask with a token."""
    return client.open(path, method=method, headers={"Authorization": f"Bearer {text}", **headers})


def exchanged(client: Any, text: str) -> str:
    """Exchange a token for signed JSON."""
    answer = ask(client, text, "/api/v1/token", "POST")
    assert answer.status_code == 200, answer.text
    return answer.json["access_token"]


def code(answer: Any) -> str:
    """Return the code of a problem, and that it is one."""
    assert answer.mimetype == "application/problem+json", answer.text
    assert answer.json["status"] == answer.status_code
    return answer.json["code"]


def told(at: Any, tenant: Any) -> list[str]:
    """Return what the tenant's audit tells of tokens that came, oldest first."""
    kinds = ("token_forged", "token_outlived", "foreign_token", "token_abroad")
    rows = select(Audit.kind).where(Audit.kind.in_(kinds)).order_by(Audit.id)
    return at(tenant, lambda: list(db.session.scalars(rows)))


def met(app: Any) -> list[tuple[str, str, str | None]]:
    """Return what the ledger tells of tokens that came: what, where, and whose they were."""
    kinds = ("token_forged", "token_outlived", "foreign_token")
    with app.app_context(), platform_context():
        rows = db.session.scalars(select(AuditRow).where(AuditRow.kind.in_(kinds)).order_by(AuditRow.id))
        return [(row.kind, row.tenant_id, row.other_tenant_id) for row in rows]
