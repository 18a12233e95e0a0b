"""The operators' pages on the platform's host."""

from __future__ import annotations

from flask import Flask

from app.accounts import visits
from app.accounts.cookies import PLATFORM
from app.console import backup_views, cap_views
from app.console.cli import cli
from app.console.operators import OperatorVisit
from app.console.views import blueprint

__all__ = ["backup_views", "cap_views", "cli", "init_app"]


def init_app(app: Flask) -> None:
    """Put the console on the platform's host, and let its operators be known there."""
    visits.finders[PLATFORM] = OperatorVisit.find
    app.register_blueprint(blueprint)
