"""`python -m bench`: seed, measure, print the tables, write bench/results.json.

Nothing here fails on a slow figure: machines differ, and other work shares them.
"""

from __future__ import annotations

import os
import platform
import signal
import tempfile
from pathlib import Path

import click

from app.config import CHECKOUT, Config
from bench import archive, facts, live, load, people, report, rows
from bench.bench import FEW, Bench


@click.command()
@click.option(
    "--tenants",
    default=2_000,
    envvar="BENCH_TENANTS",
    type=click.IntRange(FEW),
    help="Houses in the large rows.",
)
@click.option(
    "--rounds", default=9, envvar="BENCH_ROUNDS", type=click.IntRange(1), help="Rounds on each side, in turn."
)
@click.option(
    "--seconds",
    default=2,
    envvar="BENCH_SECONDS",
    type=click.IntRange(1),
    help="Length of a round on one side.",
)
@click.option(
    "--streams", default=5_000, envvar="BENCH_STREAMS", type=click.IntRange(1), help="Open pages that hear of events."
)
def main(tenants: int, rounds: int, seconds: int, streams: int) -> None:
    """Measure this checkout against the floor, in an installation of its own under instance/bench/."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers it started end with it
    home = Path(os.environ.get("BENCH_HOME", CHECKOUT / "instance" / "bench"))
    config = Config.load({**os.environ, "FREEHOLD_HOME": str(home), "FREEHOLD_MASTER_KEY_FILE": ""})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(config, tenants, rounds, seconds, Path(folder))
        found = facts.provisioning(bench)
        measured = [*rows.rendered(bench), *rows.cached(bench), *rows.behind_the_front(bench), *rows.signed_in(bench)]
        found += [*facts.hit_share(bench, measured), *facts.held(bench, measured), *facts.cold_open(bench)]
        found += live.measured(live.Plan(config, min(tenants, live.HOUSES), streams), bench.folder)
        found += people.measured(people.plan(config), bench.folder)
        found += archive.measured(archive.Plan(config, tenants, large=archive.is_large()), bench.folder)
    report.show(measured, found)
    report.save(machine(bench), measured, found)


def machine(bench: Bench) -> dict[str, object]:
    """Say what was measured on."""
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "generator": load.generator_name(),
        "connections": load.CONNECTIONS,
        "workers": bench.config.web_workers,
        "threads": bench.config.web_threads,
        "tenants": bench.tenants,
        "rounds": bench.rounds,
        "seconds": bench.seconds,
    }


if __name__ == "__main__":
    main()
