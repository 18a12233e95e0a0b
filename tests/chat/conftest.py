"""Colleagues, rooms and lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from app import Freehold
from app.accounts import User, hash_password
from app.chat import Room
from app.facilities.events import Event
from app.tenancy import ResolvedTenant, db, tenant_context
from tests.conftest import PASSWORD, sign_in
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
def people(inside: Callable[..., AbstractContextManager[None]]) -> Callable[..., None]:
    """Have people join a tenant, by first name."""

    def join(tenant: ResolvedTenant, *names: str) -> None:
        hashed = hash_password(PASSWORD)
        with inside(tenant):
            for name in names:
                User.join(f"{name.lower()}@{tenant.slug}.test", name, hashed=hashed)

    return join


@pytest.fixture
def browser_of(client_for: Callable[..., FlaskClient]) -> Callable[..., FlaskClient]:
    """Return a browser in which one of the `people` is signed in."""

    def browser(tenant: ResolvedTenant, name: str) -> FlaskClient:
        client = client_for(tenant)
        sign_in(client, f"{name.lower()}@{tenant.slug}.test")
        return client

    return browser


@pytest.fixture
def start(inside: Callable[..., AbstractContextManager[None]]) -> Callable[..., int]:
    """Start a room in the name of one person, let others in, and return its id."""

    def make(
        tenant: ResolvedTenant, name: str, by: str = "owner", closed: bool = False, members: tuple[str, ...] = ()
    ) -> int:
        with inside(tenant):
            room = Room.start(name, by=person(tenant, by), closed=closed)
            for member in members:
                room.invite(person(tenant, member), by=person(tenant, by))
            return room.id

    return make


@pytest.fixture
def say(inside: Callable[..., AbstractContextManager[None]]) -> Callable[..., int]:
    """Write a line and return its id."""

    def write(tenant: ResolvedTenant, text: str, by: str = "owner", room_id: int = 1, client_id: str = "") -> int:
        with inside(tenant):
            return room(room_id).say(text, by=person(tenant, by), client_id=client_id).id

    return write


@pytest.fixture
def events_of(inside: Callable[..., AbstractContextManager[None]]) -> Callable[..., list[Event]]:
    """Return the events of these kinds, in order."""

    def find(tenant: ResolvedTenant, *kinds: str) -> list[Event]:
        with inside(tenant):
            return list(db.session.scalars(select(Event).where(Event.kind.in_(kinds)).order_by(Event.id)))

    return find


@pytest.fixture
def send() -> Callable[..., Any]:
    """Send a form of the desk as its page would, with the member's token."""

    def post(browser: FlaskClient, path: str, *, script: bool = False, **fields: Any) -> Any:
        token = printed_token(browser.get("/desk/chat/rooms/new").text)
        headers = {"HX-Request": "true"} if script else {}
        return browser.post(path, data={"csrf_token": token, **fields}, headers=headers)

    return post


def person(tenant: ResolvedTenant, name: str) -> User:
    """Return one of the people of the current tenant, "owner" among them."""
    found = User.by_email(f"{name.lower()}@{tenant.slug}.test")
    assert found is not None
    return found


def room(room_id: int) -> Room:
    """Return a room of the current tenant; the first is `general`."""
    found = db.session.get(Room, room_id)
    assert found is not None
    return found
