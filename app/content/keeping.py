"""Rendered pages, kept for visitors while nothing public has changed. Members' pages are never kept anywhere.

A page is kept with the edition of the site it belongs to, which is worked out from the tenant's file at each request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

from flask import Flask, current_app, make_response, request
from werkzeug.wrappers import Response

from app.content.frame import Frame, current_frame
from app.content.policy import is_member
from app.facilities.cache import Shelf
from app.tenancy import utcnow

PUBLIC = "public, max-age=0, must-revalidate"
PRIVATE = "private, no-store"
LONGEST = 3600.0  # seconds

View = Callable[..., Any]


class Page(NamedTuple):
    """A rendered answer, and the edition of the site that it is part of."""

    edition: str
    body: bytes
    content_type: str


def init_app(app: Flask) -> None:
    """Give `app` a place to keep pages, as large as its configuration says."""
    app.extensions["freehold.pages"] = Shelf[Page](app.config["FREEHOLD"].page_cache_bytes)


def kept(view: View) -> View:
    """Answer visitors with the page that `view(frame, …)` made before, if that is what it would make now."""

    @wraps(view)
    def answer(**where: Any) -> Response:
        if is_member():
            return private(make_response(view(current_frame(member=True), **where)))
        frame = current_frame(member=False)
        pages: Shelf[Page] = current_app.extensions["freehold.pages"]
        key = (frame.tenant.id, request.path) if _may_be_kept(pages) else None
        page = pages.get(key) if key else None
        if page is not None and page.edition == frame.edition:
            return public(Response(page.body, content_type=page.content_type), frame)
        response = make_response(view(frame, **where))
        if key and response.status_code == 200:
            _keep(pages, key, frame, response)
        return public(response, frame)

    return answer


def public(response: Response, frame: Frame) -> Response:
    """Let anybody keep the answer who asks again each time whether it is still this edition.

    The view has run, or its page was found for this edition: what may not be seen has already been refused.
    """
    response.headers["Cache-Control"] = PUBLIC
    if response.status_code == 200:
        response.headers["ETag"] = f'"{frame.edition}"'
        if "If-None-Match" in request.headers:
            return response.make_conditional(request)
    return response


def private(response: Response) -> Response:
    """Let nobody but this person's browser window have the answer."""
    response.headers["Cache-Control"] = PRIVATE
    return response


def _may_be_kept(pages: Shelf[Page]) -> bool:
    # Anybody can invent queries, and each would push another house's page out.
    return pages.limit > 0 and not request.args


def _keep(pages: Shelf[Page], key: tuple[str, ...], frame: Frame, response: Response) -> None:
    body = response.get_data()
    left = (frame.until - utcnow()).total_seconds() if frame.until else LONGEST
    size = len(body) + sum(map(len, key)) + 256
    pages.put(key, Page(frame.edition, body, response.content_type), size, min(left, LONGEST))
