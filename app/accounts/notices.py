"""A line or two for the next page ("Saved."), in a short-lived signed cookie: there is no session."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from typing import Literal

from flask import Flask, Response, request
from markupsafe import Markup

from app.accounts import cookies
from app.accounts.visits import house, this_visit

Kind = Literal["info", "success", "warning", "danger"]

LONGEST = 600  # characters of one line
MOST = 4  # lines, so that the cookie stays far below what browsers take
LIFETIME = timedelta(minutes=2)


def init_app(app: Flask) -> None:
    """Let layouts print `notices()`, and carry what was not printed over to the next page."""
    app.jinja_env.globals["notices"] = notices
    app.after_request(carry)


def flash(kind: Kind, text: str) -> None:
    """Show `text`, in which `Markup` keeps its links, once on the next page that this visitor sees."""
    line = (kind, text[:LONGEST])
    if line not in this_visit().notices:
        this_visit().notices.append(line)


def notices() -> list[tuple[str, str]]:
    """Return the lines to be shown now, and count them as shown."""
    visit = this_visit()
    visit.is_shown = True
    return _arrived() + visit.notices


def carry(response: Response) -> Response:
    """Send what is still to be shown, or take back what has been."""
    visit = this_visit()
    if visit.notices and not visit.is_shown:
        cookies.give(response, "freehold-notice", _seal((_arrived() + visit.notices)[-MOST:]), LIFETIME)
    elif visit.is_shown and cookies.cookie_name("freehold-notice") in request.cookies:
        cookies.take_back(response, "freehold-notice")
    return response


def _seal(lines: list[tuple[str, str]]) -> str:
    told = [(kind, text, isinstance(text, Markup)) for kind, text in lines]
    body = urlsafe_b64encode(json.dumps(told).encode()).decode()
    return f"{body}.{cookies.sign('notice-cookie', f'{house()}.{body}')}"


def _arrived() -> list[tuple[str, str]]:
    body, _, mac = request.cookies.get(cookies.cookie_name("freehold-notice"), "").partition(".")
    expected = cookies.sign("notice-cookie", f"{house()}.{body}") if body else ""
    if not body or not hmac.compare_digest(expected.encode(), mac.encode()):
        return []
    told = json.loads(urlsafe_b64decode(body))
    return [(kind, Markup(text) if is_markup == [True] else text) for kind, text, *is_markup in told]  # noqa: S704
