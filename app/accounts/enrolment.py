"""Whoever has to have a second factor and has none sets one up at the next page they open, signed in long since or not."""

from __future__ import annotations

from flask import Flask, redirect, request, url_for
from werkzeug.wrappers import Response

from app.accounts.admission import is_asked
from app.accounts.csrf import kept
from app.accounts.models import Session
from app.accounts.visits import UNSAFE, server_session

FIRST = "A second factor is asked of you here now. Set one up, then send this once more."
WAY = {"security", "second"}  # blueprints at which one is set up
LOOK = {"static", "branding.theme", "branding.logo", "branding.monogram", "pictures.picture"}
OPEN = LOOK | {"accounts.sign_out"}


def init_app(app: Flask) -> None:
    """Ask before any page answers; must come after `csrf`."""
    app.before_request(ask_first)


def ask_first() -> Response | None:
    """Lead to where a second factor is set up whoever is signed in, has to have one and has none."""
    session = server_session()
    if not isinstance(session, Session) or is_open() or not lacks_factor(session):
        return None
    if request.method in UNSAFE:
        return kept(FIRST)
    return redirect(url_for("security.show"))


def lacks_factor(session: Session) -> bool:
    """Tell whether the person of a session has to have a second factor and has none."""
    return not session.has_factor and is_asked(session.user, session.rule or "")


def is_open() -> bool:
    """Tell whether this belongs to setting one up, to the look of the pages on which that is done, or is the way out."""
    return request.endpoint is None or request.blueprint in WAY or request.endpoint in OPEN
