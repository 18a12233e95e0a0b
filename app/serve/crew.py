"""Several forks of one process that do the same work. What ends is made again; all end with the one that made them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog

from app.serve.lifelines import end_with

log = structlog.get_logger(__name__)

LOOK = 0.1  # seconds between two looks
BEAT = 1.0  # seconds between two signs of life
STEADY = 10.0  # seconds after which a member counts as running well
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a member that did not last is made again, doubling
GRACE = 5.7  # seconds for all to end; a job gets five of them
ENDING = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Place:
    """One place in the crew. Times are monotonic seconds."""

    pid: int = 0
    started_at: float = 0.0
    short_lives: int = 0
    start_at: float = 0.0


class Crew:
    """`size` forks of this process that each do `work`; `beat` is touched each second while this one looks after them."""

    def __init__(self, size: int, work: Callable[[], None], beat: Path) -> None:
        self._places = [Place() for _ in range(size)]
        self._work = work
        self._beat = beat
        self._beat_at = 0.0
        self._is_stopping = False

    def run(self) -> None:
        """Keep all places filled until SIGTERM or SIGINT, then have all end."""
        for number in ENDING:
            signal.signal(number, self._stop)
        while not self._is_stopping:
            self._note_ends()
            self._fill()
            self._give_sign()
            time.sleep(LOOK)
        self._end_all()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True

    def _fill(self) -> None:
        for place in self._places:
            if not place.pid and time.monotonic() >= place.start_at and not self._is_stopping:
                place.pid, place.started_at = self._fork(), time.monotonic()

    def _fork(self) -> int:
        """Return the process id of a new member. Until it has its own handlers, a signal to end simply ends it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            self._be_member(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        return pid

    def _be_member(self, parent: int) -> None:
        try:
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            end_with(parent, signal.SIGTERM)
            self._work()
        except BaseException as error:
            if not isinstance(error, SystemExit):
                log.exception("worker_failed")
            os._exit(1)
        os._exit(0)

    def _note_ends(self) -> None:
        for place in self._places:
            if place.pid and (code := _exit_code(place.pid)) is not None:
                self._leave(place, code)

    def _leave(self, place: Place, code: int) -> None:
        now = time.monotonic()
        place.short_lives = 0 if now - place.started_at > STEADY else place.short_lives + 1
        pause = min(FIRST_PAUSE * 2 ** (place.short_lives - 1), LONGEST_PAUSE) if place.short_lives else 0.0
        log.warning("worker_ended", process=place.pid, code=code, again_in=pause)
        place.pid, place.start_at = 0, now + pause

    def _give_sign(self) -> None:
        if time.monotonic() >= self._beat_at:
            self._beat.touch()
            self._beat_at = time.monotonic() + BEAT

    def _end_all(self) -> None:
        """Ask every member once: a second time would have it drop its job."""
        for place in self._places:
            _signal(place.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while any(map(_is_there, self._places)) and time.monotonic() < deadline:
            time.sleep(LOOK / 2)
        for place in filter(_is_there, self._places):
            log.warning("worker_killed", process=place.pid)
            _signal(place.pid, signal.SIGKILL)
            os.waitpid(place.pid, 0)


def _is_there(place: Place) -> bool:
    if place.pid and _exit_code(place.pid) is not None:
        place.pid = 0
    return bool(place.pid)


def _exit_code(pid: int) -> int | None:
    """Return how the process ended, negative for a signal; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _signal(pid: int, number: signal.Signals) -> None:
    if pid:
        os.kill(pid, number)
