"""Copies: what the archivist takes, how long it holds writers, how far one could fall back, and how soon a tenant is back.

`python -m bench.archive` measures this alone; BENCH_LARGE=1 adds a tenant of 1 GB, some minutes and 5 GB of disk. The figures
go to bench/archive.json as well.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.backups.archivist import INTERVAL
from app.backups.capture import AGAIN
from app.config import CHECKOUT, Config
from bench.meter import COPIES as COPYING
from bench.meter import DRILLS, OTHER, RAW, Meter, Taken
from bench.meter import SWEEPS as SWEEPING
from bench.processes import ROOT, Installation, environment, serving_whole
from bench.report import Fact, fact_table

RESULTS = Path(__file__).with_name("archive.json")

SIZES = (2, 50)  # MB of the tenants that writers are held from, and whose recovery point is looked at
SMALL, LARGE = 10, 1_000  # MB of those that are brought back
SOON = {SMALL: 2, LARGE: 60}  # seconds in which they should be
WRITES = 5.0  # a second, to each tenant whose recovery point is looked at
PACES = {"none": -1.0, "at the archivist's pace": INTERVAL, "as fast as it may": AGAIN}  # seconds between two copies
VISIT = 0.05  # seconds between two looks at a page
PAGE = "/sign-in"  # never kept as a page, so each visit asks the tenant's file
NEIGHBOUR = "copies-neighbour"
QUIET = 10.0  # seconds in which hardly any copy is made, when all have their first

CALM, LONGEST_START = 0.06, 600.0  # of a core; seconds


@dataclass(frozen=True)
class Plan:
    """What is asked of the installation: tenants, of which so many a minute are written to, for so many seconds."""

    config: Config
    tenants: int
    rate: float = 500.0
    seconds: float = 120.0
    large: bool = False

    @property
    def name(self) -> str:
        return f"copies: {self.tenants:,} tenants, {self.rate:.0f} changes/min"


@dataclass(frozen=True)
class Bustle:
    """What the archivist took while nobody wrote, and while people did; `copies` is how many it made meanwhile."""

    idle: Taken
    busy: Taken
    idle_copies: int
    copies: int
    late: int
    changes: int
    behind: float  # ms, p95: how far the scribes were behind their own pace
    first: float  # seconds until every tenant had a copy


@dataclass(frozen=True)
class Held:
    """What a crowd of writers felt of copies at one pace. Times in s; `held` is for each copy, `commits` for each commit."""

    size: int  # MB
    pace: str
    held: list[float]
    took: list[float]
    in_use: int
    commits: list[float]
    seconds: float


@dataclass(frozen=True)
class Back:
    """Seconds until a tenant was back, by way and by who measured; `refused` is how long its page was, and a neighbour's."""

    size: int  # MB
    inside: dict[str, float]
    command: dict[str, float]
    refused: float
    neighbour: float
    interval: float  # seconds between two copies of it


@dataclass
class Figures:
    """What one run has shown; `exposed` is, by MB, how old (s) the oldest row was that only the tenant's own file had."""

    bustle: Bustle
    exposed: dict[int, list[float]]
    held: list[Held]
    back: list[Back]
    load: list[float] = field(default_factory=list)  # of the machine over a minute, before each part


def measure(plan: Plan, folder: Path) -> Figures:
    """Measure all four, one after the other. What the archivist says of it stays in bench-archive.log."""
    slugs, loads = [name_of(size) for size in SIZES], [os.getloadavg()[0]]
    for size in SIZES:
        shelves(plan.config, "make", size, name_of(size), crowded(size))
    with serving_whole(plan.config, plan.config.home / "bench-archive.log") as installation:
        bustle = watch_archivist(plan, installation)
        loads.append(os.getloadavg()[0])
        exposed = recovery_points(plan, slugs)
    loads.append(os.getloadavg()[0])
    held = [hold(plan, size, pace) for size in SIZES for pace in PACES]
    loads.append(os.getloadavg()[0])
    sizes = (SMALL, LARGE) if plan.large else (SMALL,)
    return Figures(bustle, exposed, held, [bring_back(plan, size, folder) for size in sizes], loads)


def name_of(megabytes: int) -> str:
    """Name the tenant of that size that is written to steadily."""
    return f"copies-{megabytes}-mb"


def crowded(megabytes: int) -> str:
    """Name the one that a crowd writes to."""
    return f"copies-crowded-{megabytes}-mb"


def watch_archivist(plan: Plan, installation: Installation) -> Bustle:
    """Wait for the first copies, then read what the archivist takes while nobody writes and while people do."""
    first = shelves(plan.config, "settle", min(QUIET, plan.seconds / 2))["seconds"]
    meter = Meter(installation)
    wait_for_calm(meter)
    made = [count(plan)["copies"]]
    with meter.reading() as idle:
        time.sleep(plan.seconds / 2)
    made.append(count(plan)["copies"])
    with writing(plan, "change", plan.tenants, plan.rate / 60, plan.seconds) as told:
        with meter.reading() as busy:
            time.sleep(plan.seconds)
    found = count(plan)
    return Bustle(
        idle, busy, made[1] - made[0], found["copies"] - made[1], found["late"],
        told["changes"], told["late"], first,
    )  # fmt: skip


def wait_for_calm(meter: Meter) -> None:
    """Let the archivist finish what it does once after a start, which is to look into every file."""
    until = time.monotonic() + LONGEST_START
    while time.monotonic() < until:
        with meter.reading() as taken:
            time.sleep(QUIET / 2)
        if taken.whole < CALM:
            return


def count(plan: Plan) -> Any:
    """Count the copies that were ever made, and those that are late."""
    return shelves(plan.config, "count")


def recovery_points(plan: Plan, slugs: Sequence[str]) -> dict[int, list[float]]:
    """Write to tenants of each size all the time, and to random houses beside; how far one would have fallen back."""
    length = plan.seconds / 2
    with writing(plan, "change", plan.tenants, plan.rate / 60, length):
        with writing(plan, "steady", WRITES, length, *slugs) as acknowledged:
            looks = shelves(plan.config, "watch", length - 1, *slugs)
    return {size: exposures(acknowledged[slug], looks[slug]) for size, slug in zip(SIZES, slugs, strict=True)}


def exposures(acknowledged: Sequence[Sequence[float]], looks: Sequence[Sequence[float]]) -> list[float]:
    """Return for each look (time, last event kept) the age of the oldest acknowledged (event, time) that is not kept."""
    ids, found = [int(number) for number, _ in acknowledged], []
    for at, kept in looks:
        place = bisect_right(ids, kept)
        is_exposed = place < len(ids) and acknowledged[place][1] <= at
        found.append(at - acknowledged[place][1] if is_exposed else 0.0)
    return found


def hold(plan: Plan, size: int, pace: str) -> Held:
    """Let a crowd write to one file while copies are made at some pace."""
    found = shelves(plan.config, "held", crowded(size), plan.seconds / 4, PACES[pace])
    return Held(size, pace, **found)


def bring_back(plan: Plan, size: int, folder: Path) -> Back:
    """Bring a tenant back in an installation of its own, which is removed again; visitors ask for its page meanwhile."""
    home, slug = plan.config.home / "bench-back", name_of(size)
    config = dataclasses.replace(
        plan.config, home=home, master_key_file=home / "instance" / "master.key", backups=home / "backups"
    )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        shelves(config, "make", size, slug)
        shelves(config, "make", 1, NEIGHBOUR)
        shelves(config, "age", slug)
        with serving_whole(config, folder / "back.log") as installation:
            interval = shelves(config, "note", slug)["interval"]
            inside = {"--as": shelves(config, "restore", slug)["seconds"]}
            command = {"--as": restore(config, slug, "--as", f"{slug}-again")}
            hosts = [f"{name}.{config.base_domain}" for name in (slug, NEIGHBOUR)]
            with visiting(installation.port, hosts) as visits:
                inside["--replace"] = shelves(config, "replace", slug)["seconds"]
                command["--replace"] = restore(config, slug, "--replace", "--yes")
        refused, neighbour = (longest_refusal(visits[host]) for host in hosts)
        return Back(size, inside, command, refused, neighbour, interval)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def restore(config: Config, slug: str, *how: str) -> float:
    """Bring a tenant back by the command; the seconds from its start to its end."""
    began = time.monotonic()
    command = [sys.executable, "-m", "app.cli", "backups", "restore", slug, "--at", "latest", *how, "--json"]
    subprocess.run(command, cwd=ROOT, env=quiet(config), check=True, capture_output=True)
    return time.monotonic() - began


def shelves(config: Config, *words: object) -> Any:
    """Have `bench.shelves` do something in an installation; what it tells. Raises `CalledProcessError`."""
    command = [sys.executable, "-m", "bench.shelves", *map(str, words)]
    ran = subprocess.run(command, cwd=ROOT, env=quiet(config), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ran.stdout.splitlines()[-1])


@contextmanager
def writing(plan: Plan, *words: object) -> Iterator[dict[str, Any]]:
    """Have scribes write during the block; what they tell is there when it is over."""
    command, told = [sys.executable, "-m", "bench.scribes", *map(str, words)], dict[str, Any]()
    with subprocess.Popen(command, cwd=ROOT, env=quiet(plan.config), stdout=subprocess.PIPE, text=True) as scribes:
        try:
            assert scribes.stdout is not None
            scribes.stdout.readline()
            yield told
            told.update(json.loads(scribes.communicate()[0]))
        finally:
            scribes.terminate()


def quiet(config: Config) -> dict[str, str]:
    return {**environment(config), "FREEHOLD_LOG_LEVEL": "warning"}


Visit = tuple[float, float, int]  # when it began and ended (monotonic s), and its status; 0 for none


@contextmanager
def visiting(port: int, hosts: Sequence[str]) -> Iterator[dict[str, list[Visit]]]:
    """Ask for a page of each host again and again during the block, through the front."""
    stop, visits = threading.Event(), {host: list[Visit]() for host in hosts}
    visitors = [threading.Thread(target=keep_asking, args=(port, host, visits[host], stop)) for host in hosts]
    for visitor in visitors:
        visitor.start()
    try:
        time.sleep(1)
        yield visits
        time.sleep(1)
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()


def keep_asking(port: int, host: str, visits: list[Visit], stop: threading.Event) -> None:
    """Ask for the page until `stop` is set."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not stop.wait(VISIT):
        began = time.monotonic()
        try:
            connection.request("GET", PAGE, headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        visits.append((began, time.monotonic(), status))
    connection.close()


def longest_refusal(visits: Sequence[Visit]) -> float:
    """Return the longest time (s) from a refused visit, or one that had to wait, to the end of the next that was answered."""
    longest, since = 0.0, None
    for began, ended, status in visits:
        if status == 200:
            longest = max(longest, ended - (since if since is not None else began))
            since = None
        elif since is None:
            since = began
    return longest


def share(values: Sequence[float], percent: int) -> float:
    """Give a percentile, 0 of nothing."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Say p50, p99 and the most."""
    return " / ".join(f"{scale * share(values, percent):.{digits}f}" for percent in (50, 99, 100))


def facts(plan: Plan, found: Figures) -> list[Fact]:
    """Say what was measured, beside what it should be."""
    return [
        *bustle_facts(plan, found.bustle),
        *(fact for size in SIZES for fact in held_facts([one for one in found.held if one.size == size])),
        *(recovery_fact(size, ages) for size, ages in found.exposed.items()),
        *(fact for back in found.back for fact in back_facts(back)),
        Fact("load of the machine before each part", ", ".join(f"{load:.1f}" for load in found.load)),
    ]


def bustle_facts(plan: Plan, found: Bustle) -> list[Fact]:
    idle, busy, name = found.idle, found.busy, plan.name
    per_change = 1000 * (busy.whole - idle.whole) * busy.seconds / max(found.changes, 1)
    return [
        Fact(f"{name}: archivist and raw side, of one core", split(busy), "≤ 10 %", busy.whole <= 0.10),
        Fact("copies: the same while nobody writes", split(idle), "", None),
        Fact(
            "copies: made meanwhile (while nobody wrote), late",
            f"{found.copies} for {found.changes} changes ({found.idle_copies}), {found.late}",
            "none late",
            found.late == 0,
        ),
        Fact("copies: CPU of one change, sweep and copy", f"{per_change:.1f} ms"),
        Fact(
            "copies: PSS of archivist and raw side, the most",
            f"{max(busy.pss, idle.pss) / 1e6:.0f} MB",
            "≤ 300 MB",
            max(busy.pss, idle.pss) <= 300e6,
        ),
        Fact("copies: the first of all, and scribes behind, p95", f"{found.first:.0f} s, {found.behind:.0f} ms"),
    ]


def split(taken: Taken) -> str:
    """Say what the CPU went into; drills are processes of their own and no part of the whole."""
    parts = ", ".join(f"{name} {taken.cpu[name]:.1%}" for name in (SWEEPING, COPYING, RAW))
    apart = taken.cpu[DRILLS] + taken.cpu[OTHER]
    return f"{taken.whole:.1%} ({parts}; drills apart {apart:.1%})"


def held_facts(stretches: Sequence[Held]) -> list[Fact]:
    without, *others = stretches
    name = f"copies, {without.size} MB, {len(without.commits) / without.seconds:.0f} commits/s"
    found = [Fact(f"{name}: a commit without copies, p50 / p99 / max", f"{spread(without.commits, 1000)} ms")]
    for each in others:
        held, commits = spread(each.held, 1000), spread(each.commits, 1000)
        found += [
            Fact(
                f"{each.size} MB, copied {each.pace}: writers held ({len(each.held)} copies, {each.in_use} put off)",
                f"{held} ms",
                "p99 ≤ 5 ms",
                share(each.held, 99) <= 0.005,
            ),
            Fact(f"{each.size} MB, copied {each.pace}: a commit", f"{commits} ms"),
        ]
    return found


def recovery_fact(size: int, ages: Sequence[float]) -> Fact:
    most = share(ages, 100)
    value = f"{share(ages, 50):.1f} / {most:.1f} s"
    return Fact(f"recovery point of a tenant of {size} MB, p50 / max", value, "≤ 15 s", most <= 15)


def back_facts(found: Back) -> list[Fact]:
    soon = SOON[found.size]
    return [
        *(
            Fact(
                f"{found.size} MB back by {way}: inside the process, by the command",
                f"{found.inside[way]:.2f}, {seconds:.2f} s",
                f"≤ {soon} s",
                seconds <= soon,
            )
            for way, seconds in found.command.items()
        ),
        Fact(
            f"{found.size} MB put back: its page not answered for, and a neighbour's longest",
            f"{found.refused:.2f}, {found.neighbour:.2f} s",
            "that tenant's alone",
            found.neighbour < 1,
        ),
        Fact(f"{found.size} MB: seconds between two copies", f"{found.interval:.0f} s"),
    ]


def save(plan: Plan, found: Figures) -> None:
    """Write the figures to archive.json, long lists as percentiles."""
    asked = {key: getattr(plan, key) for key in ("tenants", "rate", "seconds", "large")}
    RESULTS.write_text(json.dumps({**asked, **shortened(asdict(found))}, indent=2) + "\n")


def shortened(figures: Any) -> Any:
    """Give figures with each list of many times as its percentiles."""
    if isinstance(figures, dict):
        return {key: shortened(value) for key, value in figures.items()}
    if not isinstance(figures, list):
        return figures
    if len(figures) > 10 and isinstance(figures[0], float):
        return {
            "count": len(figures),
            **{f"p{percent}": share(figures, percent) for percent in (5, 50, 90, 95, 99, 100)},
        }
    return [shortened(value) for value in figures]


def measured(plan: Plan, folder: Path) -> list[Fact]:
    """Measure, keep the figures, and say them."""
    click.echo(f"  {plan.name}", err=True)
    found = measure(plan, folder)
    save(plan, found)
    return facts(plan, found)


def is_large() -> bool:
    """Tell whether a tenant of 1 GB is wanted as well."""
    return os.environ.get("BENCH_LARGE", "") not in ("", "0")


@click.command()
@click.option("--tenants", default=2_000, envvar="BENCH_TENANTS", type=click.IntRange(1), help="Tenants there are.")
@click.option("--rate", default=500.0, help="Changes a minute.")
@click.option("--seconds", default=120.0, help="Length of the run while people write; the other parts follow from it.")
def main(tenants: int, rate: float, seconds: float) -> None:
    """Measure copies and restores of the installation under instance/bench/."""
    home = Path(os.environ.get("BENCH_HOME", CHECKOUT / "instance" / "bench"))
    config = Config.load({**os.environ, "FREEHOLD_HOME": str(home), "FREEHOLD_MASTER_KEY_FILE": ""})
    environ = environment(config)
    subprocess.run([sys.executable, "-m", "app.cli", "bench", "seed", str(tenants)], cwd=ROOT, env=environ, check=True)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Plan(config, tenants, rate, seconds, is_large()), Path(folder))
    Console(width=160).print(fact_table(found))


if __name__ == "__main__":
    main()
