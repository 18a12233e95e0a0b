"""What leaves the house when a member answers: one letter in plain text, in the thread of those before it."""

from __future__ import annotations

from sqlalchemy import select

from app.branding import current_site
from app.facilities import mail
from app.inbox.models import Conversation, Message
from app.tenancy import db


def letter_of(message: Message) -> mail.Letter:
    """Return the letter that carries a reply; raises `ValueError` for anything else, `MailRefused` for no address."""
    if message.kind != "out" or message.letter_id is None:
        raise ValueError(f"Message {message.id} is no reply, and nothing else is ever sent.")
    conversation = db.session.get_one(Conversation, message.conversation_id)
    return mail.Letter(
        sender=mail.address(conversation.box.address, current_site().name),
        to=mail.address(conversation.contact.email, conversation.contact.name),
        subject=subject_of(conversation),
        text=_signed(message.text, conversation.box.signature),
        letter_id=message.letter_id,
        date=message.created_at,
        answers=_earlier(message),
    )


def subject_of(conversation: Conversation) -> str:
    """Return what the letter is called; whoever gave no subject need not read their own first words as one."""
    subject = conversation.subject
    if not conversation.has_subject:
        return f"Your message to {current_site().name}"
    return subject if subject[:3].casefold() == "re:" else f"Re: {subject}"


def _signed(text: str, signature: str) -> str:
    """Put the signature under the text, behind the line by which programs know it (RFC 3676 section 4.3)."""
    return f"{text}\n\n-- \n{signature}\n" if signature else f"{text}\n"


def _earlier(message: Message) -> tuple[str, ...]:
    earlier = select(Message.letter_id).where(
        Message.conversation_id == message.conversation_id, Message.id < message.id, Message.letter_id.is_not(None)
    )
    return tuple(letter_id for letter_id in db.session.scalars(earlier.order_by(Message.id)) if letter_id)
