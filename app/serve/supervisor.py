"""Starts the processes in order, tells one line about each, starts again what ends, and ends all within ten seconds.

One that runs and does not answer for a quarter of a minute is told too. Only those that promise a sign of life each second
are ended for it: what answers to visitors may be silent because many ask at once, and a restart would make that worse.

Each process leads a session of its own, so that Ctrl-C reaches only us and we choose the order of ending. The kernel sends
each a SIGTERM when we die ourselves, even by SIGKILL. All of them hold our lock: a next start waits until the last is gone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from app.config import CHECKOUT, Config
from app.serve import front
from app.serve.folders import CannotServe, make_folders
from app.serve.lifelines import end_with
from app.serve.processes import Process, environment

LOOK = 0.05  # seconds between two looks at the processes
PATIENCE = 60.0  # seconds for a process to become ready
STEADY = 30.0  # seconds after which a process counts as running well
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a restart, doubling
CHECK = 5.0  # seconds between two questions to a process that is up
SILENT, HUNG = 3, 12  # questions in a row without an answer, to be told and to be ended
HOPELESS = 3  # ends in a row before the first readiness
GRACE = 6.0  # seconds for all but the last to end
LAST_GRACE = 2.5  # seconds for Valkey, which writes its file
TAKEOVER = 10.0  # seconds to wait for an earlier run to be gone


@dataclass
class Watched:
    """One process under watch. Times are monotonic seconds."""

    process: Process
    running: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    is_ready: bool = False
    was_ready: bool = False
    ends: int = 0
    ask_at: float = 0.0
    silences: int = 0  # questions in a row without an answer
    start_at: float = field(default_factory=time.monotonic)

    @property
    def pause(self) -> float:
        """Seconds to wait before the next start."""
        return min(FIRST_PAUSE * 2 ** (self.ends - 1), LONGEST_PAUSE)


class Supervisor:
    """Runs the wanted ones of `processes` until a signal comes; `tell` gets one line about each change."""

    def __init__(self, config: Config, processes: Sequence[Process], tell: Callable[[str], None]) -> None:
        self.config = config
        self.tell = tell
        self.watched = [Watched(process) for process in processes if process.is_wanted(config)]
        self._lock = -1
        self._stopping = False
        self._has_told = False

    def serve(self) -> None:
        """Run all until SIGTERM or SIGINT; raises `CannotServe` when the start is hopeless."""
        make_folders(self.config)
        self._take_lock()
        front.refuse_taken_port(self.config)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            while not self._stopping:
                for watched in self.watched:
                    self._look_after(watched)
                self._tell_where()
                time.sleep(LOOK)
        finally:
            self.tell("Ending…")
            self._end_all()
            self.tell("All ended.")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _take_lock(self) -> None:
        path = self.config.run / "serve.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + TAKEOVER
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CannotServe(f"Freehold already serves {self.config.home}. Stop that one first.") from None
                time.sleep(LOOK)

    def _look_after(self, watched: Watched) -> None:
        if watched.running is None:
            if time.monotonic() >= watched.start_at and self._may_start(watched):
                self._start(watched)
        elif watched.running.poll() is not None:
            self._note_end(watched)
        elif not watched.is_ready:
            self._note_readiness(watched)
        elif time.monotonic() >= watched.ask_at:
            self._note_health(watched)

    def _tell_where(self) -> None:
        if not self._has_told and all(watched.is_ready for watched in self.watched):
            self._has_told = True
            self.tell(f"Serving on http://localhost:{self.config.port}; Ctrl-C ends it.")

    def _may_start(self, watched: Watched) -> bool:
        needed = {name for name in watched.process.after if not watched.was_ready}
        return all(other.is_ready for other in self.watched if other.process.name in needed)

    def _start(self, watched: Watched) -> None:
        watched.running = subprocess.Popen(
            watched.process.command(self.config),
            cwd=CHECKOUT,
            env=environment(self.config),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(self._lock,),
            preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),
        )
        watched.started_at = time.monotonic()
        watched.is_ready, watched.silences = False, 0

    def _note_readiness(self, watched: Watched) -> None:
        name, waited = watched.process.name, time.monotonic() - watched.started_at
        if watched.process.is_ready(self.config):
            watched.is_ready = watched.was_ready = True
            watched.ask_at = time.monotonic() + CHECK
            self.tell(f"  {name:<10} up after {waited:.1f} s (process {_pid(watched)})")
        elif waited > PATIENCE:
            self.tell(f"  {name:<10} not ready after {PATIENCE:.0f} s, starting it again")
            _signal(watched, signal.SIGKILL)

    def _note_health(self, watched: Watched) -> None:
        name, now = watched.process.name, time.monotonic()
        watched.ask_at = now + CHECK
        watched.ends = 0 if now - watched.started_at > STEADY else watched.ends
        before, watched.silences = watched.silences, watched.silences + 1
        if watched.process.is_ready(self.config):
            watched.silences = 0
            if before >= SILENT:
                self.tell(f"  {name:<10} answers again")
        elif watched.silences == SILENT:
            self.tell(f"  {name:<10} has not answered for {SILENT * CHECK:.0f} s")
        elif watched.silences >= HUNG and watched.process.gives_signs:
            self.tell(f"  {name:<10} has given no sign of life for {HUNG * CHECK:.0f} s, starting it again")
            _signal(watched, signal.SIGKILL)

    def _note_end(self, watched: Watched) -> None:
        assert watched.running is not None
        code, watched.running, watched.is_ready = watched.running.returncode, None, False
        watched.ends += 1
        if not watched.was_ready and watched.ends >= HOPELESS:
            raise CannotServe(
                f"{watched.process.name} ended {HOPELESS} times before it was ready; see its last lines above."
            )
        watched.start_at = time.monotonic() + watched.pause
        self.tell(f"  {watched.process.name:<10} ended ({_reason(code)}), again in {watched.pause:.1f} s")

    def _end_all(self) -> None:
        last = [watched for watched in self.watched if watched.process.ends_last]
        self._end([watched for watched in self.watched if watched not in last], GRACE)
        self._end(last, LAST_GRACE)

    def _end(self, group: list[Watched], grace: float) -> None:
        """Ask each to end; after `grace` seconds, end what is left with all that it started."""
        deadline = time.monotonic() + grace
        for watched in group:
            if watched.running is not None and watched.running.poll() is None:
                watched.running.terminate()
        for watched in group:
            if watched.running is not None:
                try:
                    watched.running.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self.tell(f"  {watched.process.name:<10} did not end in {grace:.0f} s and is ended by force")
                _signal(watched, signal.SIGKILL)
                watched.running.wait()


def _signal(watched: Watched, number: signal.Signals) -> None:
    """Send `number` to the whole group of the process; what is left of it may outlive its leader."""
    assert watched.running is not None
    try:
        os.killpg(watched.running.pid, number)
    except ProcessLookupError:
        return


def _pid(watched: Watched) -> int:
    assert watched.running is not None
    return watched.running.pid


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
