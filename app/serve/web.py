"""Web: gunicorn on a socket, the app loaded once before the fork so that the workers share its memory."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from app.config import Config

GRACE = 3  # seconds for requests in hand when it ends
KEEP_ALIVE = 90  # seconds; longer than the front keeps an idle connection, so that neither talks to a closed one


def command(config: Config) -> list[str]:
    """Return the command line."""
    return [
        sys.executable,
        *("-m", "gunicorn", "wsgi:app"),
        *("--name", "freehold-web"),
        *("--bind", f"unix:{socket_path(config)}"),
        *("--umask", "0o077"),
        *("--preload", "--no-control-socket"),
        *("--worker-class", "app.serve.fair.FairWorker"),
        *("--workers", str(config.web_workers)),
        *("--threads", str(config.web_threads)),
        *("--keep-alive", str(KEEP_ALIVE)),
        *("--graceful-timeout", str(GRACE)),
        *("--worker-tmp-dir", memory_folder(config)),
        *(
            "--forwarder-headers",
            "NONE",
        ),  # else a client's header SCRIPT_NAME or PATH_INFO would move the request
        *("--log-level", "warning"),
    ]


def socket_path(config: Config) -> Path:
    """Return where web listens."""
    return config.run / "web.sock"


def is_ready(config: Config) -> bool:
    """Return whether it accepts connections."""
    return accepts(socket_path(config))


def accepts(path: Path) -> bool:
    """Return whether somebody listens on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def memory_folder(config: Config) -> str:
    """Return a folder for the workers' heartbeat files: in memory where there is one, for a busy disk must not kill them."""
    shared = Path("/dev/shm")  # noqa: S108
    return str(shared if shared.is_dir() else config.run)
