"""The place of the copies full, slow, gone; processes killed: no write of a tenant fails, it is told, and it is caught up."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from app.backups import capture
from app.backups.archivist import Archivist
from app.backups.keeper import CENTRAL, Keeper
from app.backups.restore import assemble, verify
from app.backups.target import TargetDown
from app.facilities.events import Event
from app.serve.folders import make_folders
from app.tenancy import ResolvedTenant, Tenancy, db
from app.tenancy.database import connect
from app.tenancy.errors import DatabaseUnreadable
from tests.backups.rounds import look_and_round, quick, row, seqs, settled
from tests.running import children, until
from tests.serve.running import ROOT, environment_of


@pytest.fixture
def small_target(home: Path) -> Iterator[Path]:
    """Put the copies on a file system of 8 MB."""
    place = home / "backups"
    place.mkdir(exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=False, capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


class Visitors:
    """Two threads that write to a tenant through the application; how long each took is kept, and what failed."""

    def __init__(self, write: Callable[[], object]) -> None:
        self.took: list[float] = []
        self.failed: list[Exception] = []
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, args=(write,)) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _go_on(self, write: Callable[[], object]) -> None:
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                write()
            except Exception as error:
                self.failed.append(error)
            self.took.append(time.monotonic() - began)
            time.sleep(0.02)

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def visitors(alpha, at) -> Iterator[Visitors]:
    def write() -> None:
        db.session.add(Event(kind="LinePosted", subject="line:1", audience="members"))

    begun = Visitors(lambda: at(alpha, write))
    yield begun
    begun.end()


def all_written(visitors: Visitors) -> None:
    visitors.end()
    assert visitors.failed == []
    assert len(visitors.took) > 5
    assert max(visitors.took) < 4


def rounds(archivist: Archivist, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        look_and_round(archivist)
        time.sleep(0.02)


def whole(keeper: Keeper, tenancy: Tenancy, owner: str, scratch: Path) -> int:
    """Check that every whole moment of an owner restores and proves; returns how many there are."""
    shelf, count = keeper.shelf(owner), 0
    for moment in shelf.moments():
        assert moment.is_whole
        path = scratch / f"{owner}-{moment.seq}"
        header = assemble(shelf, moment, path)
        verify(path, tenancy.keys.database_key(owner, header.key_version), header)
        path.unlink()
        count += 1
    return count


def caught_up(app, archivist: Archivist, tenancy: Tenancy, tenant: ResolvedTenant, before: int, scratch: Path) -> None:
    until(lambda: not archivist.round() and archivist._watched[tenant.id].dirty_since == 0.0, 20)
    settled(archivist)
    assert seqs(archivist, tenant.id)[0] > before
    noted = row(app, tenant)
    assert (noted.late_since, noted.error) == (None, "")
    assert whole(archivist.keeper, tenancy, tenant.id, scratch)
    shelf = archivist.keeper.shelf(tenant.id)
    assert list((shelf.target.root / ".incoming").iterdir()) == []
    path = scratch / "newest"
    header = assemble(shelf, shelf.newest(), path)
    with closing(tenancy.placements.open_file(tenant.id)) as living:
        assert living.execute("SELECT coalesce(max(id), 0) FROM event").fetchone() == (header.event_id,)


def test_a_full_target_fails_no_write_is_told_and_caught_up(
    small_target, app, archivist, tenancy, alpha, visitors, tmp_path
):
    rounds(archivist, 0.5)
    before = seqs(archivist, alpha.id)[0]
    ballast = small_target / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    rounds(archivist, 1.2)
    noted = row(app, alpha)
    assert noted.late_since is not None
    assert "room left" in noted.error
    with pytest.raises(TargetDown, match="no room left"):
        while True:  # until what was left of the last page is used up
            archivist.keeper.copy(alpha.id)
            time.sleep(0.05)
    ballast.unlink()
    all_written(visitors)
    caught_up(app, archivist, tenancy, alpha, before, tmp_path)


@contextmanager
def gone(place: Path) -> Iterator[None]:
    place.rename(place.with_name("elsewhere"))
    yield
    assert not place.exists(), "what lies under a mount is filled"
    place.with_name("elsewhere").rename(place)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    if subprocess.run(["mount", "--bind", str(place), str(place)], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize(("how", "saying"), [(gone, "Is its disk mounted"), (read_only, "Read-only")])
def test_a_target_that_is_gone_fails_no_write_is_told_and_caught_up(
    app, archivist, tenancy, alpha, visitors, tmp_path, how, saying
):  # fmt: skip
    rounds(archivist, 0.5)
    before = seqs(archivist, alpha.id)[0]
    with how(tenancy.config.backups):
        rounds(archivist, 1.2)
        noted = row(app, alpha)
        assert noted.late_since is not None
        assert saying in noted.error
        with pytest.raises(TargetDown, match=saying):
            archivist.keeper.copy(alpha.id)
    all_written(visitors)
    caught_up(app, archivist, tenancy, alpha, before, tmp_path)


def test_a_target_that_hangs_fails_no_write_is_told_and_caught_up(
    app, archivist, tenancy, alpha, visitors, tmp_path, monkeypatch
):  # fmt: skip
    rounds(archivist, 0.5)
    before = seqs(archivist, alpha.id)[0]
    monkeypatch.setattr(capture, "LEAST_PATIENCE", 0.3)
    monkeypatch.setattr(capture, "HELD_PATIENCE", 0.3)
    end, made = time.monotonic() + 1.5, 0
    while time.monotonic() < end:
        process = archivist.keeper.raw_side._running()
        os.kill(process.pid, signal.SIGSTOP)
        tenancy.keys.make(f"owner-{made}")  # the keyring too can be written to
        made += 1
        look_and_round(archivist)
        time.sleep(0.02)
    noted = row(app, alpha)
    assert noted.late_since is not None
    assert "slow or gone" in noted.error
    monkeypatch.undo()
    quick(monkeypatch)
    archivist.keeper.raw_side.close()
    all_written(visitors)
    caught_up(app, archivist, tenancy, alpha, before, tmp_path)


def test_the_keyring_is_held_for_less_time_than_its_writers_wait(app, archivist, tenancy):
    settled(archivist)
    tenancy.keys.make("one more")
    process = archivist.keeper.raw_side._running()
    os.kill(process.pid, signal.SIGSTOP)
    copying = threading.Thread(target=lambda: look_and_round(archivist))
    copying.start()
    time.sleep(0.2)
    began = time.monotonic()
    tenancy.keys.make("another")
    assert time.monotonic() - began < 4
    copying.join()


def test_the_raw_side_killed_in_the_middle_of_a_pack_leaves_nothing_and_the_next_copy_is_right(
    keeper, tenancy, alpha, tmp_path
):
    with closing(tenancy.placements.open_file(alpha.id)) as file:
        file.execute("CREATE TABLE written (filler BLOB)")
        file.execute("INSERT INTO written VALUES (randomblob(3000000))")
    for number in range(5):
        with closing(tenancy.placements.open_file(alpha.id)) as file:
            file.execute("UPDATE written SET filler = randomblob(3000000)")
        process = keeper.raw_side._running()
        killer = threading.Timer(0.01 + number * 0.01, process.kill)
        killer.start()
        with suppress(TargetDown):
            keeper.copy(alpha.id)
        killer.join()
        assert list((tenancy.config.backups / ".incoming").glob("*")) == []
    keeper.copy(alpha.id)
    assert whole(keeper, tenancy, alpha.id, tmp_path)


@pytest.mark.parametrize("how", ["missing", "a link", "a pipe", "a folder", "shorter than it says"])
def test_a_database_whose_pages_cannot_be_read_is_not_said_to_be_the_targets_trouble(keeper, tmp_path, how):
    path = tmp_path / "main.sqlite3"
    if how == "a link":
        path.symlink_to("/dev/zero")
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "a folder":
        path.mkdir()
    elif how == "shorter than it says":
        path.write_bytes(bytes(4096))
    header = {"owner": "x", "seq": 1, "parent": 0, "at": 1, "page_count": 9, "key_version": 1}
    order = {"pack": str(tmp_path / "pack"), "seals": str(tmp_path / "seals"), "after": [0, 0], "header": header}
    with pytest.raises(DatabaseUnreadable, match="pages of the file cannot be read"):
        keeper.raw_side.ask({"open": str(path)})
        keeper.raw_side.ask({**order, "key": "00" * 32, "base": True})


def test_the_whole_archivist_killed_again_and_again_goes_on_and_nothing_half_made_counts(
    app, tenancy, keeper, alpha, config, tmp_path
):
    make_folders(config)
    dice, stop = random.Random(3), threading.Event()
    with closing(tenancy.placements.open_file(alpha.id)) as file:
        file.execute("CREATE TABLE written (filler BLOB)")

    def writer() -> None:
        while not stop.is_set():
            with closing(tenancy.placements.open_file(alpha.id)) as file:
                file.execute("INSERT INTO written VALUES (randomblob(30000))")
            time.sleep(0.05)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(2):
            count = len(keeper.shelf(alpha.id).moments())
            process = subprocess.Popen(
                [sys.executable, "-m", "app.serve.archiving"],
                cwd=ROOT,
                env=environment_of(config),
                stderr=subprocess.DEVNULL,
            )
            try:
                until(lambda count=count: len(keeper.shelf(alpha.id).moments()) > count)
                time.sleep(dice.random())
                raw_sides = children(process.pid)
            finally:
                process.kill()
                process.wait()
            until(lambda raw_sides=raw_sides: not [pid for pid in raw_sides if Path(f"/proc/{pid}").exists()], 15)
    finally:
        stop.set()
        thread.join()
    assert not tenancy.registry.sealed()
    keeper.copy(alpha.id)
    for owner in (alpha.id, *CENTRAL[1:]):
        assert whole(keeper, tenancy, owner, tmp_path)
    shelf = keeper.shelf(alpha.id)
    with closing(tenancy.placements.open_file(alpha.id)) as living:
        rows = living.execute("SELECT count(*) FROM written").fetchone()
    assemble(shelf, shelf.newest(), tmp_path / "newest")
    with closing(connect(tmp_path / "newest", tenancy.keys.database_key(alpha.id), journal="DELETE")) as copy:
        assert copy.execute("SELECT count(*) FROM written").fetchone() == rows


def test_a_target_that_was_lost_and_is_begun_anew_is_filled_again(archivist, tenancy, alpha, tmp_path):
    settled(archivist)
    root = tenancy.config.backups
    shutil.rmtree(root)
    root.mkdir()
    with closing(tenancy.placements.open_file(alpha.id)) as file:
        file.execute("CREATE TABLE written (filler BLOB)")
    settled(archivist)
    assert whole(archivist.keeper, tenancy, alpha.id, tmp_path) == 1
