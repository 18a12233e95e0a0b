"""All that is kept of one owner: its packs, each a moment or the way to one, and the copies of its stored files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from app.backups import ladder, packs, raw
from app.backups.ladder import DAY
from app.backups.packs import Header, Pack, PackDamaged, PackLocked
from app.backups.target import Folder, told
from app.tenancy.errors import DatabaseUnreadable, Refused

_NAME = re.compile(r"([0-9]{10,15})-([0-9]{10,15})-([0-9]{16})\.pack")
_FILE = re.compile(r"[0-9a-f]{64}")
COARSER = (1, 2, 4, 8, 16, 32, 64)
LEAST_BUDGET = 32 << 20  # bytes; a small file needs more than a few times its size to keep a day


@dataclass(frozen=True, order=True)
class PackName:
    """What the name of a pack says: its moment, the moment it builds upon (0: none), and when (microseconds since 1970)."""

    seq: int
    parent: int
    at: int

    @classmethod
    def read(cls, name: str) -> PackName | None:
        """Return what a file's name says, None for one that is no pack's."""
        found = _NAME.fullmatch(name)
        pack = cls(*(int(part) for part in found.groups())) if found else None
        return pack if pack and pack.parent < pack.seq and str(pack) == name else None

    def __str__(self) -> str:
        return f"{self.seq:010}-{self.parent:010}-{self.at:016}.pack"


@dataclass(frozen=True)
class Moment:
    """A time its owner can be brought back to. `bytes` is the size of the pack that ends at it."""

    seq: int
    at: datetime
    bytes: int
    is_whole: bool  # whether all packs on the way to it are there


class Shelf:
    """What is kept of one owner at a target. `key_of` gives the key of packs for a version of the owner's key."""

    def __init__(self, target: Folder, owner: str, key_of: Callable[[int], bytes]) -> None:
        self.target = target
        self.owner = owner
        self.key_of = key_of
        self.folder = f"{owner[:2]}/{owner}" if len(owner) == 32 else f"central/{owner}"

    def packs(self) -> dict[PackName, int]:
        """Return the packs that are here and their sizes in bytes, oldest first."""
        found = ((PackName.read(entry.name), entry.size) for entry in self.target.entries(f"{self.folder}/packs"))
        return dict(sorted((name, size) for name, size in found if name))

    def moments(self) -> list[Moment]:
        """Return the moments that are kept, newest first."""
        here = self.packs()
        chains = _Chains(here)
        newest_of = {name.seq: name for name in sorted(here, key=lambda each: (each.seq, -each.parent))}
        return [
            Moment(seq, _time(name.at), here[name], chains.is_whole(seq))
            for seq, name in sorted(newest_of.items(), reverse=True)
        ]

    def newest(self) -> Moment:
        """Return the newest moment that can be brought back; raises `Refused` when there is none."""
        return self._first(self._whole(), "There is no copy of it yet.")

    def at(self, time: datetime) -> Moment:
        """Return the newest moment that is not after `time`; raises `Refused` when there is none."""
        return self._first(
            (moment for moment in self._whole() if moment.at <= time),
            f"Nothing is kept of the time up to {time:%Y-%m-%d %H:%M:%S} UTC. `freehold backups list` shows what there is.",
        )

    def moment(self, seq: int) -> Moment:
        """Return the moment of that number; raises `Refused` when it is not kept, or not whole."""
        return self._first(
            (moment for moment in self._whole() if moment.seq == seq),
            f"The moment {seq} is not kept any more, or not whole.",
        )

    def header(self, moment: Moment) -> Header:
        """Return what the moment's pack says of it; raises `PackDamaged`."""
        with self.chain(moment.seq, most=1) as chain:
            return chain[0].header

    def is_sound(self, moment: Moment) -> bool:
        """Tell whether the moment's own pack can be read."""
        try:
            self.header(moment)
        except PackDamaged:
            return False
        return True

    def size(self) -> int:
        """Return the bytes of the file at the newest moment that can be read, 0 when there is none."""
        for moment in self._whole():
            with suppress(PackDamaged):
                return self.header(moment).page_count * raw.PAGE
        return 0

    @contextmanager
    def chain(self, seq: int, most: int = 0) -> Iterator[list[Pack]]:
        """Open the packs that together are the moment, the newest first; raises `PackDamaged` for the first that is not sound."""
        with ExitStack() as stack:
            yield self._opened(stack, seq, most)

    def _opened(self, stack: ExitStack, seq: int, most: int) -> list[Pack]:
        names = _Chains(self.packs()).to(seq)
        try:
            return [stack.enter_context(self.open(name)) for name in (names[:most] if most else names)]
        except PackDamaged:
            if _Chains(self.packs()).to(seq) == names:
                raise
        return self._opened(stack, seq, most)  # it was thinned meanwhile, and is made of other packs now

    def keep(self, made: Path, name: PackName) -> None:
        """Put a finished pack here."""
        self.target.put(made, self._path(name))

    def remove(self, names: list[PackName]) -> None:
        """Remove packs."""
        for name in names:
            self.target.remove(self._path(name))

    def key_versions(self) -> set[int]:
        """Return the versions of the owner's key under which what is kept was made; raises `PackDamaged`."""
        versions = set()
        for name in self.packs():
            with self.open(name) as pack:
                versions.add(pack.header.key_version)
        return versions

    def has(self, name: PackName) -> bool:
        """Tell whether a pack is still here."""
        return name in self.packs()

    def set_aside(self, name: PackName) -> None:
        """Take a damaged pack out of every chain, and keep it to be looked at."""
        self.target.rename(f"{self.folder}/packs/{name}", f"{self.folder}/damaged/{name}")

    def thin(self, now: datetime, days: int, budget: int) -> int:
        """Keep what the ladder keeps, fewer moments when that is more than `budget` bytes; returns the bytes that are kept.

        What is left out is merged into the next moment that stays, and removed only then: killed anywhere, every moment that
        stays is whole.
        """
        size = 0
        for coarser in COARSER:
            here = self.packs()
            chains = _Chains(here)
            whole = [seq for seq in chains.seqs if chains.is_whole(seq)]
            times = {name.seq: _time(name.at) for name in here}
            kept = ladder.kept([(seq, times[seq]) for seq in whole], now, days, coarser)
            # What is not whole stays for as long: the missing pack may come back with its disk.
            lost = [each for each in here if not chains.is_whole(each.seq) and now - _time(each.at) > DAY * days]
            if lost or kept != set(whole) or len(chains.seqs) < len(here):
                self._merge(chains, kept)
                self.remove(lost)
                here = self.packs()
                chains = _Chains(here)
            size = sum(here.values())
            if sum(each for name, each in here.items() if chains.is_whole(name.seq)) <= budget:
                break
        return size

    def _merge(self, chains: _Chains, kept: set[int]) -> None:
        # First what no moment that stays is made of: a full disk has no room to merge before that.
        self._remove_all_but(chains, {name for seq in kept for name in chains.to(seq)}, kept)
        wanted: set[PackName] = set()
        for seq in sorted(kept):
            names = chains.to(seq)
            # The packs from this moment down to, and without, the next one that stays.
            cut = next((place for place, name in enumerate(names) if place and name.seq in kept), len(names))
            if cut == 1:
                wanted.add(names[0])
                continue
            with ExitStack() as stack:
                chain = [stack.enter_context(self.open(name)) for name in names[:cut]]
                made = stack.enter_context(self.target.making())
                with told(f"A copy of {self.owner} cannot be written"):
                    packs.merge(chain, made, self.key_of(chain[0].header.key_version))
                whole = PackName(seq, chain[-1].header.parent, names[0].at)
                self.keep(made, whole)
            wanted.add(whole)
        self._remove_all_but(chains, wanted, kept)

    def _remove_all_but(self, chains: _Chains, wanted: set[PackName], kept: set[int]) -> None:
        """Remove the other whole packs up to the newest moment that stays: what was written meanwhile is not looked at here."""
        newest = max(kept, default=0)
        unwanted = [name for name in chains.names if name not in wanted and name.seq <= newest]
        # The newest first: cut short, nothing is left that builds upon what is gone.
        self.remove([name for name in reversed(unwanted) if chains.is_whole(name.seq)])

    def files(self) -> dict[str, int]:
        """Return the names of the stored files that are kept, and their sizes in bytes."""
        folder = f"{self.folder}/files"
        return {
            entry.name: entry.size
            for part in self.target.folders(folder)
            for entry in self.target.entries(f"{folder}/{part}")
            if _FILE.fullmatch(entry.name)
        }

    def keep_file(self, source: Path) -> None:
        """Keep a copy of a stored file; its name is that of its content, so the same is kept once."""
        with source.open("rb") as file, self.target.making() as made:
            self.target.write(made, iter(partial(file.read, 1 << 20), b""))
            self.target.put(made, self.file_path(source.name))

    def file_path(self, name: str) -> str:
        """Return where at the target the copy of a stored file lies."""
        if not _FILE.fullmatch(name):
            raise ValueError("A stored file's name is 64 hexadecimal digits.")
        return f"{self.folder}/files/{name[:2]}/{name}"

    def open(self, name: PackName) -> Pack:
        """Open a pack to read it; raises `PackDamaged` when it is lost, foreign, or not sound."""
        path = self._path(name)
        try:
            file = self.target.open(path)
        except FileNotFoundError:
            raise PackDamaged(f"The pack {path} is lost.") from None
        try:
            pack = Pack(file, path, self.owner, self.key_of)
            if (pack.header.seq, pack.header.parent, pack.header.at) != (name.seq, name.parent, name.at):
                raise PackDamaged(f"{path} carries another pack's name.")
        except DatabaseUnreadable as error:
            file.close()
            raise PackLocked(f"{path} was made under a key that is not here: {error}") from None
        except BaseException:
            file.close()
            raise
        return pack

    def _path(self, name: PackName) -> str:
        return f"{self.folder}/packs/{name}"

    def _whole(self) -> Iterator[Moment]:
        return (moment for moment in self.moments() if moment.is_whole)

    def _first(self, moments: Iterator[Moment], otherwise: str) -> Moment:
        found = next(moments, None)
        if found is None:
            raise Refused(otherwise)
        return found


class _Chains:
    """How packs build upon one another."""

    def __init__(self, here: dict[PackName, int]) -> None:
        self.names = list(here)
        self._by_seq: dict[int, PackName] = {}
        for name in here:
            known = self._by_seq.get(name.seq)
            # A merged pack reaches further back than those it stands for, and may lie beside them for a moment.
            if known is None or name.parent < known.parent:
                self._by_seq[name.seq] = name
        self._whole: dict[int, bool] = {}

    @property
    def seqs(self) -> list[int]:
        """The numbers of all moments, ascending."""
        return sorted(self._by_seq)

    def is_whole(self, seq: int) -> bool:
        """Tell whether every pack from that moment down to a base is here."""
        way = []
        while seq not in self._whole and seq in self._by_seq and self._by_seq[seq].parent < seq:
            way.append(seq)
            seq = self._by_seq[seq].parent
        reaches = seq == 0 or self._whole.get(seq, False)
        self._whole.update(dict.fromkeys(way, reaches))
        return reaches

    def to(self, seq: int) -> list[PackName]:
        """Return the packs that make up the moment, newest first; raises `PackDamaged` when one is missing."""
        names = []
        while seq:
            name = self._by_seq.get(seq)
            if name is None or name.parent >= seq:
                raise PackDamaged(f"The pack that ends at moment {seq} is lost.")
            names.append(name)
            seq = name.parent
        return names


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1e6, UTC)
