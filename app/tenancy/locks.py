"""Locks between processes: held by the kernel, gone with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = _open(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open(path)
    try:
        yield file
    finally:
        os.close(file)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)


@contextmanager
def file_lock(path: Path, *, is_shared: bool = False) -> Iterator[None]:
    """Hold a lock between processes for the block, alone or with others that share it; waits for it."""
    with _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
        yield


@contextmanager
def file_lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock for the block if nobody else does; yields whether it is held."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
