"""An operator's own pages: password, second factors, and the browsers in which they are signed in."""

from __future__ import annotations

from datetime import timedelta

from flask import abort, redirect, url_for
from werkzeug.wrappers import Response

from app.accounts import ask_to_sign_in, cookies, flash, hash_password, throttle
from app.accounts.cookies import PLATFORM, SESSION
from app.accounts.forms import Form
from app.accounts.freshness import living
from app.accounts.passwords import Hashed
from app.accounts.profile_desk import WRONG
from app.accounts.security_desk import OwnFactors
from app.accounts.visits import server_session
from app.console import factors, operators
from app.console.forms import OperatorPasswordForm
from app.console.operators import OperatorVisit
from app.console.views import blueprint, page
from app.tenancy import db, utcnow

blueprint.register_blueprint(OwnFactors(factors.door, "/you/security", "layouts/console.html", "console.you").blueprint)


@blueprint.get("/you/")
def you() -> Response:
    """Show one's own page."""
    return own_page(OperatorPasswordForm(formdata=None))


@blueprint.post("/you/password")
def change_password() -> Response:
    """Change the password. All other browsers are signed out; this one goes on, under another token."""
    form, email = OperatorPasswordForm(), server_session().user.email
    if not form.validate():
        return own_page(form, 422)
    db.session.rollback()
    try:
        throttle.count_own_password(PLATFORM, email)
        is_right = operators.authenticate(email, form.current.data) is not None
        db.session.rollback()
        hashed = hash_password(form.password.data) if is_right else None
    except throttle.REFUSALS as refusal:
        form.form_errors.append(refusal.advice)
        return own_page(form, refusal.status)
    visit = living()
    if visit is None:
        return ask_to_sign_in()
    if hashed is None:
        form.current.errors = [WRONG]
        return own_page(form, 422)
    throttle.forgive_own_password(PLATFORM, email)
    return changed(visit, hashed)


@blueprint.post("/you/browsers/<mark>/end")
def end_browser(mark: str) -> Response:
    """Sign out another of one's browsers, and end the visits that it began."""
    visit = server_session()
    others = {each.mark: each for each in OperatorVisit.of(visit.user.id) if each.mark != visit.mark}
    if mark not in others:
        abort(404)
    others[mark].end()
    return told("browser_signed_out", "That browser is signed out.")


@blueprint.post("/you/browsers/end")
def end_other_browsers() -> Response:
    """Sign out all of one's browsers but this one."""
    visit = server_session()
    operators.end_sessions(visit.row.operator, but=visit.token_hash)
    return told("browsers_signed_out", "All other browsers are signed out.")


def changed(visit: OperatorVisit, hashed: Hashed) -> Response:
    """Let another password hold, and give this browser another cookie."""
    operator, lasts = visit.row.operator, visit.row.expires_at - utcnow()
    operators.end_sessions(operator, but=visit.token_hash)
    factors.FACTORS.stop(operator)
    operator.password_hash = hashed
    token = visit.renew()
    response = told("password_set", "Your password is changed. All other browsers are signed out.")
    cookies.give(response, cookies.COOKIES[SESSION], str(token), max(lasts, timedelta()))
    return response


def told(kind: str, said: str) -> Response:
    """Keep what was done, note it and say so."""
    who = server_session().user
    db.session.commit()
    factors.note(kind, who)
    flash("success", said)
    return redirect(url_for("console.you"), 303)


def own_page(form: Form, status: int = 200) -> Response:
    """Show one's own page, with what was wrong in its form."""
    visit = server_session()
    browsers = OperatorVisit.of(visit.user.id)
    return page("console/you.html", status, form=form, browsers=browsers, this=visit.mark)
