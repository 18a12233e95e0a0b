"""Conversations to answer, and members who answer them."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from app import Freehold
from app.accounts import User, hash_password
from app.facilities.events import Event
from app.inbox import Contact, Conversation, Message
from app.tenancy import ResolvedTenant, db, tenant_context
from tests.conftest import PASSWORD, sign_in
from tests.printed import filled_in

Inside = Callable[[ResolvedTenant], AbstractContextManager[None]]


@pytest.fixture
def inside(app: Freehold) -> Inside:
    """Work in a tenant's file, and commit at the end."""

    @contextmanager
    def enter(tenant: ResolvedTenant) -> Iterator[None]:
        with app.app_context(), tenant_context(tenant):
            yield
            db.session.commit()

    return enter


@pytest.fixture
def begin(inside: Inside) -> Callable[..., int]:
    """Have somebody outside begin a conversation in a tenant, and return its id."""

    def write(
        tenant: ResolvedTenant, subject: str = "A plot", text: str = "Is there a free plot?", **given: Any
    ) -> int:
        address, name = given.pop("address", "ada@example.org"), given.pop("name", "Ada Lovelace")
        with inside(tenant):
            return Conversation.open_from(Contact.at(address, name), subject, text, **given).id

    return write


@pytest.fixture
def act(inside: Inside) -> Callable[..., int | None]:
    """Call a verb of a conversation in the owner's name: `act(alpha, 1, "close")`; returns the id of what it returns."""

    def call(tenant: ResolvedTenant, conversation_id: int, verb: str, *arguments: Any, **named: Any) -> int | None:
        with inside(tenant):
            by = User.by_email(f"owner@{tenant.slug}.test")
            answer = getattr(db.session.get(Conversation, conversation_id), verb)(*arguments, by=by, **named)
            return answer.id if answer is not None else None

    return call


@pytest.fixture
def colleague(app: Freehold, inside: Inside, client_for: Callable[..., FlaskClient]) -> Callable[..., FlaskClient]:
    """Add an agent to a tenant and return their browser, signed in."""

    def join(tenant: ResolvedTenant, name: str = "Colin Colleague") -> FlaskClient:
        address = f"{name.split()[0].lower()}@{tenant.slug}.test"
        hashed = hash_password(PASSWORD)
        with inside(tenant):
            User.join(address, name, role="agent", hashed=hashed)
        browser = client_for(tenant)
        sign_in(browser, address)
        return browser

    return join


@pytest.fixture
def send() -> Callable[..., Any]:
    """Send one of the forms of a conversation as its page would."""

    def post(browser: FlaskClient, conversation_id: int, what: str, **fields: Any) -> Any:
        having = {"replies": "seen", "notes": "client_id", "assignment": "assignee"}.get(what, "csrf_token")
        page = browser.get(f"/desk/inbox/{conversation_id}").text
        filled = filled_in(page, having, **fields)
        if what == "notes":
            filled.pop("seen", None)
        return browser.post(f"/desk/inbox/{conversation_id}/{what}", data=filled)

    return post


@pytest.fixture
def letters(home: Path) -> Callable[[], list[EmailMessage]]:
    """Return the letters in the outbox, oldest first."""

    def read() -> list[EmailMessage]:
        files = sorted((home / "instance" / "outbox").glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
        return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]

    return read


@pytest.fixture
def told(inside: Inside) -> Callable[[ResolvedTenant], list[str]]:
    """Return the kinds of the events in a tenant's log, in order."""

    def kinds(tenant: ResolvedTenant) -> list[str]:
        with inside(tenant):
            return list(db.session.scalars(select(Event.kind).order_by(Event.id)))

    return kinds


@pytest.fixture
def messages(inside: Inside) -> Callable[[ResolvedTenant], list[tuple[str, str]]]:
    """Return (kind, text) of every message in a tenant, in order."""

    def read(tenant: ResolvedTenant) -> list[tuple[str, str]]:
        with inside(tenant):
            rows = db.session.execute(select(Message.kind, Message.text).order_by(Message.id))
            return [(kind, text) for kind, text in rows]

    return read
