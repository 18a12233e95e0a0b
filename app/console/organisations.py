"""Somebody asks, on the platform's host, at which organisations they may sign in: a letter answers, and no page does."""

from __future__ import annotations

import secrets
from functools import partial

import structlog
from flask import Blueprint, Flask, current_app, make_response, redirect, render_template
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from app.accounts import cookies, throttle
from app.accounts.forms import HelpForm
from app.accounts.organisations import sealed
from app.accounts.views import too_many
from app.tenancy import db, tenancy, tenant_context
from app.tenancy.errors import FreeholdError
from app.tenancy.jobs import later

log = structlog.get_logger(__name__)

blueprint = Blueprint("organisations", __name__, subdomain="platform")


@blueprint.after_request
def keep_out_of_caches(response: Response) -> Response:
    """Keep these pages out of every cache."""
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.route("/organisations", methods=["GET", "POST"])
def ask() -> Response:
    """Promise a letter. Whether one leaves, only its job decides, so that every address costs the same here."""
    form = HelpForm()
    if not form.is_submitted() or not form.validate():
        return make_response(render_template("console/organisations.html", form=form), 422 if form.errors else 200)
    try:
        throttle.count_call_for_help(cookies.PLATFORM, form.email.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal, "console/organisations.html")
    response = redirect("/organisations/sent", 303)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    response.call_on_close(partial(have_letter_sent, app, form.email.data))
    return response


@blueprint.get("/organisations/sent")
def sent() -> Response:
    """Say what happens next, the same to everybody."""
    return make_response(render_template("console/organisations_sent.html"))


def have_letter_sent(app: Flask, email: str) -> None:
    """Leave the look-up and the letter to the jobs of any organisation: which one says nothing about the address."""
    try:
        with app.app_context():
            tenant = tenancy.registry.by_id(secrets.choice([*tenancy.registry.serving()] or [""]))
            if tenant:
                with tenant_context(tenant):
                    later("accounts.send_organisations", address=sealed(email.strip().casefold()))
                    db.session.commit()
    except (FreeholdError, SQLAlchemyError) as error:
        log.warning("organisations_not_told", error=str(error))
