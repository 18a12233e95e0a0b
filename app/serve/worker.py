"""Worker: loads the app, then runs each job in a fork of its own. It opens no tenant before it forks."""

from __future__ import annotations

import sys

from app.config import Config


def command(config: Config) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "app.serve.working"]


def is_ready(config: Config) -> bool:
    """Return True: nothing waits for the worker; `/readyz` tells when its heartbeat is missing."""
    return True
