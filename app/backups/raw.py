"""The raw side of a copy: reads the encrypted pages of one database file and writes those that changed into a pack.

It runs as a process of its own that opens nothing with SQLite: closing any descriptor of a database file drops all locks that a
process has on it. It is run by its path and uses the standard library alone, so it starts in a moment and stays small.

A pack is: MAGIC, the pages, their numbers (u32 each), their digests (BLAKE2b, 16 bytes each), the header (JSON), then the
TRAILER: how many pages (u64), the length of the header (u32), and a keyed BLAKE2b-256 over all from the numbers on, each
integer little-endian.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PAGE = 4096  # bytes
MAGIC = b"freehold pack 1\n"
DIGEST, MAC = 16, 32  # bytes
TRAILER = struct.Struct("<QI32s")

# SQLCipher 4 ends each page with a random vector (16 bytes) and an HMAC-SHA512 (64 bytes) over page, vector and page number. Both
# change with every write, so the first bytes of the HMAC, the seal, tell whether a page is the one seen before.
SEAL_AT, SEAL = 4032, 16
BLOCK = 256 * PAGE
SEALS_MAGIC = b"freehold seals 1"
SEALS_HEAD = struct.Struct("<16sQQ16s")


class SourceFailed(OSError):
    """The database file itself cannot be read; the place of the copies is well."""


class PackWriter:
    """Writes one pack, page by page, into a file that does not exist yet."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")  # noqa: SIM115
        self._key = key
        self._numbers = array("I")
        self._digests = bytearray()
        self._file.write(MAGIC)

    def add(self, number: int, page: bytes) -> None:
        """Append the page of that number; numbers come in ascending order."""
        self._numbers.append(number)
        self._digests += digest(page)
        self._file.write(page)

    def finish(self, header: dict[str, Any]) -> tuple[int, int]:
        """Write the header and have it all on the disk; returns how many pages and how many bytes."""
        text = json.dumps(header, separators=(",", ":")).encode()
        numbers, digests = self._numbers.tobytes(), bytes(self._digests)
        seal = mac(self._key, len(self._numbers), (numbers, digests, text))
        for part in (numbers, digests, text, TRAILER.pack(len(self._numbers), len(text), seal)):
            self._file.write(part)
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        return len(self._numbers), size

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def digest(page: bytes) -> bytes:
    """Return the digest by which a page in a pack is checked."""
    return hashlib.blake2b(page, digest_size=DIGEST).digest()


def mac(key: bytes, count: int, index: Iterable[bytes]) -> bytes:
    """Return what only somebody with the owner's key could have written at the end of a pack.

    `index` is the numbers, the digests and the header, in pieces of any size.
    """
    sealed = hashlib.blake2b(struct.pack("<Q", count), key=key, digest_size=MAC)
    for piece in index:
        sealed.update(piece)
    return sealed.digest()


def read_seals(path: Path, seq: int, at: int) -> bytes | None:
    """Return the seals of all pages as noted of the moment `seq`, made `at`; None when they are not of that, or torn.

    The time tells two moments of one number apart: copies go on where they stand when their folder was changed and changed back.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < SEALS_HEAD.size:
        return None
    seals = content[SEALS_HEAD.size :]
    is_sound = SEALS_HEAD.unpack_from(content) == (SEALS_MAGIC, seq, at, digest(seals))
    return seals if is_sound else None


def noted(path: Path) -> tuple[int, int] | None:
    """Return the moment that seals are noted of, (number, time), by whichever process; None when there are none."""
    try:
        with path.open("rb") as file:
            magic, seq, at, _ = SEALS_HEAD.unpack(file.read(SEALS_HEAD.size))
    except (OSError, struct.error):
        return None
    return (seq, at) if magic == SEALS_MAGIC else None


def write_seals(path: Path, seq: int, at: int, seals: bytes) -> None:
    """Note the seals of all pages as of the moment `seq`, made `at`, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(SEALS_HEAD.pack(SEALS_MAGIC, seq, at, digest(seals)) + seals)
    fresh.replace(path)


def open_database(path: str) -> BinaryIO:
    """Open a database file to read its pages; raises `OSError` for a link or anything but a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a file")
    return open(descriptor, "rb", buffering=0)


def pages_of(file: BinaryIO, count: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first page, bytes) of `count` pages in blocks; raises `SourceFailed`, also for a shorter file."""
    file.seek(0)
    for first in range(0, count, BLOCK // PAGE):
        wanted = min(BLOCK, (count - first) * PAGE)
        block = b""
        while len(block) < wanted:
            more = _read(file, wanted - len(block))
            if not more:
                raise SourceFailed("the file is shorter than its own page count")
            block += more
        yield first, block


def _read(file: BinaryIO, most: int) -> bytes:
    try:
        return file.read(most)
    except OSError as error:
        raise SourceFailed(error.errno, error.strerror) from error


def copy(file: BinaryIO, order: dict[str, Any]) -> dict[str, Any]:
    """Write the pack that `order` asks for; returns how many pages and bytes it has, and whether it is a base."""
    known = None if order["base"] else read_seals(Path(order["seals"]), *order["after"])
    old = known or b""
    header = order["header"] if known is not None else {**order["header"], "parent": 0}
    seals, count = bytearray(), order["header"]["page_count"]
    writer = PackWriter(Path(order["pack"]), bytes.fromhex(order["key"]))
    try:
        for first, block in pages_of(file, count):
            for place in range(len(block) // PAGE):
                at = place * PAGE
                seal, here = block[at + SEAL_AT : at + SEAL_AT + SEAL], (first + place) * SEAL
                seals += seal
                if known is None or seal != old[here : here + SEAL]:
                    writer.add(first + place + 1, block[at : at + PAGE])
        pages, size = writer.finish(header)
    finally:
        writer.close()
    write_seals(Path(order["seals"] + ".next"), header["seq"], header["at"], bytes(seals))
    return {"pages": pages, "bytes": size, "parent": header["parent"]}


def main() -> None:
    """Take orders, a JSON line each, until there are no more: {"open": path}, then {"pack": …} or {"drop": true}."""
    file: BinaryIO | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "open" in order:
                file = open_database(order["open"])
                answer: dict[str, Any] = {"size": os.fstat(file.fileno()).st_size}
            elif "pack" in order:
                assert file is not None
                answer = copy(file, order)
            else:
                answer = {}
        except OSError as error:
            is_source = "open" in order or isinstance(error, SourceFailed)
            answer = {"error": error.strerror or str(error), "errno": error.errno, "source": is_source}
        if "open" not in order and file is not None:
            file.close()
            file = None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
