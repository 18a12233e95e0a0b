"""Chat: rooms in which the people of an organisation talk."""

from __future__ import annotations

from flask import Flask

from app.backups.returns import register
from app.chat import desk, handlers, lines_desk, live, policy, returns, unread
from app.chat.models import Line, Room
from app.chat.planting import plant
from app.content import tells_news
from app.tenancy.lifecycle import counts, plants

__all__ = ["Line", "Room", "handlers", "init_app", "lines_desk", "live", "plant", "policy"]


def init_app(app: Flask) -> None:
    """Open the rooms."""
    app.register_blueprint(desk.blueprint)
    plants(plant)
    register(returns.ROOM)
    tells_news(unread.card, "chat.talk")
    counts.update(rooms=Room.count, lines=Line.count)
