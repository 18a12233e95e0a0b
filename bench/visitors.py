"""Visitors where wrk is missing: the same requests, order and number of connections, from one process.

`visitors.py PORT SEQUENCE SECONDS COUNT CONNECTIONS` prints the same line of JSON as `visitors.lua`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Crowd:
    """What all connections share: the requests still to be made and what came back."""

    def __init__(self, requests: Iterator[bytes], deadline: float) -> None:
        self.requests = requests
        self.deadline = deadline
        self.latencies: list[float] = []
        self.errors = 0

    def next_request(self) -> bytes | None:
        return next(self.requests, None) if time.perf_counter() < self.deadline else None


class Visitor(asyncio.Protocol):
    """One connection kept open: asks, waits for the whole answer, asks again."""

    def __init__(self, crowd: Crowd, left: asyncio.Future[None]) -> None:
        self.crowd = crowd
        self.left = left
        self.received = b""
        self.asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        request = self.crowd.next_request()
        if request is None:
            self.transport.close()
            return
        self.received = b""
        self.asked_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, gap, body = self.received.partition(b"\r\n\r\n")
        if gap and len(body) >= content_length(head):
            self.crowd.latencies.append(time.perf_counter() - self.asked_at)
            self.crowd.errors += int(head[9:12]) > 399
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        self.crowd.errors += error is not None
        if not self.left.done():
            self.left.set_result(None)


def content_length(head: bytes) -> int:
    """Read the length of the body (bytes); both sides of the benchmark always send it."""
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def read_requests(sequence: Path) -> list[bytes]:
    """Turn "host path" and "host path cookie" lines into requests."""
    return [request(*line.split()) for line in sequence.read_text().splitlines()]


def request(host: str, path: str, cookie: str = "") -> bytes:
    """Write a visit as it is sent."""
    known = f"Cookie: {cookie}\r\n" if cookie else ""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\n{known}\r\n".encode()


async def visit(port: int, sequence: Path, seconds: float, count: int, connections: int) -> dict[str, float]:
    """Ask over all connections until the time (s) or the count (0: no bound) is used up; times in ms."""
    endless = itertools.cycle(read_requests(sequence))
    started = time.perf_counter()
    crowd = Crowd(itertools.islice(endless, count or None), started + seconds)
    loop = asyncio.get_running_loop()
    departures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for left in departures:
        await loop.create_connection(lambda left=left: Visitor(crowd, left), "127.0.0.1", port)
    await asyncio.gather(*departures)
    return summarise(crowd, time.perf_counter() - started)


def summarise(crowd: Crowd, seconds: float) -> dict[str, float]:
    """Give the figures of a run, latencies in ms."""
    times = sorted(crowd.latencies) or [0.0]
    shares = {f"p{share}": 1000 * times[min(len(times) - 1, len(times) * share // 100)] for share in (50, 95, 99)}
    return {"requests": len(crowd.latencies), "seconds": seconds, **shares, "errors": crowd.errors}


if __name__ == "__main__":
    port, sequence, seconds, count, connections = sys.argv[1:]
    print(json.dumps(asyncio.run(visit(int(port), Path(sequence), float(seconds), int(count), int(connections)))))
