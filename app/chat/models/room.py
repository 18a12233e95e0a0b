"""Rooms, who is in them, and how far each has read."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from datetime import datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import ForeignKey, Select, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts import User
from app.chat.models.line import LINE_POSTED, Line, written
from app.facilities import events
from app.facilities.html import render_markdown
from app.facilities.text import one_line
from app.tenancy import TenantModel, Timestamp, db, utcnow
from app.tenancy.errors import Refused

GENERAL = "general"
NAME_LENGTH = 60  # characters

ROOM_STARTED = events.kind("RoomStarted", "Somebody started a room.", subject="room")
MEMBER_INVITED = events.kind(
    "MemberInvited", "Somebody was let into a closed room.", subject="room", payload={"person": "id of whom"}
)
MEMBER_REMOVED = events.kind(
    "MemberRemoved",
    "Somebody left a closed room, or was taken out; those who stay hear it.",
    subject="room",
    payload={"person": "id of whom"},
)
ROOM_LEFT = events.kind("RoomLeft", "A closed room is closed to this person from now on.", subject="room")


class Membership(TenantModel):
    """A person in a room. A closed room is seen by its members alone; in an open one it only says how far somebody has read."""

    __tablename__ = "membership"
    __table_args__ = (UniqueConstraint("room_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    last_read_id: Mapped[int] = mapped_column(default=0)
    joined_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class Room(TenantModel):
    """A place to talk: open to everybody of the organisation, or closed to all but those invited."""

    __tablename__ = "room"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    folded: Mapped[str] = mapped_column(unique=True)  # the name without regard to case
    kind: Mapped[str] = mapped_column(default="open")  # open, closed
    created_by: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @classmethod
    def count(cls) -> int:
        """Return how many rooms there are."""
        return db.session.scalar(select(func.count()).select_from(cls)) or 0

    @classmethod
    def named(cls, name: str) -> Room | None:
        """Return the room of that name, however it is written."""
        return db.session.scalar(select(cls).where(cls.folded == folded(name)))

    @classmethod
    def general(cls) -> Room:
        """Return the room in which everybody is; made where there is none."""
        room = cls.named(GENERAL)
        if room is None:
            room = cls(name=GENERAL, folded=folded(GENERAL))
            db.session.add(room)
            db.session.flush()
        return room

    @classmethod
    def start(cls, name: str, *, by: User, closed: bool = False) -> Room:
        """Open a room, `by` being its first member; raises `Refused` for an empty or long name, or one that is taken."""
        name = unicodedata.normalize("NFC", one_line(name))
        if not name or len(name) > NAME_LENGTH:
            raise Refused(f"Give the room a name of up to {NAME_LENGTH} characters.")
        if cls.named(name):
            raise Refused(f"There is a room called “{name}” already. Choose another name.")
        room = cls(name=name, folded=folded(name), kind="closed" if closed else "open", created_by=by.id)
        db.session.add(room)
        db.session.flush()
        room._admit(by)
        events.record(ROOM_STARTED, room.id, audience=f"room:{room.id}", by=by.id)
        return room

    @property
    def is_open(self) -> bool:
        """Whether everybody of the organisation may read and write here."""
        return self.kind == "open"

    @property
    def href(self) -> str:
        """Return the address of its newest lines."""
        return f"/desk/chat/rooms/{self.id}"

    def inside(self) -> Select[Any]:
        """Select who is in the room, of those who may talk: all of them when it is open."""
        talkers = User.who_may("chat.talk")
        if self.is_open:
            return talkers
        return talkers.where(User.id.in_(select(Membership.user_id).where(Membership.room_id == self.id)))

    def members(self) -> list[User]:
        """Return who is in the room, by name."""
        return list(db.session.scalars(self.inside().order_by(User.name, User.id)))

    def membership_of(self, user: User) -> Membership | None:
        """Return the row of that person in this room."""
        mine = select(Membership).where(Membership.room_id == self.id, Membership.user_id == user.id)
        return db.session.scalar(mine)

    def invite(self, user: User, *, by: User) -> None:
        """Let somebody in, who may then read all of it; whoever is inside already stays. Raises `Refused` for an open room."""
        self._refuse_open("be invited")
        if self.membership_of(user) is None:
            self._admit(user)
            events.record(MEMBER_INVITED, self.id, audience=f"room:{self.id}", by=by.id, person=user.id)

    def leave(self, user: User) -> None:
        """Take oneself out; raises `Refused` for an open room, and for the last one in a closed room."""
        self.remove(user, by=user)

    def remove(self, user: User, *, by: User) -> None:
        """Take somebody out, who sees nothing of it from then on; raises `Refused` as `leave` does."""
        self._refuse_open("leave")
        membership = self.membership_of(user)
        if membership is None:
            return
        if self.members() == [user]:
            raise Refused(f"Nobody would be left in “{self.name}” to read it. Invite somebody first.")
        db.session.delete(membership)
        db.session.flush()
        events.record(MEMBER_REMOVED, self.id, audience=f"room:{self.id}", by=by.id, person=user.id)
        events.record(ROOM_LEFT, self.id, audience=f"person:{user.id}", by=by.id)

    def say(self, text: str, *, by: User, client_id: str = "") -> Line:
        """Write a line; sent again with the same text and `client_id` it is the one there is. Raises `Refused` for no text."""
        text = written(text)
        sending = self._sending(text, client_id or secrets.token_hex(16))
        known = db.session.scalar(select(Line).where(Line.author_id == by.id, Line.client_id == sending))
        if known:
            return known
        said = {"author_id": by.id, "author_name": by.name, "source": text, "html": render_markdown(text)}
        line = self._write(Line(kind="said", client_id=sending, **said))
        self.mark_read(by, line.id)
        return line

    def tell(self, text: str, told_for: str, *, leads_to: str = "", name: str = "Freehold") -> Line:
        """Write a line of the system's own, once for each `told_for`; `text` is plain, and `leads_to` makes a link of it."""
        known = db.session.scalar(select(Line).where(Line.told_for == told_for))
        if known:
            return known
        text = written(text)
        shown = Markup('<a href="{}">{}</a>').format(leads_to, text) if leads_to else Markup.escape(text)
        told = {"author_name": name, "source": text, "html": f"<p>{shown}</p>"}
        return self._write(Line(kind="told", told_for=told_for, **told))

    def mark_read(self, user: User, line_id: int) -> None:
        """Note that somebody has read up to that line; it never goes back, nor beyond the newest."""
        membership = self.membership_of(user)
        if membership is None and self.is_open:
            membership = self._admit(user)
            membership.last_read_id = 0
        if membership is not None:
            membership.last_read_id = max(membership.last_read_id, min(line_id, self.newest_id()))

    def newest_id(self) -> int:
        """Return the id of the last line, 0 where nothing was said yet."""
        return db.session.scalar(select(func.max(Line.id)).where(Line.room_id == self.id)) or 0

    def _admit(self, user: User) -> Membership:
        """Add a row for somebody to whom what was said before is not news."""
        membership = Membership(room_id=self.id, user_id=user.id, last_read_id=self.newest_id())
        db.session.add(membership)
        db.session.flush()
        return membership

    def _write(self, line: Line) -> Line:
        line.room_id = self.id
        db.session.add(line)
        db.session.flush()
        events.record(LINE_POSTED, line.id, audience=f"room:{self.id}", by=line.author_id, room=self.id)
        return line

    def _sending(self, text: str, client_id: str) -> str:
        """Name a sending by what was sent as well: a form that a browser fills in again may carry another text."""
        return f"{client_id}.{hashlib.sha256(f'{self.id} {text}'.encode()).hexdigest()[:16]}"

    def _refuse_open(self, act: str) -> None:
        if self.is_open:
            raise Refused(f"“{self.name}” is open to everybody here, so nobody can {act}.")


def folded(name: str) -> str:
    """Return what two names have in common that are the same to people."""
    return unicodedata.normalize("NFC", one_line(name).casefold())
