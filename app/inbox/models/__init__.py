"""What reaches the organisation from outside: boxes, contacts, conversations, and the messages in them."""

from app.inbox.models.box import Box
from app.inbox.models.contact import Contact
from app.inbox.models.conversation import Conversation
from app.inbox.models.message import Message

__all__ = ["Box", "Contact", "Conversation", "Message"]
