"""What programs may ask: tokens, and JSON for whoever has one. A module opens its addresses by a `Part` in its `api.py`."""

from __future__ import annotations

import time

from flask import Flask

from app.api import acts, desk, handlers, jobs, members, views
from app.api.answers import Page, page_of
from app.api.callers import Caller, caller
from app.api.models import Token
from app.api.parts import Part
from app.api.policy import Scope, scope
from app.tenancy.database import Connection
from app.tenancy.lifecycle import settles

__all__ = [
    "Caller",
    "Page",
    "Part",
    "Scope",
    "Token",
    "acts",
    "caller",
    "handlers",
    "init_app",
    "jobs",
    "page_of",
    "scope",
]


def init_app(app: Flask) -> None:
    """Answer programs, and let people make tokens."""
    app.register_blueprint(views.blueprint)
    app.register_blueprint(views.part.blueprint)
    app.register_blueprint(members.part.blueprint)
    app.register_blueprint(desk.blueprint)


@settles
def end_tokens(connection: Connection) -> None:
    """Let no token be good that a copy holds: it may have been ended since."""
    connection.execute("UPDATE token SET ended_at = ? WHERE ended_at IS NULL", (int(time.time() * 1e6),))
