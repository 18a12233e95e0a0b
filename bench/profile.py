"""Where the time of a page goes: both applications called in this process, without a server between.

`python -m bench.profile [COUNT]` prints what a request costs on both sides and our costliest functions. CPU time
swells when other work shares the cores; the number of Python calls does not.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
import time
from typing import Any

from app import create_app
from app.config import CHECKOUT, Config
from bench import floor, load
from bench.bench import FEW
from bench.inside import Application, call, environs
from bench.village import organisations, post_paths

LINES = 60


def run(application: Application, visits: list[dict[str, Any]]) -> float:
    """Make all visits; the CPU time of one in µs."""
    began = time.process_time()
    for environ in visits:
        call(application, environ)
    return 1e6 * (time.process_time() - began) / len(visits)


def profiled(application: Application, visits: list[dict[str, Any]]) -> pstats.Stats:
    """Make all visits under the profiler."""
    profiler = cProfile.Profile()
    profiler.runcall(run, application, visits)
    return pstats.Stats(profiler)


def main(count: int) -> None:
    """Compare the two in turn, five times, then profile both."""
    home = os.environ.get("BENCH_HOME", str(CHECKOUT / "instance" / "bench"))
    cache = os.environ.get("FREEHOLD_PAGE_CACHE_BYTES", "0")
    settings = {"FREEHOLD_HOME": home, "FREEHOLD_PAGE_CACHE_BYTES": cache, "FREEHOLD_LOG_LEVEL": "warning"}
    config = Config.load({**os.environ, **settings})
    sides = {"floor": floor.create_app(config.home / "floor"), "ours": create_app(config)}
    hosts = [f"{organisation.slug}.{config.base_domain}" for organisation in organisations(FEW)]
    visits = environs(load.skewed(hosts, post_paths())[:count])
    for application in sides.values():
        run(application, visits)
    for _ in range(5):
        spent = {name: run(application, visits) for name, application in sides.items()}
        print(f"floor {spent['floor']:.0f}, ours {spent['ours']:.0f} µs: {spent['floor'] / spent['ours']:.2f}")
    found = {name: profiled(application, visits) for name, application in sides.items()}
    for name, stats in found.items():
        print(f"{name}: {stats.total_calls / count:.0f} Python calls a request")  # type: ignore[attr-defined]
    found["ours"].sort_stats("cumtime").print_stats(LINES)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
