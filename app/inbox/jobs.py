"""The inbox's work for later: letters."""

from __future__ import annotations

from datetime import timedelta

from app.facilities import events, mail
from app.facilities.events import Event
from app.inbox.letters import letter_of
from app.inbox.models import Message
from app.tenancy import db, utcnow

GIVE_UP_AFTER = timedelta(days=2)
TRIES = 100  # more than two days have room for, with an hour between them


@events.later("ReplyWritten", "LetterRetried", name="inbox.send_letter", timeout=120, tries=TRIES)
def send_letter(event: Event) -> None:
    """Send the letter of a reply. One that cannot leave is tried for two days, and then said to have failed."""
    message_id, asked_at = event.subject_id, event.created_at
    message = db.session.get(Message, message_id)
    if message is None or message.letter_state != "due":
        return
    try:
        _send(message)
    except mail.MailRefused as refusal:
        db.session.get_one(Message, message_id).mark_failed(str(refusal))
    except mail.MailDown as down:
        if utcnow() - asked_at > GIVE_UP_AFTER:
            db.session.get_one(Message, message_id).mark_failed(str(down))
            return
        db.session.get_one(Message, message_id).note_delay(str(down))
        db.session.commit()
        raise
    else:
        db.session.get_one(Message, message_id).mark_sent()


def _send(message: Message) -> None:
    letter, name = letter_of(message).as_message(), message.letter_name
    db.session.rollback()  # The relay may take its time, and nobody is to wait for it with the file locked.
    mail.send(letter, name)
