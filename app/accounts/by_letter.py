"""Signing in by a link that comes by letter, where the organisation wants it: the link stands for the password alone."""

from __future__ import annotations

from flask import Blueprint, Flask, abort, make_response, redirect, render_template
from werkzeug.wrappers import Response

from app.accounts import previews, throttle
from app.accounts.admission import admit, keep_out_of_caches
from app.accounts.forms import Form, HelpForm
from app.accounts.models import SignInLink, SignInRules
from app.accounts.views import too_many
from app.accounts.visits import house
from app.facilities import audit
from app.tenancy import db
from app.tenancy.jobs import later

blueprint = Blueprint("by_letter", __name__, url_prefix="/sign-in")
blueprint.after_request(keep_out_of_caches)


def init_app(app: Flask) -> None:
    """Open these pages, and let the sign-in page say that they are there."""
    app.register_blueprint(blueprint)
    app.jinja_env.globals["signs_in_by_letter"] = is_wanted


def is_wanted() -> bool:
    """Tell whether people may sign in by letter here; from a preview no letter leaves."""
    return not previews.is_preview() and SignInRules.mine().by_letter


@blueprint.before_request
def only_where_wanted() -> None:
    """Let these pages be found where the organisation wants them."""
    if not is_wanted():
        abort(404)


@blueprint.route("/letter", methods=["GET", "POST"])
def ask() -> Response:
    """Promise a letter with a link. Whether the address is somebody's, only the letter's job looks up."""
    form = HelpForm()
    if not form.is_submitted() or not form.validate():
        return make_response(render_template("accounts/by_letter.html", form=form), 422 if form.errors else 200)
    # What was looked up so far has taken the file, and counting is not to hold it.
    db.session.rollback()
    try:
        throttle.count_call_for_help(house(), form.email.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal, "accounts/by_letter.html")
    later("accounts.send_sign_in_link", email=form.email.data.strip().casefold())
    db.session.commit()
    return redirect("/sign-in/letter/sent", 303)


@blueprint.get("/letter/sent")
def sent() -> Response:
    """Say what happens next, the same to everybody."""
    return make_response(render_template("accounts/by_letter_sent.html"))


@blueprint.route("/link/<token>", methods=["GET", "POST"])
def link(token: str) -> Response:
    """Let the holder of a link come in. Reading the page spends nothing, so that no program that looks at letters does."""
    found, form = SignInLink.find(token), Form()
    if found is None:
        return make_response(render_template("accounts/by_letter_gone.html"), 404)
    if not form.validate_on_submit():
        return make_response(render_template("accounts/by_letter_link.html", form=form, email=found.person.email))
    user = found.use()
    audit.note("sign_in_link_used", actor=user.email, subject=user.email)
    return admit(user, "")
