"""Pages of a living file that a disk has spoilt, put back from the copies: the very same version, or not at all.

SQLCipher 4 seals each page with HMAC-SHA512 over its ciphertext, its random vector and its number (little-endian, 32 bits), under
a key from two rounds of PBKDF2-HMAC-SHA512 with the file's salt, each byte of it XOR 0x3A (https://www.zetetic.net/sqlcipher/design/).
A kept page with the same vector or the same seal is the same version, so that what is mended is as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from app.backups import raw
from app.backups.keeper import Keeper
from app.backups.packs import PackDamaged
from app.backups.restore import Progress, quiet
from app.backups.shelf import Shelf
from app.tenancy import ResolvedTenant, Tenancy
from app.tenancy.errors import Refused

SALT = 16  # bytes at the beginning of the first page, which are no ciphertext
VECTOR_AT, SEAL_AT = 4016, 4032

LOOKING, MENDING = "Looking at every page", "Looking through the copies"


@dataclass(frozen=True)
class Repaired:
    """The numbers of the pages that were spoilt, and of those that no copy has as they were."""

    spoilt: list[int]
    lost: list[int]


def repair(tenancy: Tenancy, keeper: Keeper, tenant: ResolvedTenant, progress: Progress = quiet) -> Repaired:
    """Put back every spoilt page of a tenant's file of which the very version is kept, while nobody has the file.

    Nothing is written unless all of them can be put back: with a page lost, only a moment as a whole helps. Safe to repeat.
    Raises `Refused` when the file stays in use or is missing.
    """
    key = tenancy.keys.database_key(tenant.id)
    with tenancy.placements.drained(tenant.id) as drained:
        if drained.connection is not None:
            drained.connection.close()  # it has brought the log into the file; from here on the bytes are ours
        if not drained.path.exists():
            raise Refused(f"The file of {tenant.slug} is missing. Bring a moment back instead.")
        spoilt = spoilt_pages(drained.path, key, progress)
        found = _kept(keeper.shelf(tenant.id), drained.path, spoilt, progress)
        lost = [number for number in spoilt if number not in found]
        if not lost:
            _write(drained.path, found)
    tenancy.ledger.record("database_repaired", tenant.id, spoilt=len(spoilt), lost=len(lost))
    return Repaired(spoilt, lost)


def spoilt_pages(path: Path, key: bytes, progress: Progress = quiet) -> list[int]:
    """Return the numbers of the pages whose seal does not fit; nothing may have the file open."""
    size, spoilt = path.stat().st_size, []
    with path.open("rb") as file:
        salt = file.read(SALT)
        sealing = hashlib.pbkdf2_hmac("sha512", key, bytes(byte ^ 0x3A for byte in salt), 2, 32)
        for first, block in raw.pages_of(file, size // raw.PAGE):
            for place in range(len(block) // raw.PAGE):
                page = block[place * raw.PAGE : (place + 1) * raw.PAGE]
                if not _is_sound(page, first + place + 1, sealing):
                    spoilt.append(first + place + 1)
            progress(LOOKING, min((first + place + 1) * raw.PAGE, size), size)
    return spoilt


def _is_sound(page: bytes, number: int, key: bytes) -> bool:
    if not any(page):
        return True  # SQLite has not written it yet
    start = SALT if number == 1 else 0
    expected = hmac.new(key, page[start:SEAL_AT] + number.to_bytes(4, "little"), hashlib.sha512).digest()
    return hmac.compare_digest(expected, page[SEAL_AT:])


def _kept(shelf: Shelf, path: Path, wanted: list[int], progress: Progress) -> dict[int, bytes]:
    """Return of each wanted page the version that the file ought to have, where it is kept."""
    marks = {}
    with path.open("rb") as file:
        for number in wanted:
            file.seek((number - 1) * raw.PAGE + VECTOR_AT)
            marks[number] = file.read(raw.PAGE - VECTOR_AT)
    found: dict[int, bytes] = {}
    names = list(reversed(shelf.packs()))
    for count, name in enumerate(names, 1):
        if len(found) == len(wanted):
            break
        try:
            with shelf.open(name) as pack:
                for place, number in enumerate(pack.numbers):
                    if number in marks and number not in found:
                        page = pack.page(place)
                        if _is_same_version(page[VECTOR_AT:], marks[number]):
                            found[number] = page
        except PackDamaged:
            continue
        progress(MENDING, count, len(names))
    return found


def _is_same_version(kept: bytes, spoilt: bytes) -> bool:
    vector = SEAL_AT - VECTOR_AT
    return kept[:vector] == spoilt[:vector] or kept[vector:] == spoilt[vector:]


def _write(path: Path, pages: dict[int, bytes]) -> None:
    with path.open("r+b") as file:
        for number, page in sorted(pages.items()):
            file.seek((number - 1) * raw.PAGE)
            file.write(page)
        file.flush()
        os.fsync(file.fileno())
