"""What a new organisation finds in its inbox on the first day."""

from __future__ import annotations

from app.inbox.models import Box


def plant(name: str) -> None:
    """Give a new tenant the box that takes letters for inbox@ its domains; the caller commits."""
    Box.main()
