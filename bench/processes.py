"""The servers under measurement: started alike, watched through /proc, ended by their own ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.config import Config
from app.serve import web

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Footprint:
    """What one process holds: memory in bytes, pages shared with others counted by share, and descriptors."""

    pss: int
    descriptors: int


@dataclass(frozen=True)
class Server:
    """A gunicorn with its workers, reached on a loopback port; `master` is its process id."""

    port: int
    master: int

    @property
    def workers(self) -> list[int]:
        """List the ids of the worker processes."""
        return children(self.master)

    def cpu_seconds(self) -> float:
        """Sum the user and system time of all workers since they began."""
        return sum(cpu_seconds(worker) for worker in self.workers)

    def footprints(self) -> list[Footprint]:
        """Look at what each worker holds."""
        return [footprint(worker) for worker in self.workers]


@dataclass(frozen=True)
class Installation:
    """`freehold serve` and all its processes, reached through the front; `supervisor` is the process id of the first."""

    port: int
    supervisor: int

    def process(self, sign: str) -> int:
        """Find the process whose command line has `sign` in it."""
        return next(child for child in children(self.supervisor) if sign in command_line(child))

    def family(self, sign: str) -> list[int]:
        """List that process and those it has started."""
        return [self.process(sign), *children(self.process(sign))]


def children(pid: int) -> list[int]:
    """List the ids of a process's children, whichever of its threads began them."""
    lists = [task.joinpath("children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for listed in lists for child in listed.split()]


def cpu_seconds(pid: int) -> float:
    """Read the user and system time (s) a process has used."""
    return task_seconds(Path(f"/proc/{pid}"))


def task_seconds(place: Path) -> float:
    """Read the user and system time (s) of the process or thread that has this folder in /proc."""
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def footprint(pid: int) -> Footprint:
    """Read a process's proportional set size (bytes) and count its descriptors."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return Footprint(kilobytes * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


@contextmanager
def serving(application: str, config: Config, log: Path) -> Iterator[Server]:
    """Serve an application as the product serves its own, on a free loopback port, during the block."""
    port = free_port()
    with running(command(application, config, port), config, log) as master:
        server = Server(port, master.pid)
        wait_until(lambda: answers(port) and len(server.workers) == config.web_workers, master, log)
        yield server


@contextmanager
def serving_whole(config: Config, log: Path) -> Iterator[Installation]:
    """Run `freehold serve`, every process of it."""
    port = free_port()
    with running([sys.executable, "-m", "app.cli", "serve", "--port", str(port)], config, log) as supervisor:
        wait_until(lambda: "Serving on" in log.read_text(), supervisor, log, seconds=90)
        yield Installation(port, supervisor.pid)


@contextmanager
def running(command: list[str], config: Config, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on the bench's installation and end it with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(config), stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def command(application: str, config: Config, port: int) -> list[str]:
    """Take the product's own command line of web, so that both sides have the same options; the floor has no tenants' turns."""
    given = web.command(config)
    if application != "wsgi:app":
        given[given.index("--worker-class") + 1] = "gthread"
    given[given.index("wsgi:app")] = application
    given[given.index("--bind") + 1] = f"127.0.0.1:{port}"
    return given


def environment(config: Config) -> dict[str, str]:
    """Say the settings that a benchmark chooses in the way the product reads them."""
    return {
        **os.environ,
        "FREEHOLD_HOME": str(config.home),
        "FREEHOLD_BACKUPS": str(config.backups),
        "FREEHOLD_PAGE_CACHE_BYTES": str(config.page_cache_bytes),
        "FREEHOLD_LOG_LEVEL": config.log_level,
    }


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 30) -> None:
    """Wait for a server that was started; raises with the end of its log when it is gone or late."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if is_ready():
            return
        time.sleep(0.1)
    raise RuntimeError(f"The server did not start:\n{log.read_text()[-2000:]}")


def command_line(pid: int) -> str:
    """Give a process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def answers(port: int) -> bool:
    """Tell whether somebody listens on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
