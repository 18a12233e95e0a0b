"""Somebody asks, on the platform's host, at which organisations they may sign in: a letter answers, and no page does."""

from __future__ import annotations

from functools import partial

import structlog
from flask import Blueprint, Flask, current_app, make_response, redirect, render_template
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from app.accounts import cookies, throttle
from app.accounts.forms import HelpForm
from app.accounts.identities import tenants_of
from app.accounts.views import too_many
from app.tenancy import db, tenant_context
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
    """Promise a letter. Whether the address is anybody's is only looked up once the answer has left."""
    form = HelpForm()
    if not form.is_submitted() or not form.validate():
        return make_response(render_template("console/organisations.html", form=form), 422 if form.errors else 200)
    try:
        throttle.count_call_for_help(cookies.PLATFORM, form.email.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal, "console/organisations.html")
    response = redirect("/organisations/sent", 303)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    response.call_on_close(partial(have_letter_sent, app, form.email.data.strip().casefold()))
    return response


@blueprint.get("/organisations/sent")
def sent() -> Response:
    """Say what happens next, the same to everybody."""
    return make_response(render_template("console/organisations_sent.html"))


def have_letter_sent(app: Flask, email: str) -> None:
    """Leave the letter to the first of the organisations that know this address; nobody waits for it."""
    try:
        with app.app_context():
            for tenant in tenants_of(email)[:1]:
                with tenant_context(tenant):
                    later("accounts.send_organisations", email=email)
                    db.session.commit()
    except (FreeholdError, SQLAlchemyError) as error:
        log.warning("organisations_not_told", error=str(error))
