"""The tables of chat."""

from __future__ import annotations

from app.chat.models.line import Line
from app.chat.models.room import Membership, Room

__all__ = ["Line", "Membership", "Room"]
