"""People as tests need them: a second person, what was invited, and what the letters say."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import Any

from sqlalchemy import select

from app.accounts import User, hash_password
from tests.conftest import PASSWORD, _client, sign_in
from tests.printed import filled_in


def join(at: Any, tenant: Any, email: str = "mia@example.test", name: str = "Mia Member", role: str = "member") -> int:
    """Add a person with the password of all tests; returns their id."""

    def add() -> int:
        from app.tenancy import db

        user = User.join(email, name, role, hash_password(PASSWORD))
        db.session.flush()
        return user.id

    return at(tenant, add)


def browser_of(app: Any, tenant: Any, email: str) -> Any:
    """Return a browser in which that person is signed in."""
    browser = _client(app, tenant.primary_host)
    sign_in(browser, email)
    return browser


def post(browser: Any, address: str, page: str = "/desk/profile/", **data: Any) -> Any:
    """Send a form of a signed-in person, with the token that their pages carry."""
    token = filled_in(browser.get(page).text)["csrf_token"]
    return browser.post(address, data={"csrf_token": token, **data})


def invite(browser: Any, email: str = "new@example.test", role: str = "member", name: str = "") -> str:
    """Invite somebody; returns the path of the link that is shown once."""
    page = post(browser, "/desk/people/invitations/", email=email, role=role, name=name)
    assert page.status_code == 201, page.text
    return link_in(page.text, "invitation")


def link_in(text: str, kind: str) -> str:
    """Return the path of the first link of that kind in a page or letter."""
    return re.search(rf"/{kind}/[\w-]+", text).group()


def letters(app: Any) -> list[Any]:
    """Return the letters that lie in the outbox, oldest first."""
    files = sorted((app.config["FREEHOLD"].instance / "outbox").glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def is_in(browser: Any) -> bool:
    """Tell whether a browser is still signed in."""
    return browser.get("/desk/profile/").status_code == 200


def acts(at: Any, tenant: Any) -> list[str]:
    """Return the kinds of what the audit tells, oldest first."""
    from app.facilities.audit import Audit
    from app.tenancy import db

    return at(tenant, lambda: list(db.session.scalars(select(Audit.kind).order_by(Audit.id))))
