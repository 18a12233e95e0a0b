"""Who may see what of the inbox: one rule, which every door asks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select

from app.accounts import User, permission
from app.facilities import events
from app.inbox.models import Conversation, Message
from app.inbox.models.message import AUDIENCE
from app.tenancy import db

permission("inbox.answer", "Read the inbox and answer", roles=("admin", "agent"))


@events.audience(AUDIENCE)
def people_of_the_inbox(key: str, people: frozenset[int]) -> set[int]:
    """Return those of `people` who may see the inbox now."""
    return {id_ for id_, _ in _named(User.who_may("inbox.answer").where(User.id.in_(people)))}


def people() -> list[tuple[int, str]]:
    """Return the id and the name of everybody who may look after a conversation."""
    return _named(User.who_may("inbox.answer").order_by(User.name, User.id))


def _named(found: Select[Any]) -> list[tuple[int, str]]:
    return [(id_, name) for id_, name in db.session.execute(found.with_only_columns(User.id, User.name))]


def find_conversation(conversation_id: int) -> Conversation | None:
    """Return the conversation of that id, None when there is none."""
    return db.session.get(Conversation, conversation_id)


def find_message(conversation_id: int, message_id: int) -> Message | None:
    """Return the message of that id in that conversation, None when there is none."""
    message = db.session.get(Message, message_id)
    return message if message and message.conversation_id == conversation_id else None
