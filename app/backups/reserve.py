"""Room held back on the disk of the tenants: SQLite cannot bring a log into its file on a disk that is quite full.

When the disk runs full the archivist gives the room back and says so; when there is room again it is taken again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

SIZE = 64 << 20  # bytes
SHARE = 100  # of the disk, one in so many, where that is less
PLENTY = 4  # times its size must be free before it is taken


class Reserve:
    """A file that takes room in a folder until the room is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".reserve"
        self._made = folder / ".reserve.new"

    def mind(self) -> bool:
        """Give the room back when the disk is nearly full, or take it when there is plenty; returns whether it is held."""
        try:
            self._mind()
        except OSError as error:  # a disk that fails here must not keep others from being copied
            log.warning("reserve_not_minded", folder=str(self._folder), why=error.strerror or str(error))
        return self._path.exists()

    def _mind(self) -> None:
        self._made.unlink(missing_ok=True)
        whole, _, free = shutil.disk_usage(self._folder)
        size = min(SIZE, whole // SHARE)
        if self._path.exists() and free < size // 2:
            self._path.unlink()
            log.error("disk_full_reserve_given_back", folder=str(self._folder), bytes=size)
        elif not self._path.exists() and free > PLENTY * size:
            self._take(size)

    def _take(self, size: int) -> None:
        made = self._made
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, max(size, 1))
        finally:
            os.close(descriptor)
        made.replace(self._path)
