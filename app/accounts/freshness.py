"""Acts that touch everybody's safety want a person who has proved themselves within the last five minutes.

Who has not is asked for a factor, or for the password where none is set up, and then goes on: to the page that was asked
for, or with the form that was sent, whose fields wait in the page meanwhile.
"""

from __future__ import annotations

from functools import wraps
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from app.accounts import throttle
from app.accounts.admission import (
    WRONG_CODE,
    WRONG_PASSKEY,
    Ways,
    count_code,
    door,
    door_here,
    forgive_codes,
)
from app.accounts.csrf import NOT_REPEATED, page_before
from app.accounts.forms import AgainForm
from app.accounts.policy import View, ask_to_sign_in, is_local
from app.accounts.previews import is_preview
from app.accounts.visits import UNSAFE, house, server_session, this_visit
from app.tenancy import db

PREFIX = "again-"  # of the fields that stand in a page for a proof
NOT_IT = "That is not your password. Please try once more."


def fresh_required(view: View) -> View:
    """Let nobody past who has not proved themselves lately. The page of a form may be seen all the same, sending it not.

    A preview, which is thrown away, asks nobody.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        session = server_session()
        if session is None or session.is_fresh or is_preview() or is_page_of_a_form():
            return view(*args, **kwargs)
        if request.method not in UNSAFE:
            return redirect("/sign-in/again?" + urlencode({"next": request.full_path.rstrip("?")}, safe="/"))
        return asked_again() or view(*args, **kwargs)

    return guarded


def is_page_of_a_form() -> bool:
    """Tell whether this only shows what could then be sent to the same address."""
    methods = (request.url_rule.methods if request.url_rule else None) or set()
    return request.method not in UNSAFE and not UNSAFE.isdisjoint(methods)


def open_at(blueprint: Blueprint) -> None:
    """Let people prove themselves at this door."""
    blueprint.add_url_rule("/sign-in/again", view_func=again, methods=["GET", "POST"])


def again() -> Response:
    """Ask somebody who is signed in to prove themselves, then lead them to where they wanted to go."""
    if server_session() is None:
        return ask_to_sign_in()
    target = request.values.get("next", "")
    page = asked_again() if request.method in UNSAFE else again_page(AgainForm(formdata=None))
    return page or redirect(target if is_local(target) else "/", 303)


def asked_again() -> Response | None:
    """Take what the form holds as a proof; returns the page that asks for one where it is none."""
    if not any(name.startswith(PREFIX) for name in request.form):
        return again_page(AgainForm(formdata=None), 403)
    form, email = AgainForm(), server_session().user.email
    if not form.validate():
        return again_page(form, 422)
    try:
        is_right = is_proof(form)
    except throttle.REFUSALS as refusal:
        form.form_errors.append(refusal.advice)
        page = again_page(form, refusal.status)
        page.headers.update(refusal.headers)
        return page
    session = living()
    if session is None:
        return ask_to_sign_in()
    if not is_right:
        door_here().note_failure(session.user)
        form.form_errors.append(what_was_wrong(form))
        return again_page(form, 422)
    session.prove()
    db.session.commit()
    forgive_codes(email)
    throttle.forgive_own_password(house(), email)
    return None


def is_proof(form: AgainForm) -> bool:
    """Count the try, and tell whether the form proves whose session this is. Nothing is locked while it counts or hashes."""
    here, user = door_here(), server_session().user
    email, has_factor = user.email, bool(here.factors.of(user))
    db.session.rollback()
    if not has_factor:
        throttle.count_own_password(house(), email)
        return here.has_password(email, form.password.data or "")
    count_code(email)
    session = living()
    return session is not None and here.is_given(session.user, form, here.factors.begun(session.token_hash))


def living() -> Any:
    """Return the session as it stands now: it may have been ended since this request began."""
    this_visit().is_looked_up = False
    return server_session()


def what_was_wrong(form: AgainForm) -> str:
    """Return what to say of a proof that is none."""
    return WRONG_PASSKEY if form.credential.data else WRONG_CODE if form.code.data else NOT_IT


def again_page(form: AgainForm, status: int = 200) -> Response:
    """Show the page that asks for a proof; what was sent waits in it, but for what never comes back in a page."""
    user = server_session().user
    sent = request.form if request.method in UNSAFE else request.args
    kept = [(name, value) for name, value in sent.items(multi=True) if is_kept(name)]
    ways = Ways(door_here().factors, user)
    page = render_template("accounts/again.html", form=form, ways=ways, kept=kept, back=page_before(), email=user.email)
    response = make_response(page, status)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def is_kept(name: str) -> bool:
    """Tell whether a field that was sent waits in the page."""
    return not name.startswith(PREFIX) and not any(word in name for word in NOT_REPEATED)


open_at(door.blueprint)
