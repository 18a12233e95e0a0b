"""What open pages get of what happens in rooms: the same for everybody who may see it."""

from __future__ import annotations

from flask import render_template

from app.chat import log
from app.chat.models import Line, Room
from app.facilities import live
from app.facilities.events import Event
from app.tenancy import db


@live.fragment("LinePosted", "LineEdited", "LineRemoved")
def line(event: Event) -> str:
    """Show a line as it is now: at its place when it is new, instead of itself when it was there."""
    line = db.session.get(Line, event.subject_id)
    return (
        render_template("chat/_live_line.html", shown=log.show(line), is_new=event.kind == "LinePosted") if line else ""
    )


@live.fragment("RoomStarted")
def room(event: Event) -> str:
    """Show a room in the list of those who may see it."""
    room = db.session.get(Room, event.subject_id)
    return render_template("chat/_live_room.html", room=room) if room else ""


@live.fragment("MemberInvited", "MemberRemoved")
def members(event: Event) -> str:
    """Show who is in a room."""
    room = db.session.get(Room, event.subject_id)
    return render_template("chat/_live_members.html", room=room, members=room.members()) if room else ""
