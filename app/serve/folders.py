"""The folders that the processes share. Sockets lie in one that nobody else may enter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.config import HALF_REBUILT, Config


class CannotServe(Exception):
    """The machine is not fit to serve now; the message says what to mend."""


def make_folders(config: Config) -> None:
    """Make the folders of the processes, each 0700; raises `CannotServe` when another user has the sockets' folder.

    So it does while the installation is only half brought back from its copies.
    """
    if config.rebuilding.exists():
        raise CannotServe(HALF_REBUILT)
    for folder in (config.instance, config.instance / "valkey", config.instance / "front", config.run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _assert_private(config.run)


def _assert_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise CannotServe(f"{folder} is not a folder of this user. Remove it, or set FREEHOLD_HOME to a shorter path.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
