"""Spoilt pages of a living file, put back from the copies as they were."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from app.backups import repair
from app.backups.raw import PAGE
from app.tenancy.database import connect
from app.tenancy.errors import DatabaseUnreadable


@pytest.fixture
def spoilt(tenancy, keeper, alpha):
    """Return a way to spoil a page of alpha's file, of which there is a copy."""
    keeper.copy(alpha.id)
    tenancy.pool.discard(alpha.id)
    path = tenancy.placements.file(alpha.id)

    def spoil(number: int, at: int) -> bytes:
        before = path.read_bytes()
        with path.open("r+b") as file:
            file.seek((number - 1) * PAGE + at)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        return before

    return spoil


def test_a_sound_file_has_no_spoilt_pages(tenancy, alpha):
    tenancy.pool.discard(alpha.id)
    path, key = tenancy.placements.file(alpha.id), tenancy.keys.database_key(alpha.id)
    assert repair.spoilt_pages(path, key) == []
    assert len(repair.spoilt_pages(path, bytes(32))) == path.stat().st_size // PAGE, "another key fits no page"


@pytest.mark.parametrize("at", [0, 700, 4020, 4040, 4095])
@pytest.mark.parametrize("number", [1, 9])
def test_a_flipped_bit_is_put_back_exactly(tenancy, keeper, alpha, spoilt, number, at):
    before = spoilt(number, at)
    done = repair.repair(tenancy, keeper, alpha)
    if (number, at) == (1, 0):
        # The salt is part of what every page is checked with: all of them are spoilt, and the copies have all of them.
        assert len(done.spoilt) == len(before) // PAGE
    else:
        assert done.spoilt == [number]
    assert done.lost == []
    path, key = tenancy.placements.file(alpha.id), tenancy.keys.database_key(alpha.id)
    assert repair.spoilt_pages(path, key) == []
    with closing(connect(path, key)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert path.read_bytes()[PAGE:] == before[PAGE:]


def test_a_page_that_no_copy_has_as_it_was_is_not_guessed(tenancy, keeper, alpha, spoilt):
    path, key = tenancy.placements.file(alpha.id), tenancy.keys.database_key(alpha.id)
    with closing(connect(path, key)) as file:
        file.execute("UPDATE stamp SET version = version + 1")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    number = page_of_stamp(path, keeper.shelf(alpha.id))
    before = spoilt(number, 700)
    after = path.read_bytes()
    done = repair.repair(tenancy, keeper, alpha)
    assert done.lost == [number]
    assert path.read_bytes()[PAGE:] == after[PAGE:] != before[PAGE:]


def page_of_stamp(path, shelf) -> int:
    """Return the number of the page that differs from its copy."""
    live = path.read_bytes()
    with shelf.chain(shelf.newest().seq) as chain:
        differ = [
            number
            for place, number in enumerate(chain[0].numbers)
            if number > 1 and chain[0].page(place) != live[(number - 1) * PAGE : number * PAGE]
        ]
    return differ[0]


def test_the_tenant_serves_again_after_a_repair(tenancy, keeper, alpha, spoilt, client_for):
    spoilt(1, 700)
    with pytest.raises(DatabaseUnreadable):
        tenancy.placements.open_file(alpha.id)
    assert client_for(alpha).get("/").status_code == 503
    repair.repair(tenancy, keeper, alpha)
    assert client_for(alpha).get("/").status_code == 200, "the breaker holds for the old generation alone"
