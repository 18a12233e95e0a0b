"""The folders of the inbox: which conversations each shows, and how many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from app.accounts import User
from app.content import Card
from app.inbox.models import Conversation, Message
from app.tenancy import db

FOLDERS = {
    "open": "Open",
    "unassigned": "Unassigned",
    "mine": "Mine",
    "waiting": "Waiting",
    "closed": "Closed",
    "spam": "Spam",
}


def card() -> Card:
    """Say on the first page of the desk what waits for an answer."""
    tally = Tally.now()
    count, free = tally.of("open"), tally.of("unassigned")
    text = f"{count} open {'conversation' if count == 1 else 'conversations'}, {free or 'none'} that nobody has taken."
    return Card("/desk/inbox/", "inbox", "Inbox", text if count else "Everything is answered.")


def listed(folder: str, person_id: int) -> Select[Any]:
    """Select the conversations in a folder as that person sees it, newest first."""
    found = select(Conversation).where(*_in_folder(folder, person_id))
    return found.order_by(Conversation.last_message_at.desc(), Conversation.id.desc())


def _in_folder(folder: str, person_id: int) -> tuple[ColumnElement[bool], ...]:
    if folder == "unassigned":
        return Conversation.state == "open", Conversation.assignee_id.is_(None)
    if folder == "mine":
        return Conversation.state == "open", Conversation.assignee_id == person_id
    return (Conversation.state == folder,)


def mark(folder: str, person_id: int) -> str:
    """Return the name of a folder among everybody's: there is one "mine" for each person."""
    return f"mine-{person_id}" if folder == "mine" else folder


def marks_of(conversation: Conversation) -> list[str]:
    """Return the marks of the folders that a conversation lies in."""
    if conversation.state != "open":
        return [conversation.state]
    return ["open", mark("mine", conversation.assignee_id) if conversation.assignee_id else "unassigned"]


def voices(conversations: Iterable[Conversation], reader_id: int | None = None) -> dict[int, str]:
    """Return who of ours wrote what each one's line shows, as its reader calls them; "" where the visitor did."""
    newest = select(func.max(Message.id)).where(Message.kind != "note").group_by(Message.conversation_id)
    newest = newest.where(Message.conversation_id.in_([conversation.id for conversation in conversations]))
    ours = select(Message.conversation_id, User.id, User.name).outerjoin(User, User.id == Message.author_id)
    found = db.session.execute(ours.where(Message.id.in_(newest), Message.kind == "out"))
    return defaultdict(str, {id_: "You" if by and by == reader_id else _called(name) for id_, by, name in found})


def _called(name: str | None) -> str:
    return name.split()[0] if name and name.split() else "Somebody who has left"


@dataclass(frozen=True)
class Tally:
    """How many conversations there are, by state and by who has them."""

    counted: Counter[tuple[str, int | None]]

    @classmethod
    def now(cls) -> Tally:
        """Count."""
        by = Conversation.state, Conversation.assignee_id
        rows = db.session.execute(select(*by, func.count()).group_by(*by)).tuples()
        return cls(Counter({(state, assignee): number for state, assignee, number in rows}))

    def of(self, folder: str, person_id: int | None = None) -> int:
        """Return how many lie in a folder; "mine" is that of `person_id`."""
        if folder in ("unassigned", "mine"):
            return self.counted["open", None if folder == "unassigned" else person_id]
        return sum(number for (state, _), number in self.counted.items() if state == folder)
