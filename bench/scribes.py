"""Those who write while copies are made.

`python -m bench.scribes change HOUSES RATE SECONDS` writes a line into a random house so many times a second, opening its file
and closing it each time. `python -m bench.scribes steady RATE SECONDS SLUG…` keeps the files open and writes to each so often,
and tells the id and the time (s since 1970) of each event that was acknowledged. `python -m bench.scribes crowd SCRIBE SECONDS
PATH` is one of several who open, write to and close one file all the time; it reads the file's key from standard input and tells
when each commit began (monotonic s) and how long it took (s). Each prints a line when it begins and a line of JSON at the end.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from app import create_app
from app.tenancy import ResolvedTenant, tenancy
from app.tenancy.cli import known
from app.tenancy.database import Connection, connect
from bench.talk import SAID, houses

LINE = """
    INSERT INTO line (room_id, author_name, kind, source, html, created_at)
    VALUES ((SELECT min(id) FROM room), 'A scribe', 'said', ?1, '<p>' || ?1 || '</p>', ?2)
"""
EVENT = """
    INSERT INTO event (kind, subject, audience, payload, created_at) VALUES ('LinePosted', ?, 'members', '{}', ?)
"""
SLOT = "INSERT OR REPLACE INTO slot VALUES (?, ?, randomblob(900))"
SLOTS, AT_A_TIME, PAUSE = 400, 7, 0.002  # rows of one scribe, commits until the file is closed, seconds between them

Acknowledged = tuple[int, float]  # the id of an event, and when its commit had returned (s since 1970)


def open_file(tenant: ResolvedTenant) -> Connection:
    """Open a tenant's file as any process of ours would."""
    return connect(tenancy.placements.file(tenant.id), tenancy.keys.database_key(tenant.id))


def write(file: Connection, text: str) -> Acknowledged:
    """Commit a line and its event."""
    now = int(time.time() * 1e6)
    file.execute("BEGIN IMMEDIATE")
    line = file.execute(LINE, (text, now)).lastrowid
    number = file.execute(EVENT, (f"line:{line}", now)).lastrowid
    file.execute("COMMIT")
    return number or 0, time.time()


def at_pace(rate: float, seconds: float) -> Iterator[float]:
    """Yield `rate` times a second, and how far (s) that is behind its time."""
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield time.monotonic() - began - number / rate
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def change(count: str, rate: str, seconds: str) -> object:
    """Write to random houses; how many changes were made, and how far behind their pace (p95, ms)."""
    tenants, chance, lateness = houses(int(count)), random.Random(7), []
    print("ready", flush=True)
    for late in at_pace(float(rate), float(seconds)):
        with closing(open_file(chance.choice(tenants))) as file:
            write(file, chance.choice(SAID))
        lateness.append(late)
    return {"changes": len(lateness), "late": 1000 * sorted(lateness)[len(lateness) * 95 // 100]}


def steady(rate: str, seconds: str, *slugs: str) -> dict[str, list[Acknowledged]]:
    """Write to the same tenants all the time; what was acknowledged, by slug."""
    files = {slug: open_file(known(slug)) for slug in slugs}
    acknowledged: dict[str, list[Acknowledged]] = {slug: [] for slug in slugs}
    print("ready", flush=True)
    for _ in at_pace(float(rate), float(seconds)):
        for slug, file in files.items():
            acknowledged[slug].append(write(file, SAID[0]))
    for file in files.values():
        file.close()
    return acknowledged


def crowd(scribe: str, seconds: str, path: str) -> list[tuple[float, float]]:
    """Open the file, write a few times, close it, and so on; the file stays as large as it is."""
    key, commits, numbers = bytes.fromhex(sys.stdin.readline()), [], itertools.count()
    print("ready", flush=True)
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        with closing(connect(Path(path), key)) as file:
            for number in itertools.islice(numbers, AT_A_TIME):
                began = time.monotonic()
                file.execute("BEGIN IMMEDIATE")
                file.execute(SLOT, (int(scribe), number % SLOTS))
                file.execute("COMMIT")
                commits.append((began, time.monotonic() - began))
                time.sleep(PAUSE)
    return commits


def main(act: str, *given: str) -> None:
    """Do what the command line says and print it."""
    if act == "crowd":
        print(json.dumps(crowd(*given)))
        return
    acts: dict[str, Callable[..., object]] = {"change": change, "steady": steady}
    with create_app().app_context():
        print(json.dumps(partial(acts[act], *given)()))


if __name__ == "__main__":
    main(*sys.argv[1:])
