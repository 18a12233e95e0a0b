"""How pages are written for whoever is signed in: by the clocks they chose, dates and numbers as in their language."""

from __future__ import annotations

from flask import Flask, has_request_context
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.local import LocalProxy

from app.accounts.models import Session
from app.accounts.visits import server_session, this_visit
from app.facilities.reader import Reader, current_reader, house_zone, knows_reader
from app.tenancy import utcnow
from app.tenancy.errors import FreeholdError


def init_app(app: Flask) -> None:
    """Let every template say `reader`."""
    knows_reader(reader_here)
    app.jinja_env.globals["reader"] = LocalProxy(current_reader)
    Reader().moment(utcnow())  # reads the tables of English once, before processes fork


def reader_here() -> Reader | None:
    """Return the person who asks for a page as its reader; pages that say why a file is shut have none."""
    if not has_request_context():
        return None
    visit = this_visit()
    if visit.reader is None:
        try:
            visit.reader = reader_of(server_session())
        except (FreeholdError, SQLAlchemyError):
            return None
    return visit.reader


def reader_of(session: object) -> Reader:
    """Return the reader of a session: its person's choice, else the organisation's clocks."""
    person = session.user if isinstance(session, Session) else None
    return Reader(person.language, person.time_zone or house_zone()) if person else Reader(time_zone=house_zone())
