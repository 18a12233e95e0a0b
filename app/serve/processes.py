"""The table of processes: to add one, add its line."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from app.config import Config
from app.serve import archivist, ask, front, live, valkey, web, worker


def _always(config: Config) -> bool:
    return True


@dataclass(frozen=True)
class Process:
    """One process: its name, its command line, how it is known to be ready, what must be ready before it starts."""

    name: str
    command: Callable[[Config], list[str]]
    is_ready: Callable[[Config], bool]
    after: tuple[str, ...] = ()
    is_wanted: Callable[[Config], bool] = _always
    ends_last: bool = False
    gives_signs: bool = False  # of life, each second; without them it hangs


# In the order of starting. What visitors wait for loads first; mail-in will have its place beside worker.
PROCESSES = (
    Process("ask", ask.command, ask.is_ready),
    Process("valkey", valkey.command, valkey.is_ready, is_wanted=valkey.is_embedded, ends_last=True),
    Process("web", web.command, web.is_ready),
    Process("live", live.command, live.is_ready),
    Process("worker", worker.command, worker.is_ready, after=("valkey", "web"), gives_signs=True),
    Process("archivist", archivist.command, archivist.is_ready, after=("valkey", "web"), gives_signs=True),
    Process("front", front.command, front.is_ready, after=("ask",)),  # it lets requests wait for web and live
)


def environment(config: Config) -> dict[str, str]:
    """Return the environment of every process: ours, with the port that was chosen and the front's own folder."""
    return {
        **os.environ,
        "PORT": str(config.port),
        "XDG_DATA_HOME": str(config.instance / "front"),
        "XDG_CONFIG_HOME": str(config.instance / "front"),
        "PYTHONUNBUFFERED": "1",
    }
