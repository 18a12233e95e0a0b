"""What is measured without the floor: provisioning, memory, descriptors, and opening a closed house."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from app.tenancy import DESCRIPTORS_BESIDE, DESCRIPTORS_PER_TENANT
from bench import floor_data
from bench.bench import Bench
from bench.compare import Row
from bench.processes import ROOT, environment
from bench.report import Fact
from bench.rows import hot_pages
from bench.village import organisations

MOST_MEMORY = 300  # MiB of a worker that has touched every house


def provisioning(bench: Bench) -> list[Fact]:
    """Make the houses that are missing, on both sides, and report what making them took."""
    seeding = [sys.executable, "-m", "app.cli", "bench", "seed", str(bench.tenants)]
    subprocess.run(seeding, cwd=ROOT, env=environment(bench.config), check=True)
    floor_data.fill(bench.config.home / "floor", bench.config.base_domain, organisations(bench.tenants))
    figures = last_line([*seeding, "--json"], bench)
    spread = "{least:.1f} / {median:.1f} / {p95:.1f} / {most:.1f} ms; CPU {cpu:.1f} ms".format
    medians = [
        Fact(
            f"provisioning, {edge} 100: min / median / p95 / max; median CPU",
            spread(**figures[edge]),
            "median ≤ 30 ms",
            figures[edge]["median"] <= 30,
        )
        for edge in ("first", "last")
    ]
    growth = Fact(
        "provisioning, CPU of the last 100 by the first 100",
        f"{figures['growth']:.2f}",
        "≤ 1.15",
        figures["growth"] <= 1.15,
    )
    return [*medians, growth, Fact("bytes per tenant", f"{figures['bytes_per_tenant'] / 1024:,.0f} KiB")]


def hit_share(bench: Bench, measured: Sequence[Row]) -> list[Fact]:
    """Report how often the page cache answers when one worker has its part of the visits that were measured."""
    (row,) = (row for row in measured if row.name.startswith("page cache"))
    count = round(row.ours.median("requests") / bench.config.web_workers)
    visits = "\n".join(hot_pages(bench))
    figures = last_line([sys.executable, "-m", "bench.hits", str(count)], bench, visits)
    return [Fact(f"page cache: share of {count:,} visits answered from it", f"{figures['share']:.1%}")]


def held(bench: Bench, measured: Sequence[Row]) -> list[Fact]:
    """Report what a worker holds that has met every house."""
    workers = [row for row in measured if row.name.startswith("rendered") and row.least is not None][-1].ours.workers
    memory = max(worker.pss for worker in workers) / 2**20
    descriptors = max(worker.descriptors for worker in workers)
    bound = DESCRIPTORS_PER_TENANT * bench.config.max_open_tenants + DESCRIPTORS_BESIDE
    return [
        Fact(
            f"PSS of a worker, all {bench.tenants:,} touched",
            f"{memory:.0f} MiB",
            f"≤ {MOST_MEMORY} MiB",
            memory <= MOST_MEMORY,
        ),
        Fact("its open descriptors", str(descriptors), f"≤ {bound}", descriptors <= bound),
    ]


def cold_open(bench: Bench) -> list[Fact]:
    """Measure a visit to a tenant that is not open beside a second one right after it."""
    figures = last_line([sys.executable, "-m", "bench.cold", str(bench.tenants)], bench)
    return [
        Fact(
            f"first touch of a {kind} tenant: median / p95",
            f"{figures[kind + '_median']:.2f} / {figures[kind + '_p95']:.2f} ms",
        )
        for kind in ("cold", "warm")
    ]


def last_line(command: list[str], bench: Bench, told: str = "") -> dict[str, Any]:
    """Run a command on the bench's installation and read the JSON line it ends with."""
    environ = {**environment(bench.config), "FREEHOLD_LOG_LEVEL": "warning"}
    ran = subprocess.run(command, cwd=ROOT, env=environ, check=True, input=told, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return figures
