"""A folder as a place for copies: all or nothing, and in plain words when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.backups.target import Folder, TargetDown


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "copies").mkdir()
    return Folder(tmp_path / "copies")


def put(folder: Folder, name: str, content: bytes) -> None:
    with folder.making() as made:
        folder.write(made, [content])
        folder.put(made, name)


def test_what_is_put_is_there_whole_and_takes_the_place_of_what_was(folder):
    put(folder, "ab/one/packs/x", b"first")
    put(folder, "ab/one/packs/x", b"second")
    with folder.open("ab/one/packs/x") as file:
        assert file.read() == b"second"
    assert folder.entries("ab/one/packs") == [("x", 6)]
    assert folder.folders("ab") == ["one"]
    assert folder.entries("nobody") == folder.folders("nobody") == []
    folder.remove("ab/one/packs/x")
    folder.remove("ab/one/packs/x")
    assert folder.entries("ab/one/packs") == []


def test_nothing_is_left_of_what_was_not_put(folder):
    with pytest.raises(ZeroDivisionError), folder.making() as made:
        folder.write(made, iter([b"half", 1 // 0]))
    assert list((folder.root / ".incoming").iterdir()) == []


def test_what_goes_wrong_with_the_source_is_not_said_of_the_target(folder):
    def pieces():
        yield b"half"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output") as found, folder.making() as made:
        folder.write(made, pieces())
    assert not isinstance(found.value, TargetDown)


def test_a_missing_folder_is_never_made_again_for_its_disk_may_not_be_mounted(folder):
    with folder.making() as made:
        folder.write(made, [b"whole"])
        folder.root.rename(folder.root.with_name("unmounted"))
        with pytest.raises(TargetDown, match="Is its disk mounted"):
            folder.put(made, "ab/one")
    for act in (lambda: folder.entries("ab"), lambda: folder.folders("ab"), folder.incoming, folder.room):
        with pytest.raises(TargetDown, match="Is its disk mounted"):
            act()
    assert not folder.root.exists()


def test_what_became_of_a_made_file_is_told_as_the_targets_trouble(folder):
    with folder.making() as made:
        folder.write(made, [b"whole"])
        made.unlink()
        with pytest.raises(TargetDown, match="gone"):
            folder.put(made, "ab/one")
    with pytest.raises(FileNotFoundError):
        folder.rename("ab/none", "ab/two")


def test_a_file_where_a_folder_should_be_is_told(folder):
    put(folder, "ab", b"in the way")
    with pytest.raises(TargetDown, match="cannot be kept"):
        put(folder, "ab/one", b"x")
    with pytest.raises(TargetDown, match="cannot be listed"):
        folder.entries("ab/one")


def test_links_and_pipes_are_not_followed_nor_waited_for(folder, tmp_path):
    put(folder, "ab/real", b"x")
    (folder.root / "ab/link").symlink_to(tmp_path)
    (folder.root / "ab/file").symlink_to(folder.root / "ab/real")
    os.mkfifo(folder.root / "ab/pipe")
    assert [entry.name for entry in folder.entries("ab")] == ["real"]
    assert folder.folders("ab") == []
    for name in ("ab/link", "ab/file", "ab/pipe", "ab"):
        with pytest.raises((FileNotFoundError, TargetDown)):
            folder.open(name)
