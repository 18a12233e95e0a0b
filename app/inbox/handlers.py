"""What the inbox does about what happens elsewhere, in the same transaction."""

from __future__ import annotations

from app.content import find_submission
from app.facilities import events
from app.facilities.events import Event
from app.inbox.models import Contact, Conversation


@events.react("SubmissionReceived")
def open_conversation(event: Event) -> None:
    """Turn a form that a visitor sent into a conversation."""
    form = find_submission(event.subject_id)
    if form is not None:
        contact, is_spam = Contact.at(form.email, form.name), form.state == "spam"
        Conversation.open_from(contact, form.subject, form.text, submission_id=form.id, is_spam=is_spam)
