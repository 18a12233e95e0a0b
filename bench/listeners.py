"""Open pages by the thousand: event streams held open by one process, over connections of their own.

`listeners.py PORT LIST` reads a "host cookie position" line for each stream, prints a line when all are open, listens until its
input has ended and nothing came for a while, and prints one line of JSON: how long opening took (s), and for each stream the
ids of the events it was given, when (s since 1970), and what went wrong ("" for nothing).
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

AT_ONCE = 64  # streams being opened at the same time
PATIENCE = 30.0  # seconds without any progress while opening
QUIET = 3.0  # seconds without an event, after which no more are expected
PIECE = 1 << 16  # bytes


class Broken(Exception):
    """A stream is not as it should be."""


@dataclass
class Body:
    """An answer as it arrives: its head, then chunks of text (RFC 9112, section 7.1), in pieces of any length."""

    raw: bytes = b""
    text: bytes = b""
    has_head: bool = False

    def feed(self, piece: bytes) -> Iterator[tuple[str, str, str]]:
        """Yield the name, the id and the data of each message that is whole; raises `Broken`."""
        self.raw += piece
        if not self.has_head:
            self._take_head()
        is_over = self.has_head and self._take_chunks()
        *messages, self.text = self.text.split(b"\n\n")
        for message in messages:
            said = dict(line.split(": ", 1) for line in message.decode().splitlines())
            yield said.get("event", "message"), said.get("id", ""), said.get("data", "")
        if is_over:
            raise Broken("ended")

    def _take_head(self) -> None:
        head, gap, rest = self.raw.partition(b"\r\n\r\n")
        if gap:
            self.has_head, self.raw = True, rest
            if not head.startswith(b"HTTP/1.1 200 ") or b"chunked" not in head.lower():
                raise Broken(head.partition(b"\r\n")[0].decode())

    def _take_chunks(self) -> bool:
        """Take what is whole; returns whether the last, which is empty, was among it."""
        while True:
            size, gap, rest = self.raw.partition(b"\r\n")
            length = int(size, 16) if gap else 0
            if not gap or len(rest) < length + 2:
                return False
            if not length:
                return True
            self.text += rest[:length]
            self.raw = rest[length + 2 :]


@dataclass(eq=False)
class Listener:
    """One stream: what it asked for, and what it has been given since."""

    request: bytes
    line: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET))
    body: Body = field(default_factory=Body)
    is_open: bool = False
    fault: str = ""
    ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def ask(self, port: int) -> None:
        """Connect and send the request."""
        self.line.connect(("127.0.0.1", port))
        self.line.sendall(self.request)
        self.line.setblocking(False)

    def read(self) -> bool:
        """Take what has arrived; returns whether an event was among it. Raises `Broken` or `OSError` at the end."""
        piece = self.line.recv(PIECE)
        now = time.time()
        if not piece:
            raise Broken("closed")
        known = len(self.ids)
        for name, place, data in self.body.feed(piece):
            self.is_open = True
            if name == "message":
                self.ids.append(int(place.rpartition("-")[2]))
                self.times.append(now)
            elif name != "beat":
                raise Broken(f"{name} {data}")
        return len(self.ids) > known


class Crowd:
    """All streams of this process, and which of them have something to read."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.port = port
        self.listeners = [Listener(request) for request in requests]
        self.lines = selectors.DefaultSelector()
        self.heard_at = 0.0  # by the monotonic clock

    def open(self) -> float:
        """Open all of them, a few at a time, until each was given its first message; the time it took, in s."""
        began = moved = time.monotonic()
        to_come, opening = deque(self.listeners), set[Listener]()
        while to_come or opening:
            while to_come and len(opening) < AT_ONCE:
                opening.add(self._begin(to_come.popleft()))
            self.listen(1.0)
            done = {listener for listener in opening if listener.is_open or listener.fault}
            opening -= done
            moved = time.monotonic() if done else moved
            if time.monotonic() - moved > PATIENCE:
                raise RuntimeError(f"{len(opening)} of {len(self.listeners)} streams did not open.")
        return time.monotonic() - began

    def _begin(self, listener: Listener) -> Listener:
        try:
            listener.ask(self.port)
            self.lines.register(listener.line, selectors.EVENT_READ, listener)
        except OSError as error:
            listener.fault = str(error)
        return listener

    def listen(self, seconds: float) -> bool:
        """Read what arrives next; returns whether our input is still open."""
        for key, _ in self.lines.select(seconds):
            if key.data is None:
                return False
            try:
                if key.data.read():
                    self.heard_at = time.monotonic()
            except (Broken, OSError) as error:
                key.data.fault = str(error) or type(error).__name__
                self.lines.unregister(key.fileobj)
        return True

    def listen_to_the_end(self) -> None:
        """Read until our input ends, and then what is still on its way."""
        self.lines.register(sys.stdin, selectors.EVENT_READ)
        while self.listen(60.0):
            pass
        self.lines.unregister(sys.stdin)
        told_at = time.monotonic()
        while time.monotonic() < max(self.heard_at, told_at) + QUIET:
            self.listen(QUIET)


def read_requests(file: Path) -> list[bytes]:
    """Turn "host cookie position" lines into requests."""
    triples = (line.split() for line in file.read_text().splitlines())
    return [
        f"GET /live?after={position} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
        "Accept: text/event-stream\r\n\r\n".encode()
        for host, cookie, position in triples
    ]


def main(port: int, file: Path) -> None:
    """Open the streams of a list, listen, and tell what was heard."""
    requests = read_requests(file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, len(requests) + 64)), hard))
    crowd = Crowd(port, requests)
    seconds = crowd.open()
    print(f"{len(requests)} streams open", flush=True)
    crowd.listen_to_the_end()
    heard = [(listener.ids, listener.times, listener.fault) for listener in crowd.listeners]
    print(json.dumps({"seconds": seconds, "heard": heard}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
