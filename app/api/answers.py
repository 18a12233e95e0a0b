"""What programs are answered with: JSON of a declared shape, a page at a time, that they may keep and ask after by its ETag."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from flask import Response, request
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute

from app.api import callers
from app.api.errors import QueryRefused
from app.facilities import rates
from app.tenancy import db

USUAL, MOST = 50, 200  # things on a page

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and the cursor of what comes next, null at its end."""

    items: list[T]
    next: str | None


def page_of(rows: Select[Any], shape: Callable[[Any], T], *, by: InstrumentedAttribute[int]) -> Page[T]:
    """Return what the parameters `cursor` and `limit` ask for of `rows`, in the order of `by`, a unique number.

    What is added or taken away between two pages moves nothing. Raises `QueryRefused`.
    """
    most = _limit()
    found = db.session.scalars(rows.where(by > _after()).order_by(by).limit(most + 1)).all()
    shown = found[:most]
    return Page([shape(each) for each in shown], _cursor(getattr(shown[-1], by.key)) if len(found) > most else None)


def answer(value: Any) -> Response:
    """Return a shape, or a page of them, as JSON; a page links to the next one (RFC 8288)."""
    response = Response(json.dumps(asdict(value), default=_plain, ensure_ascii=False), mimetype="application/json")
    if isinstance(value, Page) and value.next:
        query = urlencode({**request.args.to_dict(), "cursor": value.next})
        response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return response


def finish(response: Response) -> Response:
    """Say how often may be asked, and let programs keep what they read, for themselves alone, and ask whether it has changed."""
    each = callers.counted()
    if each and "RateLimit" not in response.headers:
        response.headers.extend(rates.told(each))
    response.headers["Cache-Control"] = "private, no-store"
    if request.method in ("GET", "HEAD") and response.status_code == 200:
        response.headers["Cache-Control"] = "private, no-cache"
        response.vary.add("Authorization")
        response.add_etag()
        response.make_conditional(request)
    return response


def _limit() -> int:
    given = request.args.get("limit", str(USUAL))
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= MOST):
        raise QueryRefused(f"limit is a number from 1 to {MOST}.")
    return int(given)


def _cursor(number: int) -> str:
    return urlsafe_b64encode(f"after {number}".encode()).decode().rstrip("=")


def _after() -> int:
    given = request.args.get("cursor", _cursor(0))
    try:
        word, _, number = urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode().partition(" ")
    except ValueError:
        word, number = "", ""
    if word != "after" or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise QueryRefused("cursor is what the page before gave as next.")
    return int(number)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"A {type(value).__name__} has no form in JSON; give its shape another type.")
