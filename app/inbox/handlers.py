"""What the inbox does about what happens, in the same transaction."""

from __future__ import annotations

from sqlalchemy import select

from app.accounts import User, may
from app.content import find_submission
from app.facilities import events, outgoing
from app.facilities.events import Event
from app.inbox.letters import subject_of
from app.inbox.models import Contact, Conversation, Message
from app.tenancy import db


@events.react("SubmissionReceived")
def open_conversation(event: Event) -> None:
    """Turn a form that a visitor sent into a conversation."""
    form = find_submission(event.subject_id)
    if form is not None:
        contact, is_spam = Contact.at(form.email, form.name), form.state == "spam"
        Conversation.open_from(contact, form.subject, form.text, submission_id=form.id, is_spam=is_spam)


@events.react("PersonDeactivated", "PersonRemoved", "RoleChanged")
def free_conversations(event: Event) -> None:
    """Give back what somebody looked after who is no longer here, or may answer no more, so that others see it is free."""
    person = db.session.get_one(User, event.subject_id)
    if person.is_active and may("inbox.answer", person):
        return
    by = db.session.get_one(User, event.actor)
    held = select(Conversation).where(Conversation.assignee_id == event.subject_id, Conversation.state != "closed")
    for conversation in db.session.scalars(held).all():
        conversation.assign_to(None, by=by)


@events.react("ReplyWritten", "LetterRetried")
def want_letter(event: Event) -> None:
    """Have the letter with a reply stand among those of the organisation."""
    message = db.session.get_one(Message, event.subject_id)
    conversation = db.session.get_one(Conversation, message.conversation_id)
    work, subject = events.work_for(event, "inbox.send_letter"), subject_of(conversation)
    outgoing.want(work, conversation.contact.email, subject, event.audience, conversation.href)
