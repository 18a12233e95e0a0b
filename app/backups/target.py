"""Where shelves lie: a folder now, better on another disk. What is kept there is ciphertext alone.

Everything above goes through these methods, so that another kind of place is one more class. When the place is gone, full
or slow, `TargetDown` is raised, and nothing but the copies suffers.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from app.tenancy.errors import FreeholdError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ABANDONED = 3600  # seconds after which nobody is still making a file


class TargetDown(FreeholdError):
    """The place of the copies cannot be read or written; the message says why."""

    code = "target_down"
    status = 503


class Entry(NamedTuple):
    """A file at the target: its name inside its folder, and its size in bytes."""

    name: str
    size: int


class Folder:
    """A folder of this machine as a target."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self, folder: str) -> list[Entry]:
        """Return the files in a folder, none when it does not exist; links and other things are not among them."""
        with told(f"{self.root} cannot be listed"):
            try:
                with os.scandir(self.root / folder) as found:
                    return [
                        Entry(each.name, each.stat(follow_symlinks=False).st_size)
                        for each in found
                        if each.is_file(follow_symlinks=False)
                    ]
            except FileNotFoundError:
                self._require_root()
                return []

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, none when it does not exist."""
        with told(f"{self.root} cannot be listed"):
            try:
                with os.scandir(self.root / folder) as found:
                    return sorted(each.name for each in found if each.is_dir(follow_symlinks=False))
            except FileNotFoundError:
                self._require_root()
                return []

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it; raises `FileNotFoundError` for one that is not here, or is a link."""
        with told(f"{name} cannot be read"):
            try:
                # Not to wait for the other end of a pipe that lies in a file's place.
                descriptor = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):
                    raise FileNotFoundError(name) from None
                raise
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise FileNotFoundError(name)
            return open(descriptor, "rb")

    def incoming(self) -> Path:
        """Return a path where a file may be made that is to be put here."""
        with told(f"{self.root} cannot be written"):
            self._require_root()
            folder = self.root / ".incoming"
            folder.mkdir(exist_ok=True, mode=0o700)
            return folder / secrets.token_hex(8)

    @contextmanager
    def making(self) -> Iterator[Path]:
        """Yield such a path for the block; nothing of it is left behind when the file was not put here."""
        made = self.incoming()
        try:
            yield made
        finally:
            with suppress(OSError):
                made.unlink(missing_ok=True)

    def write(self, made: Path, pieces: Iterable[bytes]) -> None:
        """Write a new file, on the disk when this returns; what goes wrong with `pieces` is raised as it is."""
        what = f"{self.root} cannot be written"
        with told(what):
            file = made.open("xb")
        with file:
            for piece in pieces:
                with told(what):
                    file.write(piece)
            with told(what):
                file.flush()
                os.fsync(file.fileno())

    def put(self, made: Path, name: str) -> None:
        """Move a finished file to its name, all or nothing, in the place of one that is there."""
        try:
            self._move(made, name)
        except FileNotFoundError:
            raise TargetDown(f"{name} cannot be kept: what was made of it is gone.") from None

    def rename(self, name: str, new: str) -> None:
        """Give a file another name; raises `FileNotFoundError` for one that is not here."""
        self._move(self.root / name, new)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with told(f"{name} cannot be removed"):
            (self.root / name).unlink(missing_ok=True)

    def room(self) -> tuple[int, int]:
        """Return how many bytes are free, and how many there are in all."""
        with told(f"{self.root} cannot be reached"):
            self._require_root()
            found = os.statvfs(self.root)
            return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def clear(self) -> None:
        """Remove what was left half-made: by now whoever made it would have written to it again."""
        with told(f"{self.root} cannot be written"):
            for leftover in (self.root / ".incoming").glob("*"):
                if time.time() - leftover.lstat().st_mtime > ABANDONED:
                    leftover.unlink(missing_ok=True)

    def _move(self, source: Path, name: str) -> None:
        with told(f"{name} cannot be kept"):
            self._require_root()
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            source.replace(path)
            _sync_folder(path.parent)

    def _require_root(self) -> None:
        # Made once, at set-up: where it is missing a disk is not mounted, and filling what lies under it helps nobody.
        if not self.root.is_dir():
            raise TargetDown(f"The folder of the copies, {self.root}, is missing. Is its disk mounted?")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise `TargetDown`, beginning with `what`, for what the disk refuses in the block; what is missing stays so."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "there is no room left" if error.errno in FULL else error.strerror or str(error)
        raise TargetDown(f"{what}: {why}.") from error


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
