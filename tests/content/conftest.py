"""Pages and posts to look at, and a member who fills in forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import Freehold
from app.content.models import Entry
from app.tenancy import ResolvedTenant, db, tenant_context
from tests.printed import printed_token


@pytest.fixture
def inside(app: Freehold) -> Callable[[ResolvedTenant], AbstractContextManager[None]]:
    """Work in a tenant's file, and commit at the end."""

    @contextmanager
    def enter(tenant: ResolvedTenant) -> Iterator[None]:
        with app.app_context(), tenant_context(tenant):
            yield
            db.session.commit()

    return enter


@pytest.fixture
def publish(inside: Callable[..., AbstractContextManager[None]]) -> Callable[..., int]:
    """Write an entry in a tenant, published unless told otherwise, and return its id."""

    def write(
        tenant: ResolvedTenant,
        kind: str,
        title: str,
        source: str = "Some words.",
        *,
        at: datetime | None = None,
        draft: bool = False,
        **given: Any,
    ) -> int:
        with inside(tenant):
            parent = db.session.get(Entry, given.pop("under")) if "under" in given else None
            entry = Entry.write(kind, title, source, parent=parent, **given)
            if not draft:
                entry.publish(at)
            return entry.id

    return write


@pytest.fixture
def change(inside: Callable[..., AbstractContextManager[None]]) -> Callable[..., None]:
    """Call a verb of an entry: `change(alpha, 3, "trash")`."""

    def call(tenant: ResolvedTenant, entry_id: int, verb: str, *arguments: Any) -> None:
        with inside(tenant):
            getattr(db.session.get(Entry, entry_id), verb)(*arguments)

    return call


@pytest.fixture
def send() -> Callable[..., Any]:
    """Send a form of the desk as its page would, with the member's token."""

    def post(browser: FlaskClient, path: str, **fields: Any) -> Any:
        token = printed_token(browser.get("/desk/content/menu").text)
        return browser.post(path, data={"csrf_token": token, **fields})

    return post
