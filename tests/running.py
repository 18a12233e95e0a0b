"""Helps tests that run real processes."""

import socket
import time
import urllib.error
import urllib.request
from pathlib import Path


def until(condition, seconds=40):
    """Wait until `condition` holds and return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parents():
    """Return the parent of every process on this machine."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = status.read_text().split(" (", 1)
        except OSError:
            continue
        found[int(number)] = int(rest.rsplit(")", 1)[1].split()[1])
    return found


def children(pid):
    """Return the living processes that `pid` itself has started, the oldest first."""
    return alive(sorted(child for child, parent in parents().items() if parent == pid))


def descendants(pid):
    """Return the processes that `pid` has started, and theirs."""
    found, grew = {pid}, True
    started = parents()
    while grew:
        more = {child for child, parent in started.items() if parent in found} - found
        found, grew = found | more, bool(more)
    return found - {pid}


def alive(pids):
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def answers(url, host):
    """Tell whether the page at `url` is served to whoever asks for `host`."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
