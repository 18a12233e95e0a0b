"""How many changes the people of one organisation make on the desk in a minute, as its plan has it.

Only those who are signed in are counted: nobody from outside can use up what an organisation has.
"""

from __future__ import annotations

from flask import Flask, request

from app.accounts.visits import UNSAFE, server_session
from app.facilities import rates, settings
from app.facilities.rates import Rate, Try
from app.tenancy import current_scope

DESK = "/desk/"
WITHIN = 60  # seconds
TOO_MANY = "Very many changes are being made in this organisation at the moment."


def init_app(app: Flask) -> None:
    """Count the changes of every organisation."""
    app.before_request(count_change)


def count_change() -> None:
    """Count a change that somebody makes on the desk; raises `LimitReached` when there were too many."""
    scope = current_scope()
    tenant = scope.tenant if scope else None
    if tenant and request.method in UNSAFE and request.path.startswith(DESK) and server_session():
        most = settings.number("changes_a_minute", tenant.tier)
        rates.take(Try(Rate("changes", most, WITHIN, TOO_MANY), tenant.id))
