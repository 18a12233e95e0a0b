"""Visitors at a steady rate, however long the answers take: what a page costs while something else goes on.

`python -m bench.callers PORT SEQUENCE SECONDS RATE` asks for the lines of a sequence in turn and prints the same line of JSON as
`visitors.py`. A time counts from the moment at which a visitor was due.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path

from bench.visitors import content_length, read_requests

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Callers:
    """Visitors who share a few connections, and open another one when all are busy."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: list[Line] = []
        self.latencies: list[float] = []
        self.errors = 0

    async def call(self, request: bytes, due: float) -> None:
        """Ask for one page and note how long it took."""
        try:
            reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(content_length(head))
        except (OSError, EOFError):
            self.errors += 1
            return
        self.latencies.append(time.perf_counter() - due)
        self.errors += int(head[9:12]) > 399
        self.free.append((reader, writer))


async def visit(port: int, sequence: Path, seconds: float, rate: float) -> dict[str, float]:
    """Send a visitor every 1/rate s for so many seconds; times in ms."""
    callers, began = Callers(port), time.perf_counter()
    requests = itertools.islice(itertools.cycle(read_requests(sequence)), round(seconds * rate))
    calls = []
    for number, request in enumerate(requests):
        due = began + number / rate
        await asyncio.sleep(due - time.perf_counter())
        calls.append(asyncio.create_task(callers.call(request, due)))
    await asyncio.gather(*calls)
    times = sorted(callers.latencies) or [0.0]
    shares = {f"p{share}": 1000 * times[min(len(times) - 1, len(times) * share // 100)] for share in (50, 95, 99)}
    return {"requests": len(times), "seconds": time.perf_counter() - began, **shares, "errors": callers.errors}


if __name__ == "__main__":
    port, sequence, seconds, rate = sys.argv[1:]
    print(json.dumps(asyncio.run(visit(int(port), Path(sequence), float(seconds), float(rate)))))
