"""The shared inbox: what reaches the organisation from outside, and how its members answer together."""

from __future__ import annotations

from flask import Flask

from app.accounts import writes_from
from app.backups.returns import register
from app.content import tells_news
from app.inbox import desk, folders, handlers, jobs, live, returns
from app.inbox.models import Box, Contact, Conversation, Message
from app.inbox.planting import plant
from app.inbox.policy import find_conversation
from app.tenancy.lifecycle import counts, plants

__all__ = [
    "Box",
    "Contact",
    "Conversation",
    "Message",
    "find_conversation",
    "handlers",
    "init_app",
    "jobs",
    "live",
    "plant",
]


def init_app(app: Flask) -> None:
    """Open the inbox on the desk."""
    app.register_blueprint(desk.blueprint)
    plants(plant)
    writes_from(Box.main_address)
    register(returns.CONVERSATION)
    tells_news(folders.card, "inbox.answer")
    counts.update(conversations=Conversation.count, messages=Message.count)
