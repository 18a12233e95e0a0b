"""Operators as tests need them: of any role, signed in, and their visits."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from app.accounts import hash_password
from app.accounts.cookies import fingerprint
from app.console import operators
from app.tenancy import db, platform_context
from tests.conftest import PASSWORD, _client
from tests.printed import printed_token


def operator_of(app: Any, role: str = "all", email: str = "") -> Any:
    """Add an operator of that role; returns a browser in which they are signed in to the console."""
    email = email or f"{role}@operators.test"
    hashed = hash_password(PASSWORD)
    with app.app_context(), platform_context():
        operator = operators.by_email(email) or operators.create(email, hashed, f"Opal {role}", role)
        db.session.flush()
        token = str(operators.sign_in(operator, timedelta(hours=12)))
        db.session.commit()
    browser = _client(app, "platform.localhost")
    browser.set_cookie("freehold", token, domain="platform.localhost")
    return browser


def send(browser: Any, path: str, page: str = "/", **values: Any) -> Any:
    """Send a form of the console, with the token that its pages carry."""
    return browser.post(path, data={"csrf_token": printed_token(browser.get(page).text), **values})


def asked(operator: Any, slug: str = "alpha", **values: Any) -> str:
    """Ask for a visit on the console; returns the path of the link that is shown once."""
    answer = send(operator, f"/tenants/{slug}/visits", **{"why": "The menu is gone", "minutes": "60", **values})
    assert answer.status_code == 201, answer.text
    return re.search(r"/sign-in/visit/[\w-]+", answer.text).group()


def visitor(app: Any, tenant: Any, operator: Any = None, **values: Any) -> Any:
    """Return a browser in which an operator, by default one of the role support, is on a visit."""
    link = asked(operator or operator_of(app, "support"), tenant.slug, **values)
    browser = _client(app, tenant.primary_host)
    came = browser.post(link, data={"csrf_token": printed_token(browser.get(link).text)})
    assert came.status_code == 303, came.text
    return browser


def mark_of(link: str) -> str:
    """Return what the registry keeps of a link."""
    return fingerprint(link.rpartition("/")[2])
