"""Archivist: sweeps for what is due, keeps copies of every tenant, proves them, and keeps the list of hosts."""

from __future__ import annotations

import sys

from app.config import Config
from app.serve import beats

NAME = "archivist"


def command(config: Config) -> list[str]:
    """Return the command line."""
    beats.forget(beats.beat_of(NAME, config))
    return [sys.executable, "-m", "app.serve.archiving"]


def is_ready(config: Config) -> bool:
    """Return whether it has swept within the last seconds."""
    return beats.is_fresh(beats.beat_of(NAME, config))
