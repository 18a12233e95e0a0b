"""Signs of life: a file whose time stamp a process renews while it does its work."""

from __future__ import annotations

import time
from pathlib import Path

from app.config import Config

FRESH = 5.0  # seconds


def beat_of(name: str, config: Config) -> Path:
    """Return the file that the process of that name touches."""
    return config.run / f"{name}.beat"


def forget(beat: Path) -> None:
    """Before a start: remove what an earlier process left."""
    beat.unlink(missing_ok=True)


def is_fresh(beat: Path) -> bool:
    """Return whether the last sign of life is younger than five seconds."""
    try:
        return time.time() - beat.stat().st_mtime < FRESH
    except FileNotFoundError:
        return False
