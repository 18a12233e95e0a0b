"""The front door of one organisation: sign in, sign out, come in for the first time, and get help with a password."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, abort, make_response, redirect, render_template, request
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts import cookies, devices, previews, throttle
from app.accounts.admission import admit
from app.accounts.forms import Form, HelpForm, NewPasswordForm, SignInForm
from app.accounts.models import Invitation, SetUpLink, User
from app.accounts.notices import flash
from app.accounts.passwords import hash_password
from app.accounts.policy import is_local
from app.accounts.previews import LookLink
from app.accounts.visits import house, server_session
from app.facilities import audit
from app.tenancy import current_tenant, db, tenancy
from app.tenancy.errors import FreeholdError, Refused
from app.tenancy.jobs import later

blueprint = Blueprint("accounts", __name__)

UNKNOWN = "That address and password do not belong together. Please try once more."

# What modules have to say to a person who signs in; each may flash a line.
_greetings: list[Callable[[User], None]] = []


def greets(greeting: Callable[[User], None]) -> None:
    """Have `greeting(user)` called when a person signs in, before their session is opened."""
    if greeting not in _greetings:
        _greetings.append(greeting)


@blueprint.after_request
def keep_out_of_caches(response: Response) -> Response:
    """Keep pages with passwords and one-time links out of every cache."""
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """Show the form, or the desk to those who are in already."""
    target = request.args.get("next", "")
    if current_user.is_authenticated:
        return redirect(target if is_local(target) else "/desk/")
    return sign_in_page(SignInForm(formdata=None, next=target if is_local(target) else ""))


@blueprint.post("/sign-in")
def signing_in() -> Response:
    """Open a session for the right password. What is wrong stays the visitor's guess."""
    form = SignInForm()
    if not form.validate():
        return sign_in_page(form, 422)
    try:
        throttle.count_try(house(), form.email.data)
        user = User.authenticate(form.email.data, form.password.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal)
    if user is None or not previews.may_enter(user):
        tell_of_failure(form.email.data)
        form.form_errors.append(UNKNOWN)
        return sign_in_page(form, 422)
    throttle.forgive(house(), form.email.data)
    return admit(user, form.next.data or "")


def tell_of_failure(email: str) -> None:
    """Note a failed try: of known and unknown addresses alike, so that both take the same time, but naming only the known."""
    user = User.by_email(email)
    about = email.strip().casefold()[:254]
    audit.note_seldom("sign_in_failed", about, subject=user.email if user else "")
    db.session.commit()


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """End this browser's session."""
    session = server_session()
    if session:
        session.end()
        db.session.commit()
    response = redirect("/", 303)
    cookies.take_back(response)
    return response


@blueprint.route("/sign-in/help", methods=["GET", "POST"])
def ask_for_help() -> Response:
    """Promise a letter with a link for a new password. Whether the address is somebody's, only the letter's job looks up."""
    if previews.is_preview():
        abort(404)
    form = HelpForm()
    if not form.is_submitted() or not form.validate():
        return make_response(render_template("accounts/help.html", form=form), 422 if form.errors else 200)
    try:
        throttle.count_call_for_help(house(), form.email.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal, "accounts/help.html")
    later("accounts.send_help", email=form.email.data.strip().casefold())
    db.session.commit()
    return redirect("/sign-in/help/sent", 303)


@blueprint.get("/sign-in/help/sent")
def help_sent() -> Response:
    """Say what happens next, the same to everybody."""
    return make_response(render_template("accounts/help_sent.html"))


@blueprint.route("/set-up/<token>", methods=["GET", "POST"], strict_slashes=False)
def set_up(token: str) -> Response:
    """Let the holder of a one-time link choose a password and come in."""
    link = SetUpLink.find(token)
    if link is None:
        return make_response(render_template("accounts/set_up_gone.html"), 404)
    email, is_new = link.user.email, link.user.password_hash is None
    form = NewPasswordForm(email, name=link.user.name if link.user.has_name else "")
    if not form.is_submitted() or not form.validate():
        page = render_template("accounts/set_up.html", form=form, email=email, is_new=is_new)
        return make_response(page, 422 if form.errors else 200)
    db.session.rollback()
    hashed = hash_password(form.password.data)
    link = SetUpLink.find(token) or abort(404)
    flash("success", f"{'Welcome! Your password' if is_new else 'Your new password'} is set.")
    return admit(link.use(hashed, form.name.data if is_new else ""), "")


@blueprint.route("/invitation/<token>", methods=["GET", "POST"])
def invitation(token: str) -> Response:
    """Let an invited person choose name and password and come in. Reading the page spends nothing."""
    found = Invitation.find(token)
    if found is None:
        return gone()
    email, inviter = found.email, found.inviter_name
    form = NewPasswordForm(email, name=found.name)
    if not form.is_submitted() or not form.validate():
        page = render_template("accounts/invitation.html", form=form, email=email, inviter=inviter)
        return make_response(page, 422 if form.errors else 200)
    User.require_room(0)
    db.session.rollback()
    hashed = hash_password(form.password.data)
    found = Invitation.find(token)
    try:
        user = found.accept(form.name.data, hashed) if found else None
    except Refused:
        user = None
    if user is None:
        db.session.rollback()
        return gone()
    flash("success", f"Welcome to {current_tenant().name}!")
    return admit(user, "")


def gone() -> Response:
    """Say that an invitation no longer works, and whom to ask: the same for whatever reason."""
    return make_response(render_template("accounts/invitation_gone.html"), 404)


@blueprint.route("/look/<token>", methods=["GET", "POST"])
def look(token: str) -> Response:
    """Let the holder of a one-time link into a preview. Reading the page spends nothing, so that no program does."""
    if not previews.is_preview():
        abort(404)
    if current_user.is_authenticated:
        return redirect("/desk/", 303)
    link = LookLink.find(token)
    if link is None:
        return make_response(render_template("accounts/look_gone.html"), 404)
    if request.method != "POST":
        return make_response(render_template("accounts/look.html"))
    response = welcome(link.use(), "")
    here = current_tenant()
    tenancy.ledger.record("preview_looked_at", here.preview_of or "", other=here.id, actor=link.actor)
    living = tenancy.registry.by_id(here.preview_of or "")
    if living:
        audit.note_in(living, "preview_looked_at", actor=link.actor)
    return response


def welcome(user: User, target: str, *, is_proved: bool = True) -> Response:
    """Sign a person in and lead them to where they wanted to go; `is_proved` says that they gave all their factors."""
    for greet in _greetings:
        greet(user)
    return devices.enter(user, redirect(target if is_local(target) else "/desk/", 303), is_proved=is_proved)


def too_many(form: Form, refusal: FreeholdError, template: str = "accounts/sign_in.html") -> Response:
    """Show the form with what was typed, and say when to come back."""
    form.form_errors.append(refusal.advice)
    response = make_response(render_template(template, form=form), refusal.status)
    response.headers.update(refusal.headers)
    return response


def sign_in_page(form: SignInForm, status: int = 200) -> Response:
    """Show the sign-in form in the look of the house."""
    return make_response(render_template("accounts/sign_in.html", form=form), status)
