"""What chat does about what happens elsewhere."""

from __future__ import annotations

from app.chat.models import Room
from app.facilities import events
from app.facilities.text import one_line
from app.inbox import find_conversation

SUBJECT_LENGTH = 120  # characters


@events.later("ConversationOpened", name="chat.tell_of_conversation")
def tell_of_conversation(event: events.Event) -> None:
    """Ring in `general` that somebody has written to the organisation."""
    conversation, room = find_conversation(event.subject_id), Room.general()
    if conversation is None or conversation.state == "spam":
        return
    subject = one_line(conversation.subject)[:SUBJECT_LENGTH]
    text = f"New conversation from {conversation.contact.shown_name}: {subject}"
    room.tell(text, f"conversation:{conversation.id}", leads_to=f"/desk/inbox/{conversation.id}", name="Inbox")
