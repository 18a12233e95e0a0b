"""Packs as they are read: checked before anything of them is believed, each page again when it is used."""

from __future__ import annotations

import hmac
import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from app.backups import raw
from app.tenancy.errors import FreeholdError

MOST_HEADER = 1 << 16  # bytes
PIECE = 1 << 20  # bytes that are read at once
PER_PAGE = raw.PAGE + 4 + raw.DIGEST  # bytes that a page takes in a pack


class PackDamaged(FreeholdError):
    """A pack is cut short, changed, another owner's, or none at all; the message names it."""

    code = "pack_damaged"
    status = 503


class PackLocked(PackDamaged):
    """A pack may be sound, but the key that it was made under is not here."""

    code = "pack_locked"


@dataclass(frozen=True)
class Header:
    """What a pack says of its moment. `at` is microseconds since 1970; `parent` is 0 for a base."""

    owner: str
    seq: int
    parent: int
    at: int
    page_count: int
    key_version: int
    epoch: int = 0
    event_id: int = 0
    schema: str = ""
    rows: dict[str, int] = field(default_factory=dict)  # by table, counted for some moments

    @property
    def time(self) -> datetime:
        """The moment, aware, in UTC."""
        return datetime.fromtimestamp(self.at / 1e6, UTC)


class Pack:
    """One pack, open to be read."""

    def __init__(self, file: BinaryIO, name: str, owner: str, key_of: Callable[[int], bytes]) -> None:
        self.name = name
        self._file = file
        count, length, found = self._trailer()
        self.header = self._read_header(length)
        if self.header.owner != owner:
            claimed = self.header.owner[:32].encode("unicode_escape").decode()  # not proven yet, and told on a terminal
            raise PackDamaged(f"{name} is a pack of {claimed}, not of {owner}.")
        # In pieces: a file that is nearly all hole may claim an index larger than our memory.
        expected = raw.mac(key_of(self.header.key_version), count, self._pieces(count, length))
        if not hmac.compare_digest(expected, found):
            raise PackDamaged(f"The index of {name} was changed after it was written.")
        self._file.seek(len(raw.MAGIC) + count * raw.PAGE)
        self.numbers = array("I", self._file.read(4 * count))
        self._digests = self._file.read(raw.DIGEST * count)

    def page(self, place: int) -> bytes:
        """Return the page at that place in the pack; raises `PackDamaged`."""
        try:
            self._file.seek(len(raw.MAGIC) + place * raw.PAGE)
            page = self._file.read(raw.PAGE)
        except OSError as error:
            raise PackDamaged(f"Page {self.numbers[place]} in {self.name} cannot be read: {error.strerror}.") from None
        if raw.digest(page) != self._digests[place * raw.DIGEST : (place + 1) * raw.DIGEST]:
            raise PackDamaged(f"Page {self.numbers[place]} in {self.name} was changed after it was written.")
        return page

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Pack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _trailer(self) -> tuple[int, int, bytes]:
        size = self._file.seek(0, 2)
        if size < len(raw.MAGIC) + raw.TRAILER.size:
            raise PackDamaged(f"{self.name} is cut short.")
        self._file.seek(-raw.TRAILER.size, 2)
        count, length, found = raw.TRAILER.unpack(self._file.read(raw.TRAILER.size))
        # Claims are held against the size of the file before anything is believed or made room for.
        if length > MOST_HEADER or size != len(raw.MAGIC) + count * PER_PAGE + length + raw.TRAILER.size:
            raise PackDamaged(f"{self.name} is cut short, or says more of itself than there is.")
        self._file.seek(0)
        if self._file.read(len(raw.MAGIC)) != raw.MAGIC:
            raise PackDamaged(f"{self.name} is not a pack.")
        return count, length, found

    def _pieces(self, count: int, length: int) -> Iterator[bytes]:
        self._file.seek(len(raw.MAGIC) + count * raw.PAGE)
        left = count * (PER_PAGE - raw.PAGE) + length
        while left and (piece := self._file.read(min(left, PIECE))):
            left -= len(piece)
            yield piece

    def _read_header(self, length: int) -> Header:
        self._file.seek(-(raw.TRAILER.size + length), 2)
        try:
            header = Header(**json.loads(self._file.read(length)))
        except (ValueError, TypeError, RecursionError):
            raise PackDamaged(f"The header of {self.name} cannot be read.") from None
        # By these two the key is found with which all of it is proven; nothing else is used before that.
        if type(header.owner) is not str or type(header.key_version) is not int or not 0 < header.key_version < 1 << 31:
            raise PackDamaged(f"The header of {self.name} cannot be read.")
        return header


Place = tuple[Pack, int]


def newest_pages(chain: list[Pack]) -> dict[int, Place]:
    """Return where the newest version of each page of the chain lies; `chain` is ordered from the newest pack on."""
    last = chain[0].header.page_count
    found: dict[int, Place] = {}
    for pack in chain:
        for place, number in enumerate(pack.numbers):
            if number <= last:
                found.setdefault(number, (pack, place))
    return found


def merge(chain: list[Pack], made: Path, key: bytes) -> tuple[int, int]:
    """Write the packs of the chain, the newest first, as one that stands for them all; returns its pages and bytes."""
    header = {**asdict(chain[0].header), "parent": chain[-1].header.parent}
    writer = raw.PackWriter(made, key)
    try:
        for number, (pack, place) in sorted(newest_pages(chain).items()):
            writer.add(number, pack.page(place))
        return writer.finish(header)
    finally:
        writer.close()
