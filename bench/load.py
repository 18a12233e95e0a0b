"""The load: who is visited in which order, and the one generator that visits both sides of a comparison."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CONNECTIONS = 16
LENGTH = 40_000  # requests in a sequence before it starts again


@dataclass(frozen=True)
class Outcome:
    """What one run of the generator saw; latencies in ms."""

    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def skewed(hosts: Sequence[str], paths: Sequence[str], seed: int = 7) -> list[str]:
    """Draw "host path" lines as the world does (Zipf, exponent 1): few houses get most of the visits."""
    chance = random.Random(seed)
    popular = chance.sample(hosts, len(hosts))
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(popular) + 1)))
    drawn = chance.choices(popular, cum_weights=weights, k=LENGTH)
    return [f"{host} {chance.choice(paths)}" for host in drawn]


def uniform(hosts: Sequence[str], paths: Sequence[str], seed: int = 7) -> list[str]:
    """Draw "host path" lines where each house is as likely as any other: hardest for open files."""
    chance = random.Random(seed)
    return [f"{chance.choice(hosts)} {chance.choice(paths)}" for _ in range(LENGTH)]


def everyone(hosts: Sequence[str], paths: Sequence[str], times: int, seed: int = 7) -> list[str]:
    """Visit every house `times` times, in an order shuffled anew each time."""
    chance = random.Random(seed)
    return [f"{host} {chance.choice(paths)}" for _ in range(times) for host in chance.sample(hosts, len(hosts))]


def visit(port: int, sequence: Path, seconds: float) -> Outcome:
    """Send visitors to a port for so many seconds, through the sequence again and again."""
    return run(command(port, sequence, seconds), seconds)


def tour(port: int, sequence: Path, seconds: float = 600) -> Outcome:
    """Make each visit of a sequence once, in at most so many seconds."""
    count = len(sequence.read_text().splitlines())
    return run(own_command(port, sequence, seconds, count), seconds)


def run(generator: list[str], seconds: float) -> Outcome:
    """Run a generator and read its figures; raises when any visit failed: errors are quick."""
    ran = subprocess.run(generator, capture_output=True, text=True, timeout=seconds + 60)
    if ran.returncode:
        raise RuntimeError(f"The load generator stopped: {ran.stderr or ran.stdout}")
    outcome = Outcome(**json.loads(ran.stdout.strip().splitlines()[-1]))
    if outcome.errors:
        raise RuntimeError(f"{outcome.errors} of {outcome.requests} visits failed.")
    return outcome


def command(port: int, sequence: Path, seconds: float) -> list[str]:
    """Prefer wrk, which takes the least of the machine from the servers it measures."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return own_command(port, sequence, seconds, count=0)
    connections = ["-t1", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds)}s", "--timeout", "10s"]
    return [
        wrk,
        *connections,
        "-s",
        str(HERE / "visitors.lua"),
        f"http://127.0.0.1:{port}/",
        "--",
        str(sequence),
    ]


def own_command(port: int, sequence: Path, seconds: float, count: int) -> list[str]:
    """Call our own visitors; `count` 0 means no bound but the time."""
    return [
        sys.executable,
        str(HERE / "visitors.py"),
        str(port),
        str(sequence),
        str(seconds),
        str(count),
        str(CONNECTIONS),
    ]


def generator_name() -> str:
    """Name the generator that `visit` uses here."""
    return "wrk" if shutil.which("wrk") else "bench/visitors.py"
