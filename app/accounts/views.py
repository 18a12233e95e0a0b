"""The front door of one organisation: sign in, sign out, and come in for the first time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from flask import Blueprint, abort, make_response, redirect, render_template, request
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts import cookies, previews, throttle
from app.accounts.forms import NewPasswordForm, SignInForm
from app.accounts.models import SetUpLink, User
from app.accounts.notices import flash
from app.accounts.passwords import hash_password
from app.accounts.policy import is_local
from app.accounts.previews import LookLink
from app.accounts.visits import house, server_session
from app.facilities import settings
from app.tenancy import current_tenant, db, tenancy

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
    wait = throttle.count_try(house(), form.email.data)
    if wait:
        return too_many(form, wait)
    user = User.authenticate(form.email.data, form.password.data)
    if user is None or not previews.may_enter(user):
        form.form_errors.append(UNKNOWN)
        return sign_in_page(form, 422)
    throttle.forgive(house(), form.email.data)
    return welcome(user, form.next.data or "")


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


@blueprint.route("/set-up/<token>", methods=["GET", "POST"], strict_slashes=False)
def set_up(token: str) -> Response:
    """Let the holder of a one-time link choose a password and come in."""
    link = SetUpLink.find(token)
    if link is None:
        return make_response(render_template("accounts/set_up_gone.html"), 404)
    email = link.user.email
    form = NewPasswordForm(name="" if link.user.name == email else link.user.name)
    if not form.is_submitted() or not form.validate():
        page = render_template("accounts/set_up.html", form=form, email=email)
        return make_response(page, 422 if form.errors else 200)
    db.session.rollback()
    hashed = hash_password(form.password.data)
    link = SetUpLink.find(token) or abort(404)
    flash("success", "Welcome! Your password is set and you are signed in.")
    return welcome(link.use(hashed, form.name.data), "")


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
    return response


def welcome(user: User, target: str) -> Response:
    """Sign a person in and lead them to where they wanted to go."""
    for greet in _greetings:
        greet(user)
    lifetime = timedelta(hours=settings.number("session_hours"))
    token = user.sign_in(lifetime, request.user_agent.string)
    db.session.commit()
    response = redirect(target if is_local(target) else "/desk/", 303)
    cookies.give(response, "freehold", str(token), lifetime)
    return response


def too_many(form: SignInForm, wait: int) -> Response:
    """Answer 429 and say when to come back."""
    form.form_errors.append(f"There were too many tries for this address. Please wait {-(-wait // 60)} minutes.")
    response = sign_in_page(form, 429)
    response.headers["Retry-After"] = str(wait)
    return response


def sign_in_page(form: SignInForm, status: int = 200) -> Response:
    """Show the sign-in form in the look of the house."""
    return make_response(render_template("accounts/sign_in.html", form=form), status)
