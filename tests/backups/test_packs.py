"""A pack is believed only when every bit of it is what its owner wrote."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from pathlib import Path

import pytest

from app.backups import raw
from app.backups.packs import Pack, PackDamaged, PackLocked
from app.backups.target import Folder
from app.tenancy.errors import DatabaseUnreadable
from tests.backups.book import OWNER, Book, key_of

OTHER = "f" * 32


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path)
    book.live(6)
    return book


def refused(book: Book, seq: int, saying: str | None = None) -> None:
    """Check that a moment is refused, its pack named where that is known, and that no file appears of it."""
    before = sorted(path.name for path in book.root.iterdir())
    with pytest.raises(PackDamaged, match=saying):
        book.read(seq)
    assert sorted(path.name for path in book.root.iterdir()) == before


def regions(path: Path) -> dict[str, range]:
    size = path.stat().st_size
    count, length, _ = raw.TRAILER.unpack(path.read_bytes()[-raw.TRAILER.size :])
    pages = len(raw.MAGIC) + count * raw.PAGE
    numbers, digests = pages + 4 * count, pages + (4 + raw.DIGEST) * count
    return {
        "magic": range(len(raw.MAGIC)),
        "page": range(len(raw.MAGIC), pages),
        "numbers": range(pages, numbers),
        "digests": range(numbers, digests),
        "header": range(digests, digests + length),
        "trailer": range(digests + length, size),
    }


@pytest.mark.parametrize("region", ["magic", "page", "numbers", "digests", "header", "trailer"])
def test_a_flipped_byte_anywhere_is_named_and_the_other_moments_stay(book, region):
    path = book.pack(6)
    whole = path.read_bytes()
    places = list(regions(path)[region])
    for place in {places[0], places[-1], *(places[book.dice.randrange(len(places))] for _ in range(20))}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << book.dice.randrange(8))]) + whole[place + 1 :])
        refused(book, 6, str(path.relative_to(book.target)))
    path.write_bytes(whole)
    assert book.check() == {1, 2, 3, 4, 5, 6}
    os.truncate(path, 100)
    assert [book.read(seq) for seq in (1, 2, 3, 4, 5)] == [book.was[seq] for seq in (1, 2, 3, 4, 5)]


def test_a_pack_that_is_cut_short_anywhere_or_grew_is_refused(book):
    path = book.pack(6)
    whole = path.read_bytes()
    for size in (0, 1, 15, 16, 60, raw.PAGE, len(whole) // 2, len(whole) - 45, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(book, 6, "cut short|not a pack|says more")
    path.write_bytes(whole + b"\0")
    refused(book, 6)


def test_a_lost_pack_takes_the_moments_that_build_upon_it_and_no_other(book):
    book.copy(base=True)
    book.pack(4).unlink()
    assert {moment.seq for moment in book.shelf.moments() if not moment.is_whole} == {5, 6}
    assert book.check() == {1, 2, 3, 7}


def test_another_tenants_pack_under_this_name_is_refused(book, tmp_path):
    other = Book(tmp_path / "other", OTHER, seed=2)
    other.live(6)
    path = book.pack(6)
    path.write_bytes(other.pack(6).read_bytes())
    refused(book, 6, f"is a pack of {OTHER}, not of {OWNER}")


def test_another_tenants_pack_with_this_tenants_name_in_it_is_refused_by_the_key(book, tmp_path):
    """The trap with the first guard out: who can write at the target can write any name, but has no key."""
    path = book.pack(6)
    made, whole = tmp_path / "forged", path.read_bytes()
    writer = raw.PackWriter(made, b"\x07" * 32)
    for number in (1, 2):
        writer.add(number, bytes(raw.PAGE))
    span = regions(path)["header"]
    writer.finish(json.loads(whole[span.start : span.stop]))
    made.replace(path)
    refused(book, 6, "was changed after it was written")


def test_a_pack_under_another_of_its_owners_names_is_refused(book):
    five, six = book.pack(5), book.pack(6)
    six.write_bytes(five.read_bytes())
    refused(book, 6, "carries another pack's name")
    assert book.read(5) == book.was[5]


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "device"])
def test_what_is_no_file_is_no_pack_and_nobody_waits_for_it(book, tmp_path, what):
    path = book.pack(6)
    kept = tmp_path / "kept.pack"
    path.rename(kept)
    if what == "link":
        path.symlink_to(kept)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert book.check() == {1, 2, 3, 4, 5}
    with pytest.raises((FileNotFoundError, PackDamaged)):
        book.shelf.target.open(str(path.relative_to(book.target)))


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a" * 63, "A" * 64, "..", "a/" * 32])
def test_a_stored_file_is_looked_for_by_its_own_kind_of_name_alone(book, name):
    with pytest.raises(ValueError, match="64 hexadecimal"):
        book.shelf.file_path(name)


@pytest.mark.parametrize("count", [1 << 28, (1 << 40) // 4096, (1 << 64) - 1])
def test_a_claim_of_a_terabyte_is_held_against_the_size_of_the_file(book, count):
    path = book.pack(6)
    whole = path.read_bytes()
    path.write_bytes(whole[: -raw.TRAILER.size] + raw.TRAILER.pack(count, 60, bytes(32)))
    tracemalloc.start()
    refused(book, 6, "says more of itself than there is")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def forged(book: Book, header: bytes) -> Path:
    path = book.pack(6)
    path.write_bytes(raw.MAGIC + header + struct.pack("<QI32s", 0, len(header), bytes(32)))
    return path


HEADER = {"owner": OWNER, "seq": 6, "parent": 5, "at": 1, "page_count": 1, "key_version": 1}


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b"[" * 60_000,
        b'{"owner": ' + b"[" * 60_000,
        json.dumps({**HEADER, "more": 1}).encode(),
        json.dumps({**HEADER, "key_version": "1"}).encode(),
        json.dumps({**HEADER, "key_version": [1]}).encode(),
        json.dumps({**HEADER, "key_version": 1 << 70}).encode(),
        json.dumps({**HEADER, "key_version": -1}).encode(),
        json.dumps({**HEADER, "owner": [OWNER]}).encode(),
        json.dumps(HEADER).encode(),
    ],
)
def test_a_header_that_somebody_made_up_is_refused_and_never_a_failure_of_another_kind(book, header):
    forged(book, header)
    refused(book, 6)
    assert book.read(5) == book.was[5]


def test_a_pack_of_a_key_that_is_not_here_is_locked_rather_than_damaged(book):
    def no_key(version: int) -> bytes:
        raise DatabaseUnreadable(f"The keyring has no version {version}.")

    book.shelf.key_of = no_key
    with pytest.raises(PackLocked, match="key that is not here"):
        book.shelf.open(max(book.shelf.packs()))


def test_a_disk_that_fails_under_a_page_is_a_damaged_pack(book):
    class Failing:
        def __init__(self, file):
            self._file, self.fails = file, False

        def read(self, size):
            if self.fails:
                raise OSError(5, "Input/output error")
            return self._file.read(size)

        def seek(self, *place):
            return self._file.seek(*place)

        def close(self):
            self._file.close()

    path = str(book.pack(6).relative_to(book.target))
    with Folder(book.target).open(path) as file:
        failing = Failing(file)
        pack = Pack(failing, path, OWNER, key_of)
        failing.fails = True
        with pytest.raises(PackDamaged, match="cannot be read: Input/output error"):
            pack.page(0)
