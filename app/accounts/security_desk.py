"""One's own second factors: an authenticator app, passkeys, and recovery codes for the day when neither is at hand."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.accounts import factors
from app.accounts.admission import WRONG_CODE, NewApp, door, keep_out_of_caches
from app.accounts.factors import PEOPLE, TO_ENROL
from app.accounts.forms import AppForm, PasskeyForm
from app.accounts.freshness import fresh_required
from app.accounts.models import Factor, User
from app.accounts.notices import flash
from app.accounts.policy import member_required
from app.accounts.previews import is_preview
from app.accounts.visits import UNSAFE, server_session
from app.tenancy import current_tenant, db, utcnow

blueprint = Blueprint("security", __name__, url_prefix="/desk/profile/security")
blueprint.after_request(keep_out_of_caches)

STILL_ASKED = "A second factor is asked of you here, so one has to stay. Set up another first."
NOT_MADE = "That passkey could not be kept. Please try once more."


@blueprint.before_request
def only_today() -> None:
    """Change nothing inside a preview: it is thrown away."""
    if is_preview() and request.method in UNSAFE:
        abort(404)


@blueprint.get("/")
@member_required
def show() -> Response:
    """Show what proves one, beside the password."""
    mine = PEOPLE.of(me())
    return page(
        "security.html",
        app=next((each for each in mine if each.kind == "app"), None),
        passkeys=[each for each in mine if each.kind == "passkey"],
        host=host(),
        codes_left=PEOPLE.codes_left(me()),
        is_asked=door.asks(me()),
    )


@blueprint.post("/app/attempt")
@member_required
@fresh_required
def begin_app() -> Response:
    """Begin to set up an authenticator app."""
    PEOPLE.begin(me(), server_session().token_hash, url_for(".new_app"), TO_ENROL)
    db.session.commit()
    return redirect(url_for(".new_app"), 303)


@blueprint.route("/app", methods=["GET", "POST"])
@member_required
def new_app() -> Response:
    """Show the picture for the app, and take its first code."""
    form, attempt = AppForm(), PEOPLE.begun(server_session().token_hash)
    if attempt is None or attempt.target != request.path:
        return redirect(url_for(".show"), 303)
    if not form.validate_on_submit():
        return app_page(attempt, form, 422 if form.errors else 200)
    if not PEOPLE.enrol_app(me(), attempt.seed, form.code.data):
        form.form_errors.append(WRONG_CODE)
        return app_page(attempt, form, 422)
    if not PEOPLE.codes_left(me()):
        PEOPLE.set_codes(me(), factors.codes_of(attempt.seed))
    PEOPLE.end(attempt)
    return saved("Your app is set up. It is asked for when you sign in with a browser that is not known yet.")


@blueprint.get("/passkeys/new")
@member_required
@fresh_required
def new_passkey() -> Response:
    """Ask for the name of a passkey to be made."""
    return passkey_page(PasskeyForm())


@blueprint.post("/passkeys/new")
@member_required
@fresh_required
def keep_passkey() -> Response:
    """Keep the passkey that the browser has made."""
    form, attempt = PasskeyForm(), PEOPLE.begun(server_session().token_hash)
    if not form.validate():
        return passkey_page(form, 422)
    if attempt is None or not PEOPLE.enrol_passkey(me(), attempt, form.credential.data, form.name.data):
        db.session.commit()
        form.form_errors.append(NOT_MADE)
        return passkey_page(form, 422)
    PEOPLE.end(attempt)
    if not PEOPLE.codes_left(me()):
        return codes_page()
    return saved("Your passkey is kept.")


@blueprint.post("/passkeys/options")
@member_required
@fresh_required
def passkey_options() -> Response:
    """Return what a browser is asked when it is to make a passkey."""
    from app.accounts import passkeys  # which takes long to load, and few come here

    attempt = PEOPLE.begin(me(), server_session().token_hash)
    attempt.challenge = secrets.token_urlsafe(32)
    db.session.commit()
    return jsonify(passkeys.invitation(me(), PEOPLE.of(me()), attempt.challenge, current_tenant().name))


@blueprint.post("/codes")
@member_required
@fresh_required
def new_codes() -> Response:
    """Make a new set of recovery codes, shown this once."""
    if not PEOPLE.of(me()):
        abort(404)
    me().warn("codes_made")
    return codes_page()


@blueprint.post("/factors/<int:factor_id>/removal")
@member_required
@fresh_required
def remove(factor_id: int) -> Response:
    """Take away one of one's own factors."""
    factor, mine = db.session.get(Factor, factor_id), PEOPLE.of(me())
    if factor is None or factor not in mine:
        abort(404)
    if len(mine) == 1 and door.asks(me()):
        flash("warning", STILL_ASKED)
        return redirect(url_for(".show"), 303)
    PEOPLE.remove(me(), factor)
    return saved("It is taken away.")


def me() -> User:
    """Return whoever is signed in."""
    return server_session().user


def host() -> str:
    """Return the host that a passkey made here belongs to."""
    return request.host.partition(":")[0]


def app_page(attempt: Any, form: AppForm, status: int = 200) -> Response:
    """Show how an app is set up, with recovery codes for whoever has none."""
    app = NewApp(attempt.seed, current_tenant().name, me().email, with_codes=not PEOPLE.codes_left(me()))
    return page("security_app.html", status, form=form, app=app)


def passkey_page(form: PasskeyForm, status: int = 200) -> Response:
    """Show how a passkey is made."""
    return page("security_passkey.html", status, form=form, host=host())


def codes_page() -> Response:
    """Give a new set of recovery codes, and show it this once."""
    codes = factors.new_codes()
    PEOPLE.set_codes(me(), codes)
    db.session.commit()
    return page("security_codes.html", 201, codes=codes, today=utcnow())


def saved(said: str) -> Response:
    """Keep what was done, and show the overview."""
    db.session.commit()
    flash("success", said)
    return redirect(url_for(".show"), 303)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page of one's own."""
    return make_response(render_template(f"accounts/desk/{template}", **values), status)
