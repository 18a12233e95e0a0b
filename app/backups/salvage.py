"""A copied folder of backups as it is found on a bare machine: nothing in it is believed before it is proven.

What is damaged, foreign or lost is left out, and an older moment without it is looked for. Links lead nowhere: what they point
at was not copied, or is somebody else's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.backups.packs import Header, Pack, PackDamaged
from app.backups.shelf import Moment, PackName, Shelf
from app.backups.target import Folder, TargetDown
from app.tenancy.errors import DatabaseUnreadable, Refused

_PART, _OWNER, _FILE = (re.compile(rf"[0-9a-f]{{{length}}}") for length in (2, 32, 64))
_OURS = ("central", ".incoming", "lost+found")
_PLACES = ("packs", "files", "damaged")


class FoundShelf(Shelf):
    """A shelf that leaves out the packs which cannot be used, and remembers why."""

    def __init__(self, target: Folder, owner: str, key_of: Callable[[int], bytes]) -> None:
        super().__init__(target, owner, key_of)
        self.left_out: dict[PackName, str] = {}

    def packs(self) -> dict[PackName, int]:
        """Return the packs that are here and may be used, and their sizes in bytes, oldest first."""
        return {name: size for name, size in super().packs().items() if name not in self.left_out}

    def open(self, name: PackName) -> Pack:
        """Open a pack to read it; one that is lost, foreign or not sound is left out from then on."""
        try:
            return super().open(name)
        except (PackDamaged, DatabaseUnreadable, TargetDown, OSError) as error:
            self.left_out[name] = str(error)
            raise PackDamaged(str(error)) from error

    def newest_sound(self) -> tuple[Moment, Header]:
        """Return the newest moment of which every pack can be opened; raises `Refused`, saying why there is none."""
        while True:
            try:
                moment = self.newest()
            except Refused:
                raise Refused(self._why_none()) from None
            known = len(self.left_out)
            try:
                with self.chain(moment.seq) as chain:
                    return moment, chain[0].header
            except PackDamaged as error:
                if len(self.left_out) == known:
                    self._leave_out(moment, str(error))

    def doubt(self, moment: Moment, why: str) -> None:
        """After a moment could not be put together: find the packs that are not sound, and do without them or the moment."""
        known = len(self.left_out)
        for name in self.packs():
            self._read(name)
        if len(self.left_out) == known:
            self._leave_out(moment, why)

    def newest_of_all(self) -> Moment | None:
        """Return the newest moment that the folder tells of, whether or not it can be used."""
        return next(iter(Shelf(self.target, self.owner, self.key_of).moments()), None)

    def _read(self, name: PackName) -> None:
        try:
            with self.open(name) as pack:
                for place in range(len(pack.numbers)):
                    pack.page(place)
        except (PackDamaged, OSError) as error:
            self.left_out.setdefault(name, str(error))

    def _leave_out(self, moment: Moment, why: str) -> None:
        self.left_out.update({name: why for name in self.packs() if name.seq == moment.seq})

    def _why_none(self) -> str:
        if not self.left_out:
            return "Nothing is kept of it that can be brought back."
        return f"None of its copies can be used: {next(iter(self.left_out.values()))}"


@dataclass
class Look:
    """What is strange in one folder: `dead_ends` lie on the way to what is kept, `odd` things are passed over."""

    dead_ends: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def owners(root: Path) -> tuple[list[str], list[str]]:
    """Return the ids of the tenants that have a shelf in a folder, and what else lies there, named."""
    found, odd = [], []
    for part in _entries(root):
        if part.name in _OURS:
            continue
        if not _PART.fullmatch(part.name) or not part.is_dir(follow_symlinks=False):
            odd.append(_told(root, part))
            continue
        for each in _entries(Path(part)):
            if _OWNER.fullmatch(each.name) and each.name[:2] == part.name and each.is_dir(follow_symlinks=False):
                found.append(each.name)
            else:
                odd.append(_told(root, each))
    return sorted(found), odd


def look_at(root: Path, folder: str) -> Look:
    """Look through one owner's folder without following any link."""
    look = Look()
    for way in (*reversed(Path(folder).parents[:-1]), Path(folder)):
        if (root / way).is_symlink():
            look.dead_ends.append(f"{way} is a link")
            return look
    for place in _entries(root / folder):
        if place.name not in _PLACES:
            look.odd.append(_told(root, place))
        elif not place.is_dir(follow_symlinks=False):
            look.dead_ends.append(_told(root, place))
        elif place.name == "packs":
            look.odd += [_told(root, each) for each in _entries(Path(place)) if not _is_pack(each)]
        elif place.name == "files":
            _look_at_files(root, Path(place), look)
    return look


def _look_at_files(root: Path, folder: Path, look: Look) -> None:
    for part in _entries(folder):
        if not part.is_dir(follow_symlinks=False):
            look.dead_ends.append(_told(root, part))
            continue
        look.odd += [_told(root, each) for each in _entries(Path(part)) if not _is_file(each)]


def _is_pack(entry: os.DirEntry[str]) -> bool:
    return PackName.read(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return _FILE.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except FileNotFoundError:
        return
    except OSError as error:
        raise TargetDown(f"{folder} cannot be listed: {error.strerror}.") from error


def _told(root: Path, entry: os.DirEntry[str]) -> str:
    name = str(Path(entry.path).relative_to(root)).encode("unicode_escape", "backslashreplace").decode()
    if entry.is_symlink():
        return f"{name} is a link"
    kind = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISDIR(kind) or stat.S_ISREG(kind):
        return f"{name} is none of ours"
    return f"{name} is neither a file nor a folder"
