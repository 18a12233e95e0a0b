"""One row of the table: both sides visited in turn by the same visitors, round after round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import Outcome, visit
from bench.processes import Footprint, Server

WARM_UP = 2.0  # seconds


@dataclass(frozen=True)
class Run:
    """One round on one side: what the visitors saw and the CPU time (s) the workers used for it."""

    outcome: Outcome
    cpu: float

    @property
    def cpu_per_request(self) -> float:
        """Give the CPU time of one request in µs."""
        return 1e6 * self.cpu / self.outcome.requests


@dataclass(frozen=True)
class Side:
    """All rounds on one side, and what its workers held at the end."""

    runs: Sequence[Run]
    workers: Sequence[Footprint]

    def median(self, figure: str) -> float:
        """Give the median over the rounds of one figure of the outcome."""
        return statistics.median(getattr(run.outcome, figure) for run in self.runs)

    @property
    def cpu_per_request(self) -> float:
        """Give the median CPU time of one request in µs."""
        return statistics.median(run.cpu_per_request for run in self.runs)


@dataclass(frozen=True)
class Row:
    """A comparison. `least` is the ratio we mean to reach, None where the row only informs."""

    name: str
    floor: Side
    ours: Side
    least: float | None = None

    @property
    def ratio(self) -> float:
        """Give our requests per second as a share of the floor's: the median of the rounds' shares."""
        pairs = zip(self.floor.runs, self.ours.runs, strict=True)
        return statistics.median(ours.outcome.per_second / floor.outcome.per_second for floor, ours in pairs)

    @property
    def cpu_ratio(self) -> float:
        """Give the floor's CPU time per request as a share of ours: steadier than `ratio`."""
        return self.floor.cpu_per_request / self.ours.cpu_per_request


def compare(
    name: str,
    servers: tuple[Server, Server],
    sequences: tuple[Path, Path],
    *,
    rounds: int,
    seconds: float,
    least: float | None = None,
) -> Row:
    """Warm both sides up, then visit floor, ours, floor, ours… for `rounds` rounds of `seconds` each."""
    sides = list(zip(servers, sequences, strict=True))
    for server, sequence in sides:
        visit(server.port, sequence, WARM_UP)
    pairs = [[measure(server, sequence, seconds) for server, sequence in sides] for _ in range(rounds)]
    floor, ours = (Side([pair[side] for pair in pairs], server.footprints()) for side, server in enumerate(servers))
    return Row(name, floor, ours, least)


def measure(server: Server, sequence: Path, seconds: float) -> Run:
    """Visit one server and see what its workers spent."""
    before = server.cpu_seconds()
    outcome = visit(server.port, sequence, seconds)
    return Run(outcome, server.cpu_seconds() - before)
