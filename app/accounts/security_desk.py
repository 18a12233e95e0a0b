"""One's own second factors: an authenticator app, passkeys, and recovery codes for the day when neither is at hand.

Operators have the same pages on the console, so they stand apart from whose house it is, as the doors do.
"""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.accounts import admission, factors
from app.accounts.admission import WRONG_CODE, Door, NewApp, keep_out_of_caches
from app.accounts.factors import TO_ENROL
from app.accounts.forms import AppForm, PasskeyForm
from app.accounts.freshness import fresh_required
from app.accounts.notices import flash
from app.accounts.policy import member_required
from app.accounts.previews import only_today
from app.accounts.visits import server_session
from app.tenancy import db, utcnow

STILL_ASKED = "A second factor is asked of you here, so one has to stay. Set up another first."
NOT_MADE = "That passkey could not be kept. Please try once more."


class OwnFactors:
    """The pages at which people of one kind of house look after their own factors; `home` is where one's other pages are."""

    def __init__(self, door: Door, url_prefix: str, layout: str, home: str) -> None:
        self.door, self.factors, self.layout, self.home = door, door.factors, layout, home
        self.blueprint = blueprint = Blueprint("security", __name__, url_prefix=url_prefix)
        blueprint.add_url_rule("/", view_func=self.show)
        blueprint.add_url_rule("/app/attempt", view_func=self.begin_app, methods=["POST"])
        blueprint.add_url_rule("/app", view_func=self.new_app, methods=["GET", "POST"])
        blueprint.add_url_rule("/passkeys/new", view_func=self.new_passkey)
        blueprint.add_url_rule("/passkeys/new", view_func=self.keep_passkey, methods=["POST"])
        blueprint.add_url_rule("/passkeys/options", view_func=self.passkey_options, methods=["POST"])
        blueprint.add_url_rule("/codes", view_func=self.new_codes, methods=["POST"])
        blueprint.add_url_rule("/factors/<int:factor_id>/removal", view_func=self.remove, methods=["POST"])
        blueprint.before_request(only_today)
        blueprint.after_request(keep_out_of_caches)

    @member_required
    def show(self) -> Response:
        """Show what proves one, beside the password."""
        mine = self.factors.of(me())
        return self.page(
            "security.html",
            app=next((each for each in mine if each.kind == "app"), None),
            passkeys=[each for each in mine if each.kind == "passkey"],
            codes_left=self.factors.codes_left(me()),
            is_asked=self.door.asks(me()),
        )

    @member_required
    @fresh_required
    def begin_app(self) -> Response:
        """Begin to set up an authenticator app."""
        self.factors.begin(me(), server_session().token_hash, url_for(".new_app"), TO_ENROL)
        db.session.commit()
        return redirect(url_for(".new_app"), 303)

    @member_required
    def new_app(self) -> Response:
        """Show the picture for the app, and take its first code."""
        form, attempt = AppForm(), self.factors.begun(server_session().token_hash)
        if attempt is None or attempt.target != request.path:
            return redirect(url_for(".show"), 303)
        if not form.validate_on_submit():
            return self.app_page(attempt, form, 422 if form.errors else 200)
        others = "" if self.factors.of(me()) else self.door.others
        if not self.factors.enrol_app(me(), attempt.seed, form.code.data):
            form.form_errors.append(WRONG_CODE)
            return self.app_page(attempt, form, 422)
        if not self.factors.codes_left(me()):
            self.factors.set_codes(me(), factors.codes_of(attempt.seed))
        self.factors.end(attempt)
        return saved(f"Your app is set up. It is asked for {self.door.when_asked}.{others}")

    @member_required
    @fresh_required
    def new_passkey(self) -> Response:
        """Ask for the name of a passkey to be made."""
        return self.page("security_passkey.html", form=PasskeyForm())

    @member_required
    @fresh_required
    def keep_passkey(self) -> Response:
        """Keep the passkey that the browser has made."""
        form, attempt = PasskeyForm(), self.factors.begun(server_session().token_hash)
        if not form.validate():
            return self.page("security_passkey.html", 422, form=form)
        if attempt is None or not self.factors.enrol_passkey(me(), attempt, form.credential.data, form.name.data):
            db.session.commit()
            form.form_errors.append(NOT_MADE)
            return self.page("security_passkey.html", 422, form=form)
        self.factors.end(attempt)
        if not self.factors.codes_left(me()):
            return self.codes_page()
        return saved("Your passkey is kept.")

    @member_required
    @fresh_required
    def passkey_options(self) -> Response:
        """Return what a browser is asked when it is to make a passkey."""
        from app.accounts import passkeys  # which takes long to load, and few come here

        attempt = self.factors.begin(me(), server_session().token_hash)
        attempt.challenge = secrets.token_urlsafe(32)
        db.session.commit()
        return jsonify(passkeys.invitation(me(), self.factors.of(me()), attempt.challenge, self.door.issuer))

    @member_required
    @fresh_required
    def new_codes(self) -> Response:
        """Make a new set of recovery codes, shown this once."""
        if not self.factors.of(me()):
            abort(404)
        self.door.warn(me(), "codes_made")
        return self.codes_page()

    @member_required
    @fresh_required
    def remove(self, factor_id: int) -> Response:
        """Take away one of one's own factors."""
        mine = self.factors.of(me())
        factor = next((each for each in mine if each.id == factor_id), None) or abort(404)
        if len(mine) == 1 and self.door.asks(me()):
            flash("warning", STILL_ASKED)
            return redirect(url_for(".show"), 303)
        self.factors.remove(me(), factor)
        return saved("It is taken away.")

    def app_page(self, attempt: Any, form: AppForm, status: int = 200) -> Response:
        """Show how an app is set up, with recovery codes for whoever has none."""
        app = NewApp(attempt.seed, self.door.issuer, me().email, with_codes=not self.factors.codes_left(me()))
        return self.page("security_app.html", status, form=form, app=app)

    def codes_page(self) -> Response:
        """Give a new set of recovery codes, and show it this once."""
        codes = factors.new_codes()
        self.factors.set_codes(me(), codes)
        db.session.commit()
        return self.page("security_codes.html", 201, codes=codes, today=utcnow())

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Render a page of one's own, in the frame of the house; a passkey made here belongs to its `host`."""
        frame = {"layout": self.layout, "home": self.home, "when_asked": self.door.when_asked, "host": host()}
        return make_response(render_template(f"accounts/desk/{template}", **frame, **values), status)


def me() -> Any:
    """Return whoever is signed in."""
    return server_session().user


def host() -> str:
    """Return the host that a passkey made here belongs to."""
    return request.host.partition(":")[0]


def saved(said: str) -> Response:
    """Keep what was done, and show the overview."""
    db.session.commit()
    flash("success", said)
    return redirect(url_for(".show"), 303)


blueprint = OwnFactors(admission.door, "/desk/profile/security", "layouts/desk.html", "profile.show").blueprint
