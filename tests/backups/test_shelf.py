"""Moments stay what they were: merged, thinned, cut short anywhere, over a target that was changed behind our back."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.backups import raw
from app.backups.packs import PackDamaged
from app.backups.shelf import PackName
from app.backups.target import Folder, TargetDown
from app.tenancy.errors import Refused
from tests.backups.book import BEGIN, Book

MB = 1 << 20
PLENTY = 1 << 40


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@given(
    st.lists(st.sampled_from(["copy", "copy", "copy", "base", "thin", "tight", "wait", "quiet"]), max_size=40),
    st.data(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_copied_and_thinned_every_moment_that_is_kept_is_what_it_was(tmp_path, acts, data):
    book = Book(tmp_path / str(random.random()), seed=data.draw(st.integers(0, 1000)))
    for act in acts:
        if act in ("copy", "base"):
            book.change()
            book.copy(base=act == "base")
        elif act == "quiet":
            book.copy()  # nothing has changed
        elif act == "wait":
            book.now += timedelta(hours=book.dice.choice([1, 3, 30, 300]))
        elif book.was:
            book.shelf.thin(book.now, 92, PLENTY if act == "thin" else 60_000)
            assert max(book.was) in book.check()
    book.check()
    shutil.rmtree(book.root)


def test_thinning_makes_little_of_much_and_goes_on_from_there(book):
    for _ in range(60):
        book.change()
        book.copy(after=timedelta(minutes=3))
    book.now += timedelta(hours=4)
    before = sum(book.shelf.packs().values())
    book.shelf.thin(book.now, 92, PLENTY)
    assert 16 <= len(book.check()) <= 20, "one in ten minutes of three hours"
    assert sum(book.shelf.packs().values()) < before
    book.live(3)
    assert book.check() >= {61, 62, 63}


class Died(Exception):
    pass


class Dying(Folder):
    """A target at which the process dies before or after a certain call."""

    def __init__(self, root: Path, calls: int) -> None:
        super().__init__(root)
        self.calls = calls

    def _count(self) -> None:
        self.calls -= 1
        if self.calls == 0:
            raise Died

    def put(self, made: Path, name: str) -> None:
        self._count()
        super().put(made, name)
        self._count()

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)


def test_thinning_that_dies_at_any_step_leaves_every_moment_that_stays_and_the_next_one_ends_it(tmp_path):
    made = Book(tmp_path / "made")
    for number in range(10):
        made.change()
        made.copy(base=number == 6, after=timedelta(minutes=2))
    made.now += timedelta(hours=3)
    clean = Book(tmp_path / "clean")
    shutil.copytree(made.target, clean.target, dirs_exist_ok=True)
    clean.shelf.thin(made.now, 92, PLENTY)
    stays = {moment.seq for moment in clean.shelf.moments()}
    deaths = 0
    for step in range(1, 1000):
        book = Book(tmp_path / f"step-{step}")
        book.was = made.was
        shutil.copytree(made.target, book.target, dirs_exist_ok=True)
        sound, book.shelf.target = book.shelf.target, Dying(book.target, step)
        try:
            book.shelf.thin(made.now, 92, PLENTY)
        except Died:
            deaths += 1
        else:
            break
        finally:
            book.shelf.target = sound
        assert book.check() >= stays
        assert all(moment.is_whole for moment in book.shelf.moments()), "a pack is left that builds upon what is gone"
        book.shelf.thin(made.now, 92, PLENTY)
        assert {moment.seq for moment in book.shelf.moments()} == book.check() == stays
        shutil.rmtree(book.root)
    assert deaths > 8


def test_thinning_that_is_killed_at_any_time_leaves_every_moment_that_stays(tmp_path):
    made = Book(tmp_path / "made")
    for _ in range(60):
        made.change()
        made.copy(after=timedelta(minutes=3))
    made.now += timedelta(hours=3)
    for number in range(6):
        book = Book(tmp_path / f"round-{number}")
        book.was = made.was
        shutil.copytree(made.target, book.target, dirs_exist_ok=True)
        child = os.fork()
        if not child:
            book.shelf.thin(made.now, 92, PLENTY)
            os._exit(0)
        threading.Event().wait(made.dice.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        book.check()
        book.shelf.thin(made.now, 92, PLENTY)
        assert len(book.check()) <= 20


def test_a_full_target_leaves_nothing_half_made_and_what_is_too_old_goes_all_the_same(book, monkeypatch):
    book.live(4)
    book.now += timedelta(days=40)
    book.copy(base=True)
    for _ in range(20):
        book.change()
        book.copy(after=timedelta(minutes=3))
    book.now += timedelta(hours=3)

    def full(self, number, page):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(raw.PackWriter, "add", full)
    with pytest.raises(TargetDown, match="no room left"):
        book.shelf.thin(book.now, 30, PLENTY)
    monkeypatch.undo()
    assert list((book.target / ".incoming").iterdir()) == []
    assert 1 not in book.check()
    assert max(book.was) in book.check()


def test_a_chain_with_a_lost_pack_waits_for_its_disk_and_goes_when_it_is_too_old(book):
    book.live(5)
    book.pack(3).rename(book.root / "lost.pack")
    book.copy(base=True)
    book.shelf.thin(book.now + timedelta(days=30), 92, 10)
    assert {moment.seq for moment in book.shelf.moments()} >= {4, 5, 6}
    book.shelf.thin(book.now + timedelta(days=93), 92, PLENTY)
    assert {moment.seq for moment in book.shelf.moments()} == {6}


def test_what_cannot_be_brought_back_takes_no_room_from_what_can(book):
    book.live(3)
    book.pages = [book.dice.randbytes(raw.PAGE) for _ in range(60)]
    book.copy()
    book.pages = book.pages[:4]
    book.pack(3).unlink()
    book.copy(base=True)
    for _ in range(5):
        book.change()
        book.copy(after=timedelta(minutes=20))
    book.shelf.thin(book.now, 92, 200_000)
    assert len(book.check()) >= 8


def test_a_moment_that_is_thinned_while_it_is_opened_is_opened_as_what_it_is_now(book, monkeypatch):
    for _ in range(10):
        book.change()
        book.copy(after=timedelta(minutes=1))
    book.now += timedelta(hours=3)
    opened = book.shelf.open

    def thinned_first(name):
        monkeypatch.undo()
        book.shelf.thin(book.now, 92, PLENTY)
        return opened(name)

    monkeypatch.setattr(book.shelf, "open", thinned_first)
    assert book.read(10) == book.was[10]


ODD = ("0000000000-0000000000", "0000000004-0000000009", "٠٠٠٠٠٠٠٠٠٩-0000000000", "00000000009-0000000000")


@pytest.mark.parametrize("name", [f"{odd}-1780000000000000.pack" for odd in ODD])
def test_a_name_that_no_copy_could_have_is_no_packs(book, name):
    book.live(2)
    (book.pack(1).parent / name).write_bytes(book.pack(1).read_bytes())
    assert book.check() == {1, 2}
    assert book.shelf.at(BEGIN + timedelta(days=900)).seq == 2


def test_no_moment_is_found_before_the_first_and_the_newest_one_after_the_last(book):
    with pytest.raises(Refused, match="no copy of it yet"):
        book.shelf.newest()
    book.live(3)
    with pytest.raises(Refused, match="Nothing is kept of the time up to"):
        book.shelf.at(BEGIN)
    assert book.shelf.at(BEGIN + timedelta(seconds=17)).seq == 2
    assert book.shelf.at(BEGIN + timedelta(days=9000)).seq == 3
    with pytest.raises(Refused, match="not kept any more"):
        book.shelf.moment(4)


def test_a_page_that_comes_back_to_what_it_was_is_copied_by_its_new_seal(book):
    first = book.pages[0]
    book.copy()
    book.pages[0] = first[: raw.SEAL_AT] + book.dice.randbytes(64)  # SQLCipher seals the same content anew
    book.copy()
    assert book.shelf.header(book.shelf.newest()).page_count == 8
    with book.shelf.open(max(book.shelf.packs())) as pack:
        assert list(pack.numbers) == [1]
    book.pages[0] = first
    book.copy()
    assert book.check() == {1, 2, 3}


@pytest.mark.parametrize("how", ["missing", "torn", "empty", "noise", "older", "of another life"])
def test_the_next_copy_is_right_whatever_became_of_the_notes(book, how):
    book.live(3)
    older = book.seals.read_bytes()
    book.live(3)
    if how == "missing":
        book.seals.unlink()
    elif how == "torn":
        os.truncate(book.seals, book.seals.stat().st_size - 20)
    elif how == "empty":
        book.seals.write_bytes(b"")
    elif how == "noise":
        book.seals.write_bytes(os.urandom(500))
    elif how == "older":
        book.seals.write_bytes(older)
    else:
        head = raw.SEALS_HEAD.unpack_from(book.seals.read_bytes())
        raw.write_seals(book.seals, head[1], head[2] + 1, book.seals.read_bytes()[raw.SEALS_HEAD.size :])
    book.live(3)
    assert book.check() == set(range(1, 10))
    assert {name.parent for name in book.shelf.packs() if name.seq == 7} == {0}


def test_a_copy_that_was_kept_and_not_noted_is_followed_by_a_right_one(book):
    book.live(3)
    book.change()
    book.copy(note=False)
    book.live(2)
    assert book.check() == set(range(1, 7))


@pytest.mark.parametrize("back_to", [0, 3])
def test_a_target_that_was_emptied_or_put_back_is_copied_to_rightly(book, back_to):
    book.live(back_to)
    past = book.root / "past"
    shutil.copytree(book.target, past)
    book.live(4)
    shutil.rmtree(book.target)
    past.rename(book.target)
    book.live(3)
    assert book.check() == set(range(1, back_to + 4))


def test_a_target_that_was_changed_for_another_and_changed_back_is_copied_to_rightly(book):
    """The trap: the notes are of a moment with a lower number, made later, in another folder."""
    book.live(6)
    first = dict(book.was)
    book.target.rename(book.root / "aside")
    book.target.mkdir()
    book.live(3)
    book.target.rename(book.root / "other")
    (book.root / "aside").rename(book.target)
    book.was = first
    book.pages[1] = book.dice.randbytes(raw.PAGE)
    book.copy()
    assert book.check() == set(range(1, 8))


def test_a_file_that_shrinks_and_grows_again_is_whole_at_every_moment(book):
    for size in (20, 3, 20, 1, 2, 40, 5):
        del book.pages[size:]
        book.pages += [book.dice.randbytes(raw.PAGE) for _ in range(size - len(book.pages))]
        book.copy(after=timedelta(minutes=1))
    assert book.check() == set(range(1, 8))
    book.shelf.thin(book.now + timedelta(hours=30), 92, PLENTY)
    assert 7 in book.check()


def test_a_damaged_pack_stops_the_thinning_before_anything_is_removed_and_set_aside_it_stops_nothing(book):
    for _ in range(20):
        book.change()
        book.copy(after=timedelta(minutes=2))
    book.now += timedelta(hours=3)
    path = book.pack(9)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    before = {moment.seq for moment in book.shelf.moments()}
    with pytest.raises(PackDamaged):
        book.shelf.thin(book.now, 92, PLENTY)
    assert len(before) == 20
    assert max(book.was) in {moment.seq for moment in book.shelf.moments() if moment.is_whole}
    book.shelf.set_aside(next(name for name in book.shelf.packs() if name.seq == 9))
    book.copy(base=True)
    book.shelf.thin(book.now, 92, PLENTY)
    assert 21 in book.check()
    assert len(list((path.parents[1] / "damaged").iterdir())) == 1


def test_a_stored_file_is_kept_whole_or_not_at_all(book, tmp_path, monkeypatch):
    source = tmp_path / ("ab" * 32)
    source.write_bytes(os.urandom(3 * MB))
    with monkeypatch.context() as broken, pytest.raises(TargetDown):
        broken.setattr(os, "fsync", _full)
        book.shelf.keep_file(source)
    assert book.shelf.files() == {}
    assert list((book.target / ".incoming").iterdir()) == []
    book.shelf.keep_file(source)
    assert book.shelf.files() == {source.name: 3 * MB}
    with book.shelf.target.open(book.shelf.file_path(source.name)) as kept:
        assert kept.read() == source.read_bytes()


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_the_names_of_packs_tell_them_apart():
    name = PackName(7, 3, 1_780_000_000_000_000)
    assert PackName.read(str(name)) == name
    for other in ("", "x.pack", f"{name}.new", f"../{name}", f"{name}\n"):
        assert PackName.read(other) is None
