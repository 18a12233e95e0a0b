"""Live: gunicorn with one worker of many greenlets, for whatever is open long: event streams, files, big uploads.

Nothing is loaded before the fork, since the app must find Python's sockets, locks and threads already made cooperative.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from app.config import Config
from app.serve import web
from app.serve.folders import CannotServe

GRACE = 2  # seconds for requests in hand when it ends; streams go on at the next start where they were
BACKLOG = 4096  # as after a restart, when every open page comes back
LEAST_CONNECTIONS = 64
DESCRIPTORS_BESIDE = 1024  # of tenants' files, sockets to Valkey, spools


def command(config: Config) -> list[str]:
    """Return the command line; raises `CannotServe` when this user may open too few files."""
    return [
        sys.executable,
        *("-m", "gunicorn", "app.serve.streaming:create()"),
        *("--name", "freehold-live"),
        *("--bind", f"unix:{socket_path(config)}"),
        *("--backlog", str(BACKLOG)),
        *("--umask", "0o077"),
        "--no-control-socket",
        *("--worker-class", "gevent"),
        *("--workers", "1"),
        *("--worker-connections", str(connections(config))),
        *("--keep-alive", str(web.KEEP_ALIVE)),
        *("--graceful-timeout", str(GRACE)),
        *("--worker-tmp-dir", web.memory_folder(config)),
        *("--forwarder-headers", "NONE"),
        *("--log-level", "warning"),
    ]


def connections(config: Config) -> int:
    """Return how many connections are served at once: those of the settings, fewer when the hard limit of open files is low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return config.live_connections
    room = hard - descriptors_beside(config)
    if room < LEAST_CONNECTIONS:
        raise CannotServe(
            f"This user may open {hard} files and live needs {descriptors_beside(config) + LEAST_CONNECTIONS}. Raise the "
            "limit (`ulimit -Hn`, or LimitNOFILE= in the systemd unit), or lower FREEHOLD_MAX_OPEN_TENANTS."
        )
    return min(config.live_connections, room)


def descriptors_beside(config: Config) -> int:
    """Return how many descriptors live needs beside those of its connections; a tenant's file takes three."""
    return 3 * config.max_open_tenants + DESCRIPTORS_BESIDE


def socket_path(config: Config) -> Path:
    """Return where live listens."""
    return config.run / "live.sock"


def is_ready(config: Config) -> bool:
    """Return whether it accepts connections."""
    return web.accepts(socket_path(config))
