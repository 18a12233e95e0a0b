"""What is written in rooms."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts import User
from app.facilities import events
from app.facilities.html import render_markdown
from app.facilities.text import lines
from app.tenancy import TenantModel, Timestamp, db, utcnow
from app.tenancy.errors import Refused

LINE_LENGTH = 10_000  # characters

LINE_POSTED = events.kind(
    "LinePosted", "A line was written in a room.", subject="line", payload={"room": "id of the room"}
)
LINE_EDITED = events.kind(
    "LineEdited", "The text of a line was changed.", subject="line", payload={"room": "id of the room"}
)
LINE_REMOVED = events.kind(
    "LineRemoved", "The text of a line was taken away.", subject="line", payload={"room": "id of the room"}
)


def written(text: str) -> str:
    """Return `text` as it is kept; raises `Refused` for one that says nothing or is too long for a line."""
    text = lines(text)
    if not text:
        raise Refused("There is nothing in this line yet. Write a few words first.")
    if len(text) > LINE_LENGTH:
        raise Refused(f"A line has room for {LINE_LENGTH:,} characters. Send this one in parts.")
    return text


class Line(TenantModel):
    """Something said in a room by a person, or told by the system. One that was removed stays as an empty place."""

    __tablename__ = "line"
    __table_args__ = (UniqueConstraint("author_id", "client_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    author_name: Mapped[str]
    kind: Mapped[str] = mapped_column(default="said")  # said, told (by the system)
    source: Mapped[str]  # Markdown of what is said, plain text of what is told
    html: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)
    edited_at: Mapped[datetime | None] = mapped_column(Timestamp)
    removed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    client_id: Mapped[str | None]  # names the sending of it, so that one sent twice is written once
    told_for: Mapped[str | None] = mapped_column(unique=True)  # what a told line is about, such as "conversation:7"

    author: Mapped[User | None] = relationship(lazy="joined", viewonly=True)

    @classmethod
    def count(cls) -> int:
        """Return how many lines there are, the removed ones left out."""
        return db.session.scalar(select(func.count()).select_from(cls).where(cls.removed_at.is_(None))) or 0

    @property
    def is_removed(self) -> bool:
        """Whether its text was taken away."""
        return self.removed_at is not None

    @property
    def href(self) -> str:
        """Return the address at which it is shown with those around it."""
        return f"/desk/chat/rooms/{self.room_id}?at={self.id}#line-{self.id}"

    def edit(self, text: str, *, by: User) -> None:
        """Replace the text; the same text again changes nothing. Raises `Refused` for a line that nobody said, or no more."""
        text = written(text)
        if self.is_removed or self.kind != "said":
            raise Refused("This line has no text that could be changed.")
        if text == self.source:
            return
        self.source, self.html, self.edited_at = text, render_markdown(text), utcnow()
        events.record(LINE_EDITED, self.id, audience=f"room:{self.room_id}", by=by.id, room=self.room_id)

    def remove(self, *, by: User) -> None:
        """Take the text away for good; the place stays. A second time changes nothing."""
        if self.is_removed:
            return
        self.source, self.html, self.removed_at = "", "", utcnow()
        events.record(LINE_REMOVED, self.id, audience=f"room:{self.room_id}", by=by.id, room=self.room_id)
