"""When the files of all tenants were written to last: one look at their time stamps, which opens none, for all who ask."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from app.tenancy.placements import Placements, Signature
from app.tenancy.registry import Registry

LOOKING_SHARE = 75  # a long look is followed by so many times its length without one
SHORT_LOOK = 0.005  # seconds of work


class Look(NamedTuple):
    """The signature of each tenant's file, by id, None where there is none, `at` some moment (monotonic seconds)."""

    at: float
    signatures: dict[str, Signature | None]


class Watch:
    """Looks at the files of one installation, and keeps the last look."""

    def __init__(self, registry: Registry, placements: Placements) -> None:
        self._registry = registry
        self._placements = placements
        self._guard = threading.Lock()
        self.last = Look(0.0, {})
        self.pause = 0.0  # seconds from one look to the next

    def look(self) -> Look:
        """Look, or return the last look when it is too early for another."""
        with self._guard:
            if time.monotonic() >= self.last.at + self.pause:
                began = time.thread_time()
                found = {each: self._placements.signature(each) for each in self._registry.keeping()}
                self.last = Look(time.monotonic(), found)
                took = time.thread_time() - began
                self.pause = LOOKING_SHARE * took if took > SHORT_LOOK else 0.0
            return self.last
