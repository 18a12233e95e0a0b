"""What chat does about what happens elsewhere."""

from __future__ import annotations

from app.chat.models import Room
from app.facilities import events
from app.inbox import find_conversation

RING = "Somebody has written to us."


@events.later("ConversationOpened", name="chat.tell_of_conversation")
def tell_of_conversation(event: events.Event) -> None:
    """Ring in `general` that somebody has written to the organisation; who and what, only those learn who may read the inbox."""
    conversation, room = find_conversation(event.subject_id), Room.general()
    if conversation is None or conversation.state == "spam":
        return
    room.tell(RING, f"conversation:{conversation.id}", leads_to=f"/desk/inbox/{conversation.id}", name="Inbox")
