"""What the benchmarks say: a table on the terminal, and every figure in bench/results.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.compare import Row, Side

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Fact:
    """A figure that stands alone: what, how much, and what it should be."""

    name: str
    value: str
    aim: str = ""
    is_met: bool | None = None


def show(rows: Sequence[Row], facts: Sequence[Fact]) -> None:
    """Print the comparisons and the facts in one table each."""
    console = Console(width=160)
    console.print(comparisons(rows))
    console.print(fact_table(facts))


def comparisons(rows: Sequence[Row]) -> Table:
    """Lay out the ratios and the figures behind them; latencies in ms, CPU per request in µs."""
    table = Table(title="Freehold as a share of the public post page of a bare Flask + sqlite3 application")
    for heading in (
        "row",
        "ratio",
        "aim",
        "by CPU",
        "floor/s",
        "ours/s",
        "floor p50 p95 p99",
        "ours p50 p95 p99",
        "CPU µs",
        "PSS MiB",
        "descriptors",
    ):
        table.add_column(heading, justify="left" if heading == "row" else "right")
    for row in rows:
        table.add_row(
            row.name, verdict(row), f"≥ {row.least:.2f}" if row.least else "", f"{row.cpu_ratio:.2f}",
            f"{row.floor.median('per_second'):,.0f}", f"{row.ours.median('per_second'):,.0f}",
            latencies(row.floor), latencies(row.ours),
            f"{row.floor.cpu_per_request:.0f} : {row.ours.cpu_per_request:.0f}",
            f"{largest(row.floor, 'pss') / 2**20:.0f} : {largest(row.ours, 'pss') / 2**20:.0f}",
            f"{largest(row.floor, 'descriptors')} : {largest(row.ours, 'descriptors')}",
        )  # fmt: skip
    return table


def verdict(row: Row) -> str:
    """Give the ratio, green or red where there is an aim."""
    if row.least is None:
        return f"{row.ratio:.2f}"
    return f"[{'green' if row.ratio >= row.least else 'red'}]{row.ratio:.2f}[/]"


def latencies(side: Side) -> str:
    return " ".join(f"{side.median(share):.1f}" for share in ("p50", "p95", "p99"))


def largest(side: Side, figure: str) -> int:
    """Give the largest of a figure among the workers."""
    return max(getattr(worker, figure) for worker in side.workers)


def fact_table(facts: Sequence[Fact]) -> Table:
    """Lay out the figures that are no ratios."""
    table = Table(title="Beside the page")
    for heading in ("what", "figure", "aim"):
        table.add_column(heading)
    for fact in facts:
        colour = {True: "green", False: "red", None: "default"}[fact.is_met]
        table.add_row(fact.name, f"[{colour}]{fact.value}[/]", fact.aim)
    return table


def save(machine: dict[str, object], rows: Sequence[Row], facts: Sequence[Fact]) -> None:
    """Write everything measured to results.json."""
    results = {
        "machine": machine,
        "rows": [row_figures(row) for row in rows],
        "facts": [vars(fact) for fact in facts],
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def row_figures(row: Row) -> dict[str, object]:
    """Give one comparison as JSON takes it."""
    sides = {"floor": side_figures(row.floor), "ours": side_figures(row.ours)}
    return {"name": row.name, "ratio": row.ratio, "cpu_ratio": row.cpu_ratio, "least": row.least, **sides}


def side_figures(side: Side) -> dict[str, object]:
    runs = [
        {**vars(run.outcome), "per_second": run.outcome.per_second, "cpu_us": run.cpu_per_request} for run in side.runs
    ]
    return {"runs": runs, "workers": [vars(worker) for worker in side.workers]}
