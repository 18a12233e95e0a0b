"""What is asked of copies and restores inside an installation's application, for `bench.archive`.

`python -m bench.shelves ACT …` prints a line when it begins and a line of JSON at the end. The acts: `make`, `settle`, `count`,
`held`, `watch`, `age`, `note`, `replace`, `restore`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from flask import current_app
from sqlalchemy import select

from app import create_app
from app.backups import previews
from app.backups.capture import AGAIN, InUse
from app.backups.keeper import Keeper
from app.backups.restore import restore_as, restore_replacing
from app.facilities.sweep import Sweeper
from app.serve import archiving
from app.tenancy import ResolvedTenant, database, tenancy
from app.tenancy.cli import known, track
from app.tenancy.database import Connection
from app.tenancy.ledger import TenantBackup
from bench.processes import ROOT
from bench.scribes import open_file, write

CROWD = 3  # scribes that write to one file
AGED = 5  # moments that build upon a base, before a tenant is brought back
SAMPLE = 0.2  # seconds between two looks at a shelf
PATIENCE, LONGEST = 120.0, 600.0  # seconds until the next first copy, and until they are over anyhow
FILLER, AT_ONCE = 700, 50_000  # bytes of a row, rows in a transaction
FILL = """
    WITH RECURSIVE number(n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM number WHERE n < ?2)
    INSERT INTO ballast SELECT n, n * 7919 % 1000003, randomblob(?3) FROM number
"""


def make(megabytes: str, *slugs: str) -> object:
    """Make the tenants that are missing, each of so many MB."""
    for slug in slugs:
        if tenancy.registry.by_slug(slug) is None:
            tenancy.lifecycle.create(slug, slug.replace("-", " ").capitalize())
        with closing(open_file(known(slug))) as file:
            fill(file, int(megabytes) * 1_000_000)
        tenancy.pool.discard(known(slug).id)
    return {}


def fill(file: Connection, size: int) -> None:
    """Bring a file to `size` bytes with rows as small as people's, found by an index as well."""
    file.execute(
        "CREATE TABLE IF NOT EXISTS slot (scribe INTEGER, number INTEGER, filler BLOB, PRIMARY KEY (scribe, number))"
    )
    file.execute("CREATE TABLE IF NOT EXISTS ballast (id INTEGER PRIMARY KEY, mark INTEGER, filler BLOB)")
    file.execute("CREATE INDEX IF NOT EXISTS ballast_mark ON ballast (mark)")
    while (lacking := size - file.execute("PRAGMA page_count").fetchone()[0] * 4096) > 100 * FILLER:
        last = file.execute("SELECT coalesce(max(id), 0) FROM ballast").fetchone()[0]
        file.execute(FILL, (last + 1, last + min(AT_ONCE, lacking // (FILLER + 100)), FILLER))


def backups() -> dict[str, Any]:
    """Read what the ledger says of the copies of all tenants."""
    with tenancy.engines["ledger"].connect() as ledger:
        columns = (
            TenantBackup.tenant_id,
            TenantBackup.seq,
            TenantBackup.at,
            TenantBackup.late_since,
            TenantBackup.interval,
        )
        return {row.tenant_id: row for row in ledger.execute(select(*columns))}


def settle(quiet: str) -> object:
    """Wait until the archivist has copied every tenant and `quiet` seconds bring hardly any more; the seconds it took."""
    began, wanted = time.monotonic(), set(tenancy.registry.keeping())
    for _ in track(copied(wanted), len(wanted), "First copies"):
        pass
    while time.monotonic() - began < LONGEST:
        before = sum(row.seq for row in backups().values())
        time.sleep(float(quiet))
        if sum(row.seq for row in backups().values()) - before <= max(2, len(wanted) // 1000):
            break
    return {"seconds": time.monotonic() - began}


def copied(wanted: set[str]) -> Iterator[str]:
    """Yield each of these tenants when it has a copy; raises `RuntimeError` when no more are made."""
    seen: set[str] = set()
    until = time.monotonic() + PATIENCE
    while wanted - seen:
        fresh = wanted & set(backups()) - seen
        if fresh:
            until = time.monotonic() + PATIENCE
        elif time.monotonic() > until:
            raise RuntimeError("The archivist makes no copies.")
        yield from fresh
        seen |= fresh
        time.sleep(0.5)


def count() -> object:
    """Count the copies that were ever made, and the tenants whose copy is late."""
    rows = backups().values()
    return {"copies": sum(row.seq for row in rows), "late": sum(row.late_since is not None for row in rows)}


def note(slug: str) -> object:
    """Wait until the archivist has copied a tenant; how many seconds it leaves it alone then."""
    list(copied({known(slug).id}))
    return {"interval": backups()[known(slug).id].interval}


def held(slug: str, seconds: str, pause: str) -> object:
    """Let a crowd write to a tenant's file while copies are made, `pause` seconds between two; without any when it is negative.

    All is as in the archivist: its politeness, its sweeps in another thread. Times in s.
    """
    tenant = known(slug)
    found: dict[str, Any] = {"held": [], "took": [], "in_use": 0}
    with as_archivist() as keeper, crowd(tenant, float(seconds) + 1) as commits:
        began = time.monotonic()
        until = began + float(seconds)
        while time.monotonic() < until:
            if float(pause) < 0:
                time.sleep(AGAIN)
                continue
            try:
                copied = keeper.copy(tenant.id)
            except InUse:
                found["in_use"] += 1
                time.sleep(AGAIN)
            else:
                found["held"].append(copied.held)
                found["took"].append(copied.took)
                time.sleep(max(0.0, min(float(pause), until - time.monotonic())))
    found["commits"] = [took for at, took in commits if began <= at <= until]
    return {**found, "seconds": until - began}


@contextmanager
def crowd(tenant: ResolvedTenant, seconds: float) -> Iterator[list[tuple[float, float]]]:
    """Have some scribes write to one file during the block; their commits are there when it is over."""
    path, key = tenancy.placements.file(tenant.id), tenancy.keys.database_key(tenant.id).hex()
    command = [sys.executable, "-m", "bench.scribes", "crowd"]
    scribes = [
        subprocess.Popen(
            [*command, str(number), str(seconds), str(path)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(CROWD)
    ]  # fmt: skip
    commits: list[tuple[float, float]] = []
    try:
        for scribe in scribes:
            assert scribe.stdin is not None
            scribe.stdin.write(key + "\n")
            scribe.stdin.flush()
        for scribe in scribes:
            assert scribe.stdout is not None
            scribe.stdout.readline()
        yield commits
        for scribe in scribes:
            commits += map(tuple, json.loads(scribe.communicate()[0]))
    finally:
        for scribe in scribes:
            scribe.kill()
            scribe.communicate()


@contextmanager
def as_archivist() -> Iterator[Keeper]:
    """Be as polite as the archivist, and sweep beside the copies as it does."""
    os.nice(archiving.NICE)
    sys.setswitchinterval(archiving.SWITCH)
    database.be_brief()
    keeper, stop = Keeper(tenancy), threading.Event()
    keeper.prepare()
    config = current_app.config["FREEHOLD"]
    sweeper = Sweeper(current_app._get_current_object())  # type: ignore[attr-defined]
    sweeps = threading.Thread(target=sweeper.run, args=(stop, config.run / "bench.beat"))
    sweeps.start()
    try:
        with closing(keeper.raw_side):
            yield keeper
    finally:
        stop.set()
        sweeps.join()


def watch(seconds: str, *slugs: str) -> object:
    """Look at shelves again and again; when (s since 1970) each look was, and up to which event its newest moment went."""
    keeper, known_seq = Keeper(tenancy), dict.fromkeys(slugs, (0, 0))
    looks: dict[str, list[tuple[float, int]]] = {slug: [] for slug in slugs}
    shelves = {slug: keeper.shelf(known(slug).id) for slug in slugs}
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        for slug, shelf in shelves.items():
            at, newest = time.time(), shelf.newest()
            if newest.seq != known_seq[slug][0]:
                known_seq[slug] = (newest.seq, shelf.header(newest).event_id)
            looks[slug].append((at, known_seq[slug][1]))
        time.sleep(SAMPLE)
    return looks


def age(slug: str) -> object:
    """Give a tenant a past: a base, and some moments that build upon it."""
    tenant, keeper = known(slug), Keeper(tenancy)
    keeper.prepare()
    with closing(keeper.raw_side):
        for _ in range(AGED):
            keeper.copy(tenant.id)
            with closing(open_file(tenant)) as file:
                for number in range(20):
                    write(file, f"Said before the copy ({number})")
        keeper.copy(tenant.id)
    return {}


def replace(slug: str) -> object:
    """Put the newest moment in the place of a tenant; the seconds it took, inside the process."""
    tenant, keeper = known(slug), Keeper(tenancy)
    with closing(keeper.raw_side):
        began = time.monotonic()
        restore_replacing(tenancy, keeper, tenant, keeper.shelf(tenant.id).newest())
        return {"seconds": time.monotonic() - began}


def restore(slug: str) -> object:
    """Make a tenant of the newest moment of another; the seconds it took, inside the process. It is thrown away again."""
    tenant, moment = known(slug), Keeper(tenancy).shelf(known(slug).id).newest()
    began = time.monotonic()
    restore_as(tenancy, tenant.id, moment, f"{slug}-past", tenant.name, preview_of=tenant.id)
    seconds = time.monotonic() - began
    previews.discard(tenancy, tenant.id)
    return {"seconds": seconds}


ACTS = {act.__name__: act for act in (make, settle, count, note, held, watch, age, replace, restore)}


def main(act: str, given: Sequence[str]) -> None:
    """Do what the command line says and print it."""
    with create_app().app_context():
        print("ready", flush=True)
        print(json.dumps(ACTS[act](*given)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
