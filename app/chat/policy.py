"""Who may see which room, and what one may do there: one rule, which every door and every delivery asks."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, false, or_, select

from app.accounts import User, may, permission
from app.chat.models import Line, Membership, Room
from app.facilities import events
from app.tenancy import db

permission("chat.talk", "Talk in rooms", roles=("admin", "editor", "agent", "member"))
permission("chat.moderate", "Remove the lines of others, and take people out of rooms", roles=("admin",))


def visible_rooms(person: User) -> Select[Room]:
    """Select the rooms that a person may see, by name."""
    return select(Room).where(_is_seen_by(person)).order_by(Room.folded)


def visible_lines(person: User) -> Select[Line]:
    """Select the lines in the rooms that a person may see."""
    return select(Line).join(Room, Room.id == Line.room_id).where(_is_seen_by(person))


def may_edit(person: User, line: Line) -> bool:
    """Tell whether a person may change the text of a line that they see: their own words alone."""
    return line.kind == "said" and line.author_id == person.id


def may_remove_line(person: User, line: Line) -> bool:
    """Tell whether a person may take a line away that they see: their own, and for moderators any."""
    return may("chat.moderate", person) or may_edit(person, line)


def may_keep_order(person: User, room: Room) -> bool:
    """Tell whether a person may take others out of a room that they see: whoever started it, and moderators."""
    return may("chat.moderate", person) or room.created_by == person.id


def may_remove_member(person: User, room: Room, other: User) -> bool:
    """Tell whether a person may take somebody out of a room that they see; everybody may take themselves."""
    return person.id == other.id or may_keep_order(person, room)


@events.audience("room")
def people_of_room(key: str, people: frozenset[int]) -> set[int]:
    """Return those of `people` who may see the room of that id now."""
    room = db.session.get(Room, int(key))
    if room is None:
        return set()
    return set(db.session.scalars(room.inside().with_only_columns(User.id).where(User.id.in_(people))))


def _is_seen_by(person: User) -> ColumnElement[bool]:
    """Return the rule as SQL: rooms that are open, and those that they are in; none for one who may not talk."""
    inside = Room.id.in_(select(Membership.room_id).where(Membership.user_id == person.id))
    return or_(Room.kind == "open", inside) if may("chat.talk", person) else false()
