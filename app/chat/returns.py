"""Rooms brought back from a preview.

A room that is missing here comes back with its lines and its people; one that is here gets the lines it has lost, at their old
times. What somebody wrote stays under their name when they are gone. What a person took away for good stays away.

Nobody reads more by it than they could: owners see no closed room that they were not in, then or, where it still exists, today;
a closed room comes back closed, to those who were in it, have the same account still, and were not taken out since; and its lines
never come into a room that is open today.
"""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy import Select, func, or_, select

from app.accounts import User
from app.backups.returns import (
    CHANGED,
    HIDDEN,
    MISSING,
    SAME,
    AlreadyHere,
    Bringing,
    Found,
    Person,
    Returnable,
    not_there,
    put_rows,
)
from app.chat import live as pages
from app.chat import policy
from app.chat.models import Line, Membership, Room
from app.chat.models.room import MEMBER_INVITED, MEMBER_REMOVED, NAME_LENGTH, folded
from app.facilities import events, live
from app.facilities.events import Event
from app.facilities.html import clean
from app.tenancy import db
from app.tenancy.errors import Refused

RETURNED = events.kind(
    "RoomReturned", "A room, or lines that were missing in it, was brought back from a backup.", subject="room"
)

live.fragment(RETURNED.name)(pages.room)


def listed(asker: Person, search: str, most: int) -> list[Found]:
    """Return the rooms that the asker could see, the one with the newest line first."""
    wanted = _seen_by(asker).where(Room.folded.contains(folded(search), autoescape=True)).outerjoin(Line)
    last, number = func.max(Line.created_at), func.count(Line.id)
    newest = func.coalesce(last, Room.created_at).desc(), Room.id
    found = db.session.execute(
        wanted.add_columns(number, last).group_by(Room.id).order_by(None).order_by(*newest).limit(most)
    )
    return [_found(room, lines, at) for room, lines, at in found.tuples()]


def known(found: Found, bringing: Bringing) -> str:
    """Say how a room of the preview stands here: changed is one that has lost lines."""
    room = _here(found.id, found.born, found.title)
    if room is None:
        return HIDDEN if bringing.by.id in _taken_out(found.id, bringing.moment) else MISSING
    if not _is_seen_by(bringing.by, room):
        return HIDDEN
    then = select(func.count()).select_from(Line).where(Line.room_id == room.id, Line.created_at <= found.changed_at)
    return CHANGED if (db.session.scalar(then) or 0) < int(found.mark) else SAME


def take(room_id: int, asker: Person) -> dict[str, Any] | None:
    """Return a room as plain data, None when there is none or the asker could not see it."""
    room = db.session.scalar(_seen_by(asker).where(Room.id == room_id))
    if room is None:
        return None
    inside = select(User, Membership).join(Membership, Membership.user_id == User.id)
    lines = select(Line, User).outerjoin(User, User.id == Line.author_id).where(Line.room_id == room.id)
    starter = db.session.get(User, room.created_by) if room.created_by else None
    return {
        "id": room.id,
        "born": room.created_at.isoformat(),
        "name": room.name,
        "is_closed": not room.is_open,
        "starter": Person.of(starter) if starter else None,
        "members": [
            [*Person.of(user), membership.last_read_id, membership.joined_at.isoformat()]
            for user, membership in db.session.execute(inside.where(Membership.room_id == room.id)).tuples()
        ],
        "lines": [_plain(line, author) for line, author in db.session.execute(lines.order_by(Line.id)).tuples()],
    }


def _plain(line: Line, author: User | None) -> dict[str, Any]:
    return {
        "id": line.id,
        "author": Person.of(author) if author else None,
        "author_name": line.author_name,
        "kind": line.kind,
        "source": line.source,
        "html": line.html,
        "told_for": line.told_for,
        "at": line.created_at.isoformat(),
        "edited_at": line.edited_at.isoformat() if line.edited_at else "",
        "removed_at": line.removed_at.isoformat() if line.removed_at else "",
    }


def bring(taken: dict[str, Any], bringing: Bringing) -> str:
    """Put back what is missing of a room, and return its address."""
    room = _here(taken["id"], datetime.fromisoformat(taken["born"]), taken["name"])
    if room is None:
        room = _put(taken, bringing)
    else:
        _put_missing_lines(room, taken, bringing.by)
    events.record(RETURNED, room.id, audience=f"room:{room.id}", by=bringing.by.id)
    return room.href


def _put(taken: dict[str, Any], bringing: Bringing) -> Room:
    outside = _taken_out(taken["id"], bringing.moment)
    if bringing.by.id in outside:
        raise not_there()
    name, starter = _free_name(taken["name"]), _person(taken["starter"])
    row = {
        "id": taken["id"],
        "name": name,
        "folded": folded(name),
        "kind": "closed" if taken["is_closed"] else "open",
        "created_by": starter.id if starter else None,
        "created_at": datetime.fromisoformat(taken["born"]),
    }
    room = db.session.get_one(Room, put_rows(Room, [row])[taken["id"]])
    _admit(room, taken["members"], _put_lines(room, taken["lines"]), outside)
    return room


def _admit(room: Room, members: list[list[Any]], numbers: dict[int, int], outside: set[int]) -> None:
    """Let those in who were, each having read as far as then."""
    for address, since, read, joined_at in members:
        user = Person(address, since).here()
        if user is not None and user.id not in outside:
            last_read_id = max((new for old, new in numbers.items() if old <= read), default=0)
            joined = datetime.fromisoformat(joined_at)
            db.session.add(Membership(room_id=room.id, user_id=user.id, last_read_id=last_read_id, joined_at=joined))
    db.session.flush()


def _put_missing_lines(room: Room, taken: dict[str, Any], by: User) -> None:
    if not _is_seen_by(by, room):
        raise not_there()
    missing = _missing(room, taken["lines"])
    if not missing:
        raise AlreadyHere(room.name, room.href)
    if taken["is_closed"] and room.is_open:
        raise Refused(
            f"“{room.name}” was closed then, and is open to everybody now. What was said in it stays where it is."
        )
    _put_lines(room, missing)


def _missing(room: Room, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines that are not here. No two of one author have the same time, to the microsecond."""
    rows = select(Line.created_at, Line.author_name).where(Line.room_id == room.id)
    here = {(at.isoformat(), name) for at, name in db.session.execute(rows).tuples()}
    return [line for line in lines if (line["at"], line["author_name"]) not in here]


def _put_lines(room: Room, lines: list[dict[str, Any]]) -> dict[int, int]:
    authors = {mark: _person(mark) for mark in {tuple(line["author"]) for line in lines if line["author"]}}
    told = set(db.session.scalars(select(Line.told_for).where(Line.told_for.is_not(None))))
    return put_rows(Line, [_row(room.id, line, authors, told) for line in lines])


def _row(room_id: int, line: dict[str, Any], authors: dict[Any, User | None], told: set[str | None]) -> dict[str, Any]:
    author = authors[tuple(line["author"])] if line["author"] else None
    return {
        "id": line["id"],
        "room_id": room_id,
        "author_id": author.id if author else None,
        "author_name": line["author_name"],
        "kind": line["kind"],
        "source": line["source"],
        "html": clean(line["html"]),
        "told_for": None if line["told_for"] in told else line["told_for"],
        "created_at": datetime.fromisoformat(line["at"]),
        "edited_at": datetime.fromisoformat(line["edited_at"]) if line["edited_at"] else None,
        "removed_at": datetime.fromisoformat(line["removed_at"]) if line["removed_at"] else None,
    }


def _seen_by(asker: Person) -> Select[Room]:
    """Select the rooms that the asker can see in the current tenant, where they may not have been yet."""
    person = asker.here()
    return policy.visible_rooms(person) if person else select(Room).where(Room.kind == "open")


def _is_seen_by(person: User, room: Room) -> bool:
    return db.session.scalar(policy.visible_rooms(person).where(Room.id == room.id)) is not None


def _taken_out(room_id: int, since: datetime) -> set[int]:
    """Return the ids of those who left a room since then, or were taken out, and did not come back, as the log remembers it."""
    kinds = MEMBER_INVITED.name, MEMBER_REMOVED.name
    of_room = select(Event).where(Event.subject == f"room:{room_id}", Event.kind.in_(kinds), Event.created_at > since)
    last = {event.payload["person"]: event.kind for event in db.session.scalars(of_room.order_by(Event.id))}
    return {person for person, kind in last.items() if kind == MEMBER_REMOVED.name}


def _here(room_id: int, born: datetime, name: str) -> Room | None:
    """Return the room that is the same as the preview's: its number may have passed on to another since."""
    called = or_(Room.id == room_id, Room.folded.startswith(folded(name), autoescape=True))
    same = select(Room).where(Room.created_at == born, called)
    return db.session.scalar(same.order_by((Room.id == room_id).desc()).limit(1))


def _free_name(name: str) -> str:
    """Return the name, numbered while another room has it."""
    for number in count(1):
        ending = f" {number}" if number > 1 else ""
        tried = name[: NAME_LENGTH - len(ending)] + ending
        if Room.named(tried) is None:
            break
    return tried


def _person(mark: Any) -> User | None:
    return Person(*mark).here() if mark else None


def _found(room: Room, lines: int, last: datetime | None) -> Found:
    kind = "Open" if room.is_open else "Closed"
    detail = f"{kind} room, {lines} {'line' if lines == 1 else 'lines'}"
    return Found(room.id, room.created_at, room.name, detail, last or room.created_at, mark=str(lines))


ROOM = Returnable("room", "room", "rooms", listed, known, take, bring)
