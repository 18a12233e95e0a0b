"""The inbox's work for later: letters."""

from __future__ import annotations

from app.facilities import events, mail, outgoing
from app.facilities.events import Event
from app.inbox.letters import letter_of
from app.inbox.models import Message
from app.inbox.models.message import AUDIENCE
from app.tenancy import db


@events.later("ReplyWritten", "LetterRetried", name="inbox.send_letter", timeout=120, tries=outgoing.TRIES)
def send_letter(event: Event) -> None:
    """Send the letter of a reply. One that cannot leave is tried for two days, and then said to have failed."""
    message_id = event.subject_id
    message = db.session.get(Message, message_id)
    if message is None or message.letter_state != "due":
        return
    try:
        outgoing.send(letter_of(message), message.letter_name, AUDIENCE, patience=outgoing.PATIENCE)
    except mail.MailRefused as refusal:
        db.session.get_one(Message, message_id).mark_failed(str(refusal))
    except mail.MailDown as down:
        db.session.get_one(Message, message_id).note_delay(str(down))
        db.session.commit()
        raise
    else:
        db.session.get_one(Message, message_id).mark_sent()
