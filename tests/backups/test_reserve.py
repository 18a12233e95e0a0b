"""Room held back: given when the disk is full, so that what is written can still come to rest."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from app.backups.reserve import Reserve


def fill(disk) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))


def test_it_is_taken_given_back_on_a_full_disk_and_taken_again(small_disk, tenancy, alpha, monkeypatch):
    monkeypatch.setattr("app.backups.reserve.SHARE", 20)
    reserve = Reserve(small_disk)
    assert reserve.mind()
    size = (small_disk / ".reserve").stat().st_size
    assert size > 200_000
    fill(small_disk)
    assert not reserve.mind(), "it was not given back"
    assert not (small_disk / ".reserve").exists()
    with closing(tenancy.placements.open_file(alpha.id)) as file:
        file.execute("PRAGMA user_version = 7")
        assert file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert not reserve.mind(), "taken while there is no plenty"
    (small_disk / "ballast").unlink()
    assert reserve.mind()


def test_what_a_killed_one_left_half_made_goes(small_disk):
    (small_disk / ".reserve.new").write_bytes(bytes(100_000))
    fill(small_disk)
    Reserve(small_disk).mind()
    assert not (small_disk / ".reserve.new").exists()


def test_a_disk_that_refuses_it_is_no_reason_to_stop(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert not Reserve(tmp_path).mind()
    assert not Reserve(tmp_path / "missing").mind()
