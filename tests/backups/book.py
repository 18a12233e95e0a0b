"""A made-up database: pages that change, shrink and grow, copied by the raw side's own code, each moment remembered."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.backups import raw
from app.backups.restore import assemble
from app.backups.shelf import PackName, Shelf
from app.backups.target import Folder

OWNER = "0123456789abcdef" * 2
BEGIN = datetime(2026, 11, 22, 12, tzinfo=UTC)


def key_of(version: int) -> bytes:
    return bytes([version]) * 32


class Book:
    """The pages, the shelf that they are copied to, and what they were at each moment."""

    def __init__(self, root: Path, owner: str = OWNER, seed: int = 1) -> None:
        self.root, self.owner, self.dice = root, owner, random.Random(seed)
        self.target = root / "target"
        self.target.mkdir(parents=True, exist_ok=True)
        self.shelf = Shelf(Folder(self.target), owner, key_of)
        self.seals, self.file = root / "notes" / f"{owner}.seals", root / f"{owner}.db"
        self.pages = [self.dice.randbytes(raw.PAGE) for _ in range(8)]
        self.was: dict[int, bytes] = {}
        self.now = BEGIN

    def change(self) -> None:
        """Rewrite a few pages, and now and then shorten or lengthen the file."""
        for _ in range(self.dice.randint(1, 3)):
            self.pages[self.dice.randrange(len(self.pages))] = self.dice.randbytes(raw.PAGE)
        if self.dice.random() < 0.3:
            del self.pages[self.dice.randint(2, len(self.pages)) :]
        if self.dice.random() < 0.3:
            self.pages += [self.dice.randbytes(raw.PAGE) for _ in range(self.dice.randint(1, 4))]

    def copy(self, *, base: bool = False, after: timedelta = timedelta(seconds=8), note: bool = True) -> int:
        """Copy what has changed, as the archivist does; returns the moment's number."""
        self.now += after
        self.file.write_bytes(b"".join(self.pages))
        newest = max(self.shelf.packs(), default=PackName(0, 0, 0))
        base = base or not newest.seq
        header = {
            "owner": self.owner,
            "seq": newest.seq + 1,
            "parent": 0 if base else newest.seq,
            "at": int(self.now.timestamp() * 1e6),
            "page_count": len(self.pages),
            "key_version": 1,
        }
        made = self.shelf.target.incoming()
        order = {"pack": str(made), "seals": str(self.seals), "after": [newest.seq, newest.at], "header": header}
        with raw.open_database(str(self.file)) as file:
            done = raw.copy(file, {**order, "key": key_of(1).hex(), "base": base})
        self.shelf.keep(made, PackName(header["seq"], done["parent"], header["at"]))
        if note:
            Path(f"{self.seals}.next").replace(self.seals)
        self.was[header["seq"]] = b"".join(self.pages)
        return header["seq"]

    def live(self, moments: int, **options: object) -> None:
        """Change and copy again and again."""
        for _ in range(moments):
            self.change()
            self.copy(**options)

    def read(self, seq: int) -> bytes:
        """Return the whole file of a moment, as a restore puts it together."""
        path = self.root / f"moment-{seq}-{self.dice.random()}"
        try:
            assemble(self.shelf, self.shelf.moment(seq), path)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    def check(self) -> set[int]:
        """Check that every moment that is said to be whole is what it was; returns their numbers."""
        whole = {moment.seq for moment in self.shelf.moments() if moment.is_whole}
        for seq in whole:
            assert self.read(seq) == self.was[seq], f"moment {seq} is not what it was"
        return whole

    def pack(self, seq: int) -> Path:
        """Return the path of a moment's own pack."""
        name = next(name for name in self.shelf.packs() if name.seq == seq)
        return self.target / self.owner[:2] / self.owner / "packs" / str(name)
