"""Copies made while others write: each one is a state that was, with all that was acknowledged and nothing that was not."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from app.backups.capture import InUse
from app.backups.keeper import Keeper
from app.backups.restore import assemble, verify
from app.tenancy import ResolvedTenant, Tenancy
from app.tenancy.database import Connection, connect
from tests.running import until


def furnish(tenancy: Tenancy, tenant: ResolvedTenant, size: int) -> tuple[Path, bytes]:
    """Bring a tenant's file to `size` bytes, with a table to write to."""
    path, key = tenancy.placements.file(tenant.id), tenancy.keys.database_key(tenant.id)
    with closing(connect(path, key)) as file:
        file.execute("CREATE TABLE written (writer INTEGER, number INTEGER, at REAL, filler BLOB)")
        file.execute("CREATE TABLE ballast (filler BLOB)")
        file.execute("BEGIN")
        for _ in range(size // 1_000_000):
            file.execute("INSERT INTO ballast VALUES (randomblob(1000000))")
        file.execute("COMMIT")
    tenancy.pool.discard(tenant.id)
    return path, key


def proven(tenancy: Tenancy, keeper: Keeper, tenant: ResolvedTenant, seq: int, scratch: Path) -> Connection:
    """Restore a moment to a file of its own, check all of it as a restore does, and return it, open."""
    shelf = keeper.shelf(tenant.id)
    path = scratch / f"moment-{seq}.sqlite3"
    header = assemble(shelf, shelf.moment(seq), path)
    key = tenancy.keys.database_key(tenant.id, header.key_version)
    verify(path, key, header)
    return connect(path, key, journal="DELETE")


def check_against_the_record(restored: Connection, at: float, record: list[list[tuple[int, float, float]]]) -> int:
    """Check: no gap, nothing acknowledged before the moment missing, nothing begun after it there."""
    checked = 0
    for writer, acknowledged in enumerate(record):
        rows = restored.execute("SELECT number, at FROM written WHERE writer = ? ORDER BY number", (writer,)).fetchall()
        numbers = [number for number, _ in rows]
        assert numbers == list(range(1, len(numbers) + 1)), "a gap"
        safe = max((number for number, _, ended in acknowledged if ended <= at), default=0)
        assert len(numbers) >= safe, "an acknowledged row is missing"
        assert all(began <= at for _, began in rows), "a row from the future"
        checked += len(numbers)
    return checked


def rounds(tenancy, keeper, tenant, writers, tmp_path, size: int, seconds: float) -> tuple[int, float]:
    path, key = furnish(tenancy, tenant, size)
    keeper.copy(tenant.id)
    begun, held, moments = writers(path, key), [], []
    until(lambda: all(begun.acknowledged()))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            copied = keeper.copy(tenant.id)
        except InUse:
            continue
        held.append(copied.held)
        moments.append(copied.header)
        time.sleep(0.1)
    record = begun.stop()
    assert moments
    rows = 0
    for header in moments:
        with closing(proven(tenancy, keeper, tenant, header.seq, tmp_path)) as restored:
            rows = max(rows, check_against_the_record(restored, header.at / 1e6, record))
        (tmp_path / f"moment-{header.seq}.sqlite3").unlink()
    total, span = sum(len(each) for each in record), record[0][-1][2] - record[0][0][1]
    print(
        f"{len(moments)} moments of {size >> 20} MiB clean; {total / span:.0f} commits/s; "
        f"held mean {1000 * sum(held) / len(held):.1f} ms, max {1000 * max(held):.1f} ms; last has {rows} rows"
    )
    return len(moments), total / span


def test_every_moment_copied_under_three_writers_restores_clean(tenancy, keeper, alpha, writers, tmp_path):
    moments, _ = rounds(tenancy, keeper, alpha, writers, tmp_path, size=2_000_000, seconds=4)
    assert moments >= 5


@pytest.mark.prove
@pytest.mark.parametrize(("size", "seconds"), [(2_000_000, 60), (100_000_000, 30), (1_000_000_000, 30)])
def test_every_moment_copied_under_three_writers_restores_clean_at_length(
    tenancy, keeper, alpha, writers, tmp_path, size, seconds
):
    rounds(tenancy, keeper, alpha, writers, tmp_path, size=size, seconds=seconds)


def test_the_trap_pages_read_without_stillness_are_no_state_that_was(tenancy, alpha, writers, tmp_path):
    """The guard out: the same raw pages, read while nothing keeps the file still."""
    path, key = furnish(tenancy, alpha, 8_000_000)
    begun = writers(path, key, pace=0.0)
    until(lambda: all(begun.acknowledged()))
    torn = 0
    for number in range(40):
        copy = tmp_path / f"torn-{number}"
        with path.open("rb") as file, copy.open("wb") as out:
            while page := file.read(4096):
                out.write(page)
        torn += not is_a_state(copy, key, begun)
        copy.unlink()
        if torn:
            break
    assert torn, "a plain copy was never torn: the test shows nothing"


def is_a_state(path: Path, key: bytes, writers) -> bool:
    before = writers.acknowledged()
    try:
        with closing(connect(path, key, journal="DELETE")) as file:
            if file.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                return False
            check_against_the_record(file, path.stat().st_mtime - 1, before)
    except Exception:
        return False
    return True
