"""Ask: says which hosts may have a certificate. It starts first and needs nothing of ours but one file.

The front asks before it gets a certificate and again before it loads one that it has: were this part of web, a visitor of a
host whose certificate is on the disk would find no door while web is away.
"""

from __future__ import annotations

import sys
from pathlib import Path

from app.config import Config
from app.serve.web import accepts

PROGRAM = Path(__file__).with_name("asking.py")


def command(config: Config) -> list[str]:
    """Return the command line: Python alone (-I), so that no package of ours can keep it from starting."""
    return [sys.executable, "-I", str(PROGRAM), str(socket_path(config)), str(allowed_hosts(config))]


def socket_path(config: Config) -> Path:
    """Return where it listens."""
    return config.run / "ask.sock"


def allowed_hosts(config: Config) -> Path:
    """Return the list that it answers from, one host a line; the archivist writes it."""
    return config.instance / "hosts.allowed"


def is_ready(config: Config) -> bool:
    """Return whether it accepts connections."""
    return accepts(socket_path(config))
