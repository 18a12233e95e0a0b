"""What a person has not read yet: lines of others, since the person came."""

from __future__ import annotations

from flask_login import current_user
from sqlalchemy import ColumnElement, and_, func, select

from app.accounts import User
from app.chat.models import Line, Membership, Room
from app.chat.policy import visible_rooms
from app.content import Card
from app.tenancy import db

MOST = 100  # lines that are counted in one room


def first_unread_id(room: Room, person: User) -> int | None:
    """Return the id of the first line of a room that a person has not read, None when there is none."""
    membership = room.membership_of(person)
    last_read_id = membership.last_read_id if membership else 0
    unread = select(Line.id).where(Line.room_id == room.id, Line.id > last_read_id, _is_news_for(person))
    return db.session.scalar(unread.order_by(Line.id).limit(1))


def unread_counts(person: User) -> dict[int, int]:
    """Return how many lines a person has not read, by room, counted up to `MOST`; rooms without any are left out."""
    read = select(Membership.last_read_id).where(Membership.room_id == Room.id, Membership.user_id == person.id)
    last_read_id = func.coalesce(read.correlate(Room).scalar_subquery(), 0)
    unread = select(Line.id).where(Line.room_id == Room.id, Line.id > last_read_id, _is_news_for(person))
    found = unread.correlate(Room).limit(MOST).subquery()
    counted = select(func.count()).select_from(found).correlate(Room).scalar_subquery()
    return {room_id: count for room_id, count in db.session.execute(select(Room.id, counted)).tuples() if count}


def unread_total(person: User) -> int:
    """Return how many lines a person has not read in all rooms that they see, each room counted up to `MOST`."""
    seen = {room.id for room in db.session.scalars(visible_rooms(person))}
    return sum(count for room_id, count in unread_counts(person).items() if room_id in seen)


def card() -> Card:
    """Say on the first page of the desk what the member has not read."""
    count = unread_total(current_user)
    shown = f"{MOST - 1}+" if count >= MOST else str(count)
    text = f"{shown} unread {'line' if count == 1 else 'lines'}." if count else "You have read everything."
    return Card("/desk/chat/", "messages-square", "Chat", text)


def _is_news_for(person: User) -> ColumnElement[bool]:
    came = select(Line.id).where(Line.created_at >= person.created_at).order_by(Line.created_at, Line.id).limit(1)
    return and_(
        Line.id >= came.correlate(None).scalar_subquery(),
        Line.author_id.is_distinct_from(person.id),
        Line.removed_at.is_(None),
    )
