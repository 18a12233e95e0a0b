"""The operators' pages on the platform's host."""

from __future__ import annotations

from flask import Flask

from app.accounts import admission, visits
from app.accounts.cookies import PLATFORM
from app.console import (
    backup_views,
    cap_views,
    domain_views,
    factors,
    operator_views,
    operators,
    organisations,
    policy,
    visit_views,
    you_views,
)
from app.console.cli import cli
from app.console.operators import OperatorVisit
from app.console.views import blueprint

__all__ = ["backup_views", "cap_views", "cli", "domain_views", "init_app", "operator_views", "visit_views", "you_views"]


def init_app(app: Flask) -> None:
    """Put the console on the platform's host, and let its operators be known there."""
    visits.finders[PLATFORM] = OperatorVisit.find
    policy.init_app(app)
    for door in (policy.keep_to_role, operators.keep_awake):
        if door not in blueprint.before_request_funcs.get(None, ()):
            blueprint.before_request(door)
    admission.doors[PLATFORM] = factors.door
    app.register_blueprint(factors.door.blueprint)
    app.register_blueprint(blueprint)
    app.register_blueprint(organisations.blueprint)
