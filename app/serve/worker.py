"""Worker: loads the app once, then forks itself into as many as the settings say; each runs one job at a time.

Every job runs in a fork of its own. None of them opens a tenant before that.
"""

from __future__ import annotations

import sys

from app.config import Config
from app.serve import beats

NAME = "worker"


def command(config: Config) -> list[str]:
    """Return the command line."""
    beats.forget(beats.beat_of(NAME, config))
    return [sys.executable, "-m", "app.serve.working"]


def is_ready(config: Config) -> bool:
    """Return whether it looked after its forks within the last seconds; `/readyz` tells when they take no job."""
    return beats.is_fresh(beats.beat_of(NAME, config))
