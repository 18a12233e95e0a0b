"""Whose turn it is to hash a password: one at a time for every two cores of the machine, whichever process asks.

A hash keeps a core busy for 30 ms, so a flood of them would slow every house. The places are locks that the kernel holds, gone
with their process. One thread of each process is always left for other work.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, current_app, has_app_context

from app.tenancy.errors import FreeholdError
from app.tenancy.locks import file_lock_if_free

PLACES = max(1, (os.cpu_count() or 2) // 2)
PATIENCE = 3.0  # seconds that one waits for its turn
GLANCE = 0.005  # seconds between two looks


class TooBusy(FreeholdError):
    """Too many passwords are being looked at at once; this one was not."""

    code = "busy"
    status = 503
    title = "Very busy right now"
    advice = "Very many people are signing in at the moment. Please try again in a few seconds."
    retry_after = 2


class Turns:
    """The places of one machine, as one process of `threads` threads sees them."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._here = threading.BoundedSemaphore(max(1, threads - 1))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a place for the block; raises `TooBusy` when too many wait here, or it takes too long."""
        if not self._here.acquire(blocking=False):
            raise TooBusy("Too many of this process's threads wait to hash.")
        try:
            with self._place():
                yield
        finally:
            self._here.release()

    @contextmanager
    def _place(self) -> Iterator[None]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for number in range(PLACES):
                with file_lock_if_free(self._folder / f"hash-{number}") as is_held:
                    if is_held:
                        yield
                        return
            time.sleep(GLANCE)
        raise TooBusy(f"There was no turn to hash within {PATIENCE:.0f} seconds.")


def init_app(app: Flask) -> None:
    """Give `app` its places."""
    config = app.config["FREEHOLD"]
    app.extensions["freehold.turns"] = Turns(config.instance / "locks", config.web_threads)


@contextmanager
def turn() -> Iterator[None]:
    """Hold a place for the block; outside of an application there is nobody to wait for."""
    if not has_app_context():
        yield
        return
    with current_app.extensions["freehold.turns"].turn():
        yield
