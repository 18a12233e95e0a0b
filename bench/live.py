"""Open pages: how long after a commit they hear of it, whether each hears everything once, and what that costs the others.

`python -m bench.live` measures this alone. The figures go to bench/live.json as well.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.config import CHECKOUT, Config
from bench import load
from bench.load import Outcome
from bench.processes import ROOT, Installation, cpu_seconds, environment, footprint, serving_whole
from bench.report import Fact, fact_table
from bench.village import post_paths

RESULTS = Path(__file__).with_name("live.json")

HOUSES = 250
STREAMS_OF_ONE = 10  # that one signed-in person has open; live allows a session twelve
CALLS = 20.0  # visits a second to public pages
SIGNS = {  # of the processes' command lines
    "front": "caddy",
    "live": "app.serve.streaming",
    "web": "wsgi:app",
    "valkey": "valkey",
}


@dataclass(frozen=True)
class Plan:
    """What is asked of the installation: streams over houses, events a second for so many seconds."""

    config: Config
    houses: int = HOUSES
    streams: int = 5_000
    rate: float = 50.0
    seconds: float = 60.0

    @property
    def people(self) -> int:
        """How many are signed in at each house, two at least."""
        return max(2, math.ceil(self.streams / self.houses / STREAMS_OF_ONE))

    @property
    def name(self) -> str:
        return f"live: {self.streams:,} streams, {self.rate:.0f} events/s over {self.houses} houses"


@dataclass
class Tally:
    """What the streams were given, beside what was committed; latencies in ms."""

    deliveries: int = 0
    lost: int = 0
    doubled: int = 0
    misplaced: int = 0  # out of order, or never committed
    faults: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, ids: Sequence[int], times: Sequence[float], committed: dict[int, float]) -> None:
        """Set what one stream was given against what was committed in its house."""
        given = Counter(ids)
        self.deliveries += len(ids)
        self.lost += sum(1 for event_id in committed if event_id not in given)
        self.doubled += sum(count - 1 for count in given.values())
        self.misplaced += sum(1 for one, following in pairwise(ids) if following < one)
        self.misplaced += sum(1 for event_id in given if event_id not in committed)
        pairs = zip(ids, times, strict=True)
        self.latencies += [1000 * (moment - committed[event_id]) for event_id, moment in pairs if event_id in committed]

    def share(self, percent: int) -> float:
        """Give a percentile of the latencies, in ms."""
        ordered = sorted(self.latencies) or [0.0]
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    @property
    def is_whole(self) -> bool:
        """Whether every stream was given everything once, in order."""
        return not (self.lost or self.doubled or self.misplaced or self.faults)


@dataclass(frozen=True)
class Figures:
    """What one run has shown. CPU is a share of one core while events came; memory in bytes, pages shared by share."""

    tally: Tally
    opening: float  # seconds until all streams were open
    late: float  # ms, p95: how far the speakers were behind their own pace
    idle: Outcome  # public pages before
    busy: Outcome  # and meanwhile
    cpu: dict[str, float]
    pss: dict[str, int]
    load: tuple[float, float]  # of the machine over a minute, at the beginning and at the end


def measure(plan: Plan, folder: Path) -> Figures:
    """Sign people in, serve the installation, open the streams, and have the people talk."""
    houses = finish_talk(begin_talk(plan, "sign-in", plan.people))
    hosts = [people[0].split()[0] for people in houses]
    pages = folder / "pages"
    pages.write_text("\n".join(load.everyone(hosts, post_paths(), times=1)) + "\n")
    loaded = os.getloadavg()[0]
    with serving_whole(plan.config, folder / "live.log") as installation:
        load.tour(installation.port, pages)
        idle = finish(begin_calls(installation, pages, plan.seconds))
        lines = streams(houses, plan.streams)
        with listening(installation, lines, folder) as told:
            busy, spoken, cpu = run(plan, installation, pages)
            pss = {name: memory(installation, name) for name in SIGNS}
    tally = compare([line.split()[0] for line in lines], told["heard"], spoken["committed"])
    return Figures(tally, told["seconds"], spoken["late"], idle, busy, cpu, pss, (loaded, os.getloadavg()[0]))


def streams(houses: Sequence[Sequence[str]], count: int) -> list[str]:
    """Spread so many streams over the houses, and in each over those who are signed in."""
    rounds = range(count // len(houses) + 1)
    return [people[number % len(people)] for number in rounds for people in houses][:count]


def run(plan: Plan, installation: Installation, pages: Path) -> tuple[Outcome, dict[str, Any], dict[str, float]]:
    """Have the people talk and visitors come; what the visitors saw, what was committed, and the CPU it took."""
    talk = begin_talk(plan, "speak", plan.rate, plan.seconds)
    calls = begin_calls(installation, pages, plan.seconds)
    before = {name: spent(installation, name) for name in SIGNS}
    spoken = finish_talk(talk)
    cpu = {name: (spent(installation, name) - before[name]) / spoken["seconds"] for name in SIGNS}
    return finish(calls), spoken, cpu


def begin_talk(plan: Plan, act: str, *details: float | str) -> subprocess.Popen[str]:
    """Have `bench.talk` do something at the houses, and wait until it begins."""
    command = [sys.executable, "-m", "bench.talk", act, str(plan.houses), *map(str, details)]
    environ = {**environment(plan.config), "FREEHOLD_LOG_LEVEL": "warning"}
    talk = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert talk.stdout is not None
    talk.stdout.readline()
    return talk


def finish_talk(talk: subprocess.Popen[str]) -> Any:
    """Wait until it is over; what it tells. Raises when it stopped with an error."""
    told, _ = talk.communicate()
    if talk.returncode:
        raise RuntimeError("The people of the benchmark could not talk.")
    return json.loads(told.splitlines()[-1])


def begin_calls(installation: Installation, pages: Path, seconds: float) -> subprocess.Popen[str]:
    """Begin to send visitors to public pages, at a steady rate."""
    numbers = [str(installation.port), str(pages), str(seconds), str(CALLS)]
    return subprocess.Popen(
        [sys.executable, "-m", "bench.callers", *numbers], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def finish(calls: subprocess.Popen[str]) -> Outcome:
    """Wait for the last visitor; what they saw. Raises when one was refused."""
    told, _ = calls.communicate()
    outcome = Outcome(**json.loads(told))
    if outcome.errors:
        raise RuntimeError(f"{outcome.errors} of {outcome.requests} visits failed.")
    return outcome


@contextmanager
def listening(installation: Installation, lines: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Hold a stream open for each of `lines` during the block; what they heard is there when it is over."""
    (folder / "streams").write_text("\n".join(lines) + "\n")
    command = [sys.executable, str(ROOT / "bench" / "listeners.py"), str(installation.port), str(folder / "streams")]
    told: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listeners:
        try:
            assert listeners.stdout is not None
            if "open" not in listeners.stdout.readline():
                raise RuntimeError("The streams did not open.")
            yield told
            told.update(json.loads(listeners.communicate()[0]))
        finally:
            listeners.terminate()


def compare(hosts: Sequence[str], heard: Sequence[Sequence[Any]], committed: dict[str, list[list[Any]]]) -> Tally:
    """Set what each stream was given against what was committed at its host."""
    tally, moments = Tally(), {host: dict(map(tuple, events)) for host, events in committed.items()}
    for host, (ids, times, fault) in zip(hosts, heard, strict=True):
        tally.add(ids, times, moments[host])
        tally.faults.update([fault] if fault else [])
    return tally


def spent(installation: Installation, name: str) -> float:
    """Sum the CPU time (s) of a process and those it has started."""
    return sum(cpu_seconds(pid) for pid in installation.family(SIGNS[name]))


def memory(installation: Installation, name: str) -> int:
    """Sum the memory (bytes) of a process and those it has started."""
    return sum(footprint(pid).pss for pid in installation.family(SIGNS[name]))


def facts(plan: Plan, found: Figures) -> list[Fact]:
    """Say what was measured, beside what it should be."""
    tally, name = found.tally, plan.name
    p50, p95, p99 = (tally.share(percent) for percent in (50, 95, 99))
    wrong = f"{tally.lost} lost, {tally.doubled} doubled, {tally.misplaced} out of place, {tally.faults.total()} streams broken"
    return [
        Fact(
            f"{name}: commit to client, p50 / p95 / p99 / max",
            f"{p50:.0f} / {p95:.0f} / {p99:.0f} / {tally.share(100):.0f} ms",
            "p95 ≤ 100 ms, p99 ≤ 300 ms",
            p95 <= 100 and p99 <= 300,
        ),
        Fact(f"live: of {tally.deliveries:,} deliveries", wrong, "none", tally.is_whole),
        *(
            Fact(f"PSS of {name}", f"{found.pss[name] / 1e6:.0f} MB", f"≤ {most} MB", found.pss[name] <= most * 1e6)
            for name, most in (("live", 400), ("front", 500))
        ),
        Fact(
            "a public page meanwhile, p95, and idle",
            f"{found.busy.p95:.1f} ms, {found.idle.p95:.1f} ms",
            "idle + 15 ms",
            found.busy.p95 <= found.idle.p95 + 15,
        ),
        Fact("CPU meanwhile, of one core", ", ".join(f"{name} {share:.0%}" for name, share in found.cpu.items())),
        Fact("opening all streams", f"{found.opening:.1f} s"),
        Fact("speakers behind their pace, p95", f"{found.late:.0f} ms"),
        Fact("load of the machine before and after", f"{found.load[0]:.1f}, {found.load[1]:.1f}"),
    ]


def save(plan: Plan, found: Figures) -> None:
    """Write the figures to live.json, the latencies as percentiles."""
    asked = {key: getattr(plan, key) for key in ("houses", "streams", "rate", "seconds")}
    latencies = {f"p{percent}": found.tally.share(percent) for percent in (5, 25, 50, 75, 90, 95, 99, 100)}
    tally = {**vars(found.tally), "latencies": latencies}
    outcomes = {"idle": vars(found.idle), "busy": vars(found.busy)}
    RESULTS.write_text(json.dumps({**asked, **vars(found), **outcomes, "tally": tally}, indent=2) + "\n")


def measured(plan: Plan, folder: Path) -> list[Fact]:
    """Measure, keep the figures, and say them."""
    click.echo(f"  {plan.name}", err=True)
    found = measure(plan, folder)
    save(plan, found)
    return facts(plan, found)


@click.command()
@click.option("--houses", default=HOUSES, type=click.IntRange(1), help="Houses that have streams.")
@click.option("--streams", default=5_000, type=click.IntRange(1), help="Open streams.")
@click.option("--rate", default=50.0, help="Events a second.")
@click.option("--seconds", default=60.0, help="Length of the run.")
def main(houses: int, streams: int, rate: float, seconds: float) -> None:
    """Measure open pages of the installation under instance/bench/."""
    home = Path(os.environ.get("BENCH_HOME", CHECKOUT / "instance" / "bench"))
    config = Config.load({**os.environ, "FREEHOLD_HOME": str(home), "FREEHOLD_MASTER_KEY_FILE": ""})
    environ = environment(config)
    subprocess.run([sys.executable, "-m", "app.cli", "bench", "seed", str(houses)], cwd=ROOT, env=environ, check=True)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Plan(config, houses, streams, rate, seconds), Path(folder))
    Console(width=160).print(fact_table(found))


if __name__ == "__main__":
    main()
