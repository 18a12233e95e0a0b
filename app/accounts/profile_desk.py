"""One's own page: name, picture, how one reads, password, where one is signed in, and how to leave."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, make_response, redirect, render_template, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import cookies, devices, passwords, pictures, throttle
from app.accounts.forms import ChangePasswordForm, Form, NameForm, PictureForm, ReadingForm, RemovalForm
from app.accounts.models import Device, Session, User
from app.accounts.notices import flash
from app.accounts.passwords import Hashed, hash_password
from app.accounts.policy import ask_to_sign_in, member_required
from app.accounts.previews import only_today
from app.accounts.visits import house, server_session, this_visit
from app.facilities import audit, rates, storage
from app.facilities.rates import LimitReached, Try
from app.facilities.reader import house_zone
from app.tenancy import db, utcnow
from app.tenancy.errors import Refused

blueprint = Blueprint("profile", __name__, url_prefix="/desk/profile")
blueprint.before_request(only_today)

WRONG = "That is not your password. Please try once more."


@blueprint.get("/")
@member_required
def show() -> Response:
    """Show one's own page."""
    return profile_page()


@blueprint.post("/name")
@member_required
def rename() -> Response:
    """Take another name."""
    form = NameForm()
    if not form.validate():
        return profile_page(422, name_form=form)
    me().rename(form.name.data)
    return saved("You go by that name from now on.")


@blueprint.post("/picture")
@member_required
def show_picture() -> Response:
    """Take a picture of oneself, small and square."""
    form = PictureForm()
    if not form.validate():
        return profile_page(422, picture_form=form)
    storage.require_room(1)
    mine = Try(pictures.A_DAY, house(), me().email)
    # A picture takes long to read, so the lock that looking up the session took is given back first.
    db.session.commit()
    try:
        rates.take(mine)
        made = pictures.prepared(form.picture.data.stream)
    except (LimitReached, Refused) as refusal:
        form.picture.errors = [refusal.advice]
        return profile_page(422, picture_form=form)
    session = Session.find(this_visit().token.hash)  # type: ignore[union-attr]
    if session is None:  # it ended meanwhile
        return ask_to_sign_in()
    session.user.show_picture(storage.put(made))
    return saved("This is how others see you from now on.")


@blueprint.post("/picture/removal")
@member_required
def remove_picture() -> Response:
    """Be shown by one's initials again."""
    me().show_picture(None)
    return saved("Your picture is gone.")


@blueprint.post("/reading")
@member_required
def read_in() -> Response:
    """Take a time zone, and how dates and numbers are written."""
    form = ReadingForm(house_zone())
    if not form.validate():
        return profile_page(422, reading_form=form)
    me().read_in(form.language.data, form.time_zone.data)
    return saved("Dates, times and numbers are written like that for you from now on.")


@blueprint.post("/password")
@member_required
def change_password() -> Response:
    """Change the password. All other browsers are signed out; this one goes on, under another token."""
    form, user = ChangePasswordForm(), me()
    if not form.validate():
        return profile_page(422, password_form=form)
    try:
        throttle.count_own_password(house(), user.email)
        hashed = checked(user, form)
    except throttle.REFUSALS as refusal:
        form.form_errors.append(refusal.advice)
        return profile_page(refusal.status, password_form=form)
    # Another request may have ended this session while the password was being hashed.
    session = Session.find(this_visit().token.hash)  # type: ignore[union-attr]
    if session is None:
        return ask_to_sign_in()
    if hashed is None:
        form.current.errors = [WRONG]
        return profile_page(422, password_form=form)
    user = session.user
    throttle.forgive_own_password(house(), user.email)
    user.set_password(hashed, here=devices.known(user))
    flash("success", "Your password is changed. All other browsers are signed out.")
    return devices.enter(user, redirect(url_for("profile.show"), 303), is_proved=session.is_fresh)


@blueprint.post("/devices/<int:device_id>/end")
@member_required
def end_device(device_id: int) -> Response:
    """Sign out one of one's own browsers, and know it no more."""
    device = db.session.get(Device, device_id)
    if device is None or device.user_id != me().id:
        abort(404)
    device.revoke()
    return saved("That browser is signed out, and not known any more.")


@blueprint.post("/devices/end")
@member_required
def end_others() -> Response:
    """Sign out all of one's browsers but this one, and know them no more."""
    this = server_session()
    me().end_sessions(but=this.id)
    me().forget_devices(but=this.device)
    audit.note("sessions_ended", actor=me().email, subject=me().email)
    return saved("All other browsers are signed out.")


@blueprint.route("/leaving", methods=["GET", "POST"])
@member_required
def leave() -> Response:
    """Say what becomes of one's work, and leave once one's address was typed."""
    user = me()
    form = RemovalForm(user.email)
    if not form.validate_on_submit():
        return page("leave.html", 422 if form.errors else 200, form=form)
    try:
        user.remove(by=user)
    except Refused as refusal:
        form.form_errors.append(refusal.advice)
        return page("leave.html", 422, form=form)
    db.session.commit()
    flash("info", "You have left. Thank you for what you did here.")
    response = redirect("/sign-in", 303)
    cookies.take_back(response)
    return response


def me() -> User:
    """Return whoever is signed in."""
    return server_session().user


def checked(user: User, form: ChangePasswordForm) -> Hashed | None:
    """Return the hash of the new password when the present one is right. No transaction is open while it hashes."""
    stored = user.password_hash
    db.session.rollback()
    if not passwords.matches(stored, form.current.data):
        return None
    return hash_password(form.password.data)


def saved(said: str) -> Response:
    """Keep what was done, and show the page again."""
    db.session.commit()
    flash("success", said)
    return redirect(url_for("profile.show"), 303)


def profile_page(status: int = 200, **wrong: Form) -> Response:
    """Show one's own page, with what was wrong in one of its forms."""
    user = me()
    forms = {
        "name_form": NameForm(formdata=None, name=user.name),
        "picture_form": PictureForm(formdata=None),
        "reading_form": ReadingForm(house_zone(), formdata=None, language=user.language, time_zone=user.time_zone),
        "password_form": ChangePasswordForm(formdata=None),
    }
    this = server_session().device_id
    newest = ((Device.id == this).desc(), Device.last_seen_at.desc(), Device.id.desc())
    own = select(Device).where(Device.user_id == user.id).order_by(*newest)
    alive = select(Session.device_id).where(Session.user_id == user.id, Session.expires_at > utcnow())
    return page(
        "profile.html",
        status,
        **(forms | wrong),
        devices=db.session.scalars(own).all(),
        signed_in=set(db.session.scalars(alive)),
        this=this,
        now=utcnow(),
    )


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page of one's own."""
    return make_response(render_template(f"accounts/desk/{template}", **values), status)
