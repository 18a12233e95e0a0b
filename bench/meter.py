"""What the archivist takes, read from /proc while it runs: CPU by what it is spent on, and memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Installation, children, command_line, footprint, task_seconds

ARCHIVIST, RAW_SIDE, DRILL = "app.serve.archiving", "backups/raw.py", "backups drill"
EVERY = 0.5  # seconds between two looks

SWEEPS, COPIES, RAW, DRILLS, OTHER = "sweeps", "copies", "raw side", "drills", "other"
COUNTED = (SWEEPS, COPIES, RAW)  # the aim is for the archivist and its raw side; drills are told apart


@dataclass
class Taken:
    """CPU as shares of one core, by what it was spent on; memory (bytes) of archivist and raw side, the most that was seen."""

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    pss: int = 0

    @property
    def whole(self) -> float:
        """The archivist and its raw side together."""
        return sum(self.cpu.get(name, 0.0) for name in COUNTED)


class Meter:
    """Looks at the archivist of an installation. Its first thread sweeps, the others copy; its children say what they are."""

    def __init__(self, installation: Installation) -> None:
        self._pid = installation.process(ARCHIVIST)
        self._first: dict[tuple[str, str], float] = {}
        self._last: dict[tuple[str, str], float] = {}
        self._pss = 0

    @contextmanager
    def reading(self) -> Iterator[Taken]:
        """Look again and again during the block; what was found is there when it is over."""
        stop, taken, began = threading.Event(), Taken(), time.monotonic()
        self._first, self._pss = self._spent(), 0
        self._last = dict(self._first)
        watcher = threading.Thread(target=self._watch, args=(stop,))
        watcher.start()
        try:
            yield taken
        finally:
            stop.set()
            watcher.join()
        self._look()
        taken.seconds, taken.pss = time.monotonic() - began, self._pss
        taken.cpu = dict.fromkeys((SWEEPS, COPIES, RAW, DRILLS, OTHER), 0.0)
        for mark, spent in self._last.items():
            taken.cpu[mark[0]] += (spent - self._first.get(mark, 0.0)) / taken.seconds

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            self._look()

    def _look(self) -> None:
        self._last.update(self._spent())
        with suppress(OSError):
            self._pss = max(self._pss, sum(footprint(pid).pss for pid in (self._pid, *self._raw_sides())))

    def _spent(self) -> dict[tuple[str, str], float]:
        """Return the CPU time (s) of each thread and child so far."""
        found = {}
        for task in Path(f"/proc/{self._pid}/task").iterdir():
            with suppress(OSError):  # it has ended
                found[SWEEPS if task.name == str(self._pid) else COPIES, task.name] = task_seconds(task)
        for pid in children(self._pid):
            with suppress(OSError):
                found[_kind(pid), str(pid)] = task_seconds(Path(f"/proc/{pid}"))
        return found

    def _raw_sides(self) -> list[int]:
        return [pid for pid in children(self._pid) if _kind(pid) == RAW]


def _kind(pid: int) -> str:
    line = command_line(pid)
    return RAW if RAW_SIDE in line else DRILLS if DRILL in line else OTHER
