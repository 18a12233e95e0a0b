"""The stream of what happens, for those signed in; and who is meant by "members", "may:<permission>" and "person:<id>"."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import Any

from flask import Blueprint, Flask, Response, request
from sqlalchemy import Select, bindparam, select

from app.accounts.enrolment import lacks_factor
from app.accounts.models import Session, User
from app.accounts.policy import permissions
from app.accounts.visits import server_session
from app.facilities import events, live
from app.facilities.events import Position
from app.facilities.reader import current_reader
from app.tenancy import current_tenant, db, utcnow

# Built once: live asks it at every look into a file.
_ALIVE = (
    select(Session.id, Session.has_factor, Session.rule)
    .join(User)
    .where(Session.id.in_(bindparam("sessions", expanding=True)), Session.expires_at > bindparam("now"))
    .where(User.state == "active")
)

blueprint = Blueprint("live", __name__)


def init_app(app: Flask) -> None:
    """Open the stream, and tell it who is still signed in."""
    live.knows_sessions(still_here)
    app.register_blueprint(blueprint)


@blueprint.get("/live")
def stream() -> Response:
    """Give news from `Last-Event-ID`, or `?after=`, on; a place that means nothing here begins with a reset.

    The answer goes on after this request is over, and asks the tenant's file nothing by itself.
    """
    session = server_session()
    if session is None:
        return Response("Sign in first.", 401, mimetype="text/plain")
    tenant_id, hub = current_tenant().id, live.hub()
    after = Position.read(request.headers.get("Last-Event-ID") or request.args.get("after", ""))
    opened = hub.open(session.id, session.user_id, session.expires_at, after, current_reader())
    opened.cut = partial(_break, request.environ.get("gunicorn.socket"))
    response = Response(opened.frames(), mimetype="text/event-stream")
    response.call_on_close(lambda: hub.close(tenant_id, opened))
    return response


def _break(line: socket.socket | None) -> None:
    with suppress(OSError):  # it may be broken already
        if line is not None:
            line.shutdown(socket.SHUT_RDWR)


def still_here(sessions: frozenset[int]) -> set[int]:
    """Return which of these sessions are alive, their people too, but for those who have to set up a second factor first."""
    alive = db.session.execute(_ALIVE, {"sessions": sessions, "now": utcnow()}).all()
    asked = [
        number for number, has_factor, rule in alive if not has_factor and (rule or current_tenant().second_factor)
    ]
    lacking = db.session.scalars(select(Session).where(Session.id.in_(asked))) if asked else ()
    return {row.id for row in alive} - {session.id for session in lacking if lacks_factor(session)}


def _among(people: frozenset[int], rule: Select[Any]) -> set[int]:
    return set(db.session.scalars(rule.with_only_columns(User.id).where(User.id.in_(people))))


@events.audience("members")
def members(key: str, people: frozenset[int]) -> set[int]:
    """Everybody who may sign in."""
    return _among(people, select(User).where(User.state == "active"))


@events.audience("may")
def who_may(key: str, people: frozenset[int]) -> set[int]:
    """Those who hold the permission of that name; nobody where the log remembers one that is no more."""
    return _among(people, User.who_may(key)) if key in {each.name for each in permissions()} else set()


@events.audience("person")
def person(key: str, people: frozenset[int]) -> set[int]:
    """One person, by id."""
    return members("", people & ({int(key)} if key.isdigit() else set()))
