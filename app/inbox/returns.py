"""Conversations brought back from a preview.

One that is missing here comes back whole, with its messages, its notes and whom it is with, closed (or among the spam, where it
was), so that nobody is to answer it; one that is here gets the messages it has lost, and stays as it stands. Nothing is sent: a
letter that had not left at the moment of the backup may have arrived since, so it is said to have failed, and people decide.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select

from app.accounts import User
from app.backups.returns import CHANGED, MISSING, SAME, AlreadyHere, Bringing, Found, Person, Returnable, put_rows
from app.facilities import events, live
from app.facilities.html import clean
from app.inbox import live as pages
from app.inbox.models import Box, Contact, Conversation, Message
from app.inbox.models.message import AUDIENCE
from app.inbox.texts import preview as beginning
from app.tenancy import db

RETURNED = events.kind(
    "ConversationReturned",
    "A conversation, or messages that were missing in it, was brought back from a backup. Nothing is sent.",
    subject="conversation",
)
NOT_SENT = "This letter was about to leave at the moment of the backup. It may have arrived, so it was not sent again."

live.fragment(RETURNED.name)(pages.conversation)


def listed(asker: Person, search: str, most: int) -> list[Found]:
    """Return the conversations, by subject or whom they are with, the one with the newest message first."""
    fields = Conversation.subject, Contact.name, Contact.email
    wanted = select(Conversation, func.count(Message.id), func.max(Message.created_at)).join(Conversation.contact)
    wanted = wanted.outerjoin(Message, Message.conversation_id == Conversation.id)
    wanted = wanted.where(or_(*(field.icontains(search, autoescape=True) for field in fields)))
    newest = Conversation.last_message_at.desc(), Conversation.id.desc()
    found = db.session.execute(wanted.group_by(Conversation.id).order_by(*newest).limit(most))
    return [_found(conversation, count, last) for conversation, count, last in found]


def known(found: Found, bringing: Bringing) -> str:
    """Say how a conversation of the preview stands here: changed is one that has lost messages."""
    conversation = _here(found.id, found.born, found.title)
    if conversation is None:
        return MISSING
    then = Message.conversation_id == conversation.id, Message.created_at <= found.changed_at
    count = db.session.scalar(select(func.count()).select_from(Message).where(*then)) or 0
    return CHANGED if count < int(found.mark) else SAME


def take(conversation_id: int, asker: Person) -> dict[str, Any] | None:
    """Return a conversation as plain data, None when there is none."""
    conversation = db.session.get(Conversation, conversation_id)
    if conversation is None:
        return None
    messages = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.id)
    return {
        "id": conversation.id,
        "born": conversation.created_at.isoformat(),
        "number": conversation.number,
        "box": conversation.box.local_part,
        "contact": [conversation.contact.email, conversation.contact.name],
        "subject": conversation.subject,
        "is_spam": conversation.state == "spam",
        "assignee": Person.of(conversation.assignee) if conversation.assignee else None,
        "messages": [_plain(message) for message in db.session.scalars(messages)],
    }


def _plain(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "kind": message.kind,
        "author": Person.of(message.author) if message.author else None,
        "contact": [message.contact.email, message.contact.name] if message.contact else None,
        "text": message.text,
        "html": message.html,
        "at": message.created_at.isoformat(),
        "letter": [message.letter_state, message.letter_error, message.letter_id],
        "sent_at": message.sent_at.isoformat() if message.sent_at else "",
    }


def bring(taken: dict[str, Any], bringing: Bringing) -> str:
    """Put back what is missing of a conversation, and return its address on the desk."""
    conversation = _here(taken["id"], datetime.fromisoformat(taken["born"]), taken["subject"])
    missing = _missing(conversation, taken["messages"])
    if conversation is None:
        conversation = _put(taken)
    elif not missing:
        raise AlreadyHere(conversation.subject, conversation.href)
    _put_messages(conversation, missing)
    events.record(RETURNED, conversation.id, audience=AUDIENCE, by=bringing.by.id)
    return conversation.href


def _missing(conversation: Conversation | None, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages that are not here. No two of one kind in a conversation have the same time, to the microsecond."""
    if conversation is None:
        return messages
    rows = select(Message.created_at, Message.kind).where(Message.conversation_id == conversation.id)
    here = {(at.isoformat(), kind) for at, kind in db.session.execute(rows).tuples()}
    return [message for message in messages if (message["at"], message["kind"]) not in here]


def _put(taken: dict[str, Any]) -> Conversation:
    taken_number = select(Conversation.id).where(Conversation.number == taken["number"])
    last_number = db.session.scalar(select(func.max(Conversation.number))) or 0
    born = datetime.fromisoformat(taken["born"])
    row = {
        "id": taken["id"],
        "number": taken["number"] if db.session.scalar(taken_number) is None else last_number + 1,
        "box_id": _box(taken["box"]).id,
        "contact_id": Contact.at(*taken["contact"]).id,
        "subject": taken["subject"],
        "state": "spam" if taken["is_spam"] else "closed",
        "assignee_id": _person_id(taken["assignee"]),
        "created_at": born,
        "last_message_at": born,
    }
    return db.session.get_one(Conversation, put_rows(Conversation, [row])[taken["id"]])


def _put_messages(conversation: Conversation, messages: list[dict[str, Any]]) -> None:
    letters = [message["letter"][2] for message in messages]
    taken = set(db.session.scalars(select(Message.letter_id).where(Message.letter_id.in_(letters))))
    put_rows(Message, [_row(conversation.id, message, taken) for message in messages])
    said = select(Message).where(Message.conversation_id == conversation.id, Message.kind != "note")
    newest = db.session.scalar(said.order_by(Message.created_at.desc(), Message.id.desc()).limit(1))
    if newest is not None:
        conversation.preview, conversation.last_message_at = beginning(newest.text), newest.created_at


def _row(conversation_id: int, message: dict[str, Any], letters_here: set[str | None]) -> dict[str, Any]:
    state, error, letter_id = message["letter"]
    return {
        "id": message["id"],
        "conversation_id": conversation_id,
        "kind": message["kind"],
        "author_id": _person_id(message["author"]),
        "contact_id": Contact.at(*message["contact"]).id if message["contact"] else None,
        "text": message["text"],
        "html": clean(message["html"]),
        "created_at": datetime.fromisoformat(message["at"]),
        "letter_state": "failed" if state == "due" else state,
        "letter_error": NOT_SENT if state == "due" else error,
        "letter_id": None if letter_id in letters_here else letter_id,
        "sent_at": datetime.fromisoformat(message["sent_at"]) if message["sent_at"] else None,
    }


def _here(conversation_id: int, born: datetime, subject: str) -> Conversation | None:
    """Return the conversation that is the same as the preview's: its number may have passed on to another since."""
    called = or_(Conversation.id == conversation_id, Conversation.subject == subject)
    same = select(Conversation).where(Conversation.created_at == born, called)
    return db.session.scalar(same.order_by((Conversation.id == conversation_id).desc()).limit(1))


def _box(local_part: str) -> Box:
    return db.session.scalar(select(Box).where(Box.local_part == local_part)) or Box.main()


def _person_id(mark: list[str] | None) -> int | None:
    person: User | None = Person(*mark).here() if mark else None
    return person.id if person else None


def _found(conversation: Conversation, count: int, last: datetime | None) -> Found:
    messages = f"{count} {'message' if count == 1 else 'messages'}"
    detail = f"#{conversation.number}, with {conversation.contact.shown_name}, {messages}"
    born, title = conversation.created_at, conversation.subject
    return Found(conversation.id, born, title, detail, last or born, mark=str(count))


CONVERSATION = Returnable("conversation", "conversation", "conversations", listed, known, take, bring)
