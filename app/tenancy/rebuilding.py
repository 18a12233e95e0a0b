"""The mark of an installation that is being brought back from its copies: nothing else starts on it until that is done."""

from __future__ import annotations

from pathlib import Path

from app.config import HALF_REBUILT, Config
from app.tenancy.errors import CannotStart
from app.tenancy.keys import sync

_ours: set[Path] = set()  # the marks that this process itself has set


def begin(config: Config) -> None:
    """Mark the installation as half brought back, on the disk when this returns; this process alone may start on it."""
    config.rebuilding.touch(mode=0o600)
    sync(config.instance)
    _ours.add(config.rebuilding)


def end(config: Config) -> None:
    """Take the mark away: all that could be brought back is there."""
    config.rebuilding.unlink(missing_ok=True)
    sync(config.instance)
    _ours.discard(config.rebuilding)


def refuse_half(config: Config) -> None:
    """Raise `CannotStart` for an installation that is half brought back, except in the process that brings it back."""
    if config.rebuilding.exists() and config.rebuilding not in _ours:
        raise CannotStart(HALF_REBUILT)
