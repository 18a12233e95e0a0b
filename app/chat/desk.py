"""The desk where members talk: rooms, who is in them, and how far one has read."""

from __future__ import annotations

import secrets

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.accounts import User, current_user, flash, may, needs
from app.chat import log, policy
from app.chat.forms import InvitationForm, LineForm, RoomForm
from app.chat.models import Room
from app.chat.models.room import GENERAL
from app.chat.unread import first_unread_id, unread_counts
from app.tenancy import db
from app.tenancy.errors import Refused

blueprint = Blueprint("chat_desk", __name__, url_prefix="/desk/chat")


@blueprint.get("/")
@needs("chat.talk")
def rooms() -> Response:
    """Lead to the room in which everybody is, else to the first one."""
    visible = db.session.scalars(policy.visible_rooms(current_user)).all()
    first = next((room for room in visible if room.name == GENERAL), visible[0] if visible else None)
    return redirect(f"{first.href}#newest" if first else url_for(".new_room"))


@blueprint.get("/rooms/<int:room_id>")
@needs("chat.talk")
def room(room_id: int) -> Response:
    """Show a room: its newest lines, or those around, above or below one."""
    return room_page(find_room(room_id), LineForm())


@blueprint.route("/rooms/new", methods=["GET", "POST"])
@needs("chat.talk")
def new_room() -> Response:
    """Open a room."""
    form = RoomForm()
    if not form.validate_on_submit():
        return _new_room_page(form)
    try:
        room = Room.start(form.name.data, by=current_user, closed=form.is_closed.data)
    except Refused as refusal:
        form.name.errors = [refusal.advice]
        return _new_room_page(form)
    db.session.commit()
    return redirect(room.href, 303)


@blueprint.post("/rooms/<int:room_id>/reading")
@needs("chat.talk")
def read(room_id: int) -> Response:
    """Note how far one has read."""
    room = find_room(room_id)
    room.mark_read(current_user, request.form.get("line", type=int) or 0)
    db.session.commit()
    return Response(status=204) if wants_piece() else redirect(f"{room.href}#newest", 303)


@blueprint.post("/rooms/<int:room_id>/members")
@needs("chat.talk")
def invite(room_id: int) -> Response:
    """Let somebody into a closed room."""
    room, person = find_room(room_id), _find_person(request.form.get("person", type=int))
    room.invite(person, by=current_user)
    db.session.commit()
    flash("success", f"{person.name} is in “{room.name}” now.")
    return redirect(room.href, 303)


@blueprint.post("/rooms/<int:room_id>/members/<int:user_id>/removal")
@needs("chat.talk")
def remove_member(room_id: int, user_id: int) -> Response:
    """Take somebody, or oneself, out of a closed room."""
    room, person = find_room(room_id), _find_person(user_id)
    if not policy.may_remove_member(current_user, room, person):
        abort(403, "Only whoever started a room, and moderators, take others out of it.")
    room.remove(person, by=current_user)
    db.session.commit()
    left = person.id == current_user.id
    flash("success", f"You have left “{room.name}”." if left else f"{person.name} is no longer in “{room.name}”.")
    return redirect(url_for(".rooms") if left else room.href, 303)


def find_room(room_id: int) -> Room:
    """Return the room when the person who asks may see it; otherwise it is not found."""
    return db.session.scalar(policy.visible_rooms(current_user).where(Room.id == room_id)) or abort(404)


def room_page(room: Room, form: LineForm, status: int = 200) -> Response:
    """Show a room with the form for the next line."""
    form.client_id.data = form.client_id.data or secrets.token_urlsafe(16)
    members = room.members()
    page = render_template(
        "chat/room.html",
        room=room,
        page=_asked_for(room),
        form=form,
        members=members,
        invitation=_invitation(room, members),
        first_unread_id=first_unread_id(room, current_user),
        rooms=db.session.scalars(policy.visible_rooms(current_user)).all(),
        unread=unread_counts(current_user),
        may_remove_others=policy.may_keep_order(current_user, room),
    )
    return make_response(page, status)


def wants_piece() -> bool:
    """Tell whether a script asks, which puts a piece into the page that it has instead of opening another."""
    return request.headers.get("HX-Request") == "true"


def _asked_for(room: Room) -> log.Page:
    for name, lines in (("at", log.around), ("before", log.before), ("after", log.after)):
        number = request.args.get(name, "")
        if number.isascii() and number.isdigit() and len(number) < 19:
            return lines(room, int(number))
    return log.newest(room)


def _invitation(room: Room, members: list[User]) -> InvitationForm | None:
    """Return the form with those who can still be invited, None where nobody can."""
    inside = [person.id for person in members]
    others = User.who_may("chat.talk").where(User.id.not_in(inside)).order_by(User.name, User.id)
    form = InvitationForm(formdata=None)
    form.person.choices = [] if room.is_open else [(person.id, person.name) for person in db.session.scalars(others)]
    return form if form.person.choices else None


def _find_person(user_id: int | None) -> User:
    person = db.session.get(User, user_id) if user_id and user_id < 1 << 63 else None
    return person if person and person.is_active and may("chat.talk", person) else abort(404)


def _new_room_page(form: RoomForm) -> Response:
    return make_response(render_template("chat/new_room.html", form=form), 422 if form.errors else 200)
