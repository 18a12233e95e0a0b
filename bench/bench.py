"""One run of the benchmarks: the installation it measures, how many houses, how long."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from app.config import Config
from bench.compare import Row, compare
from bench.processes import Server, serving, serving_whole
from bench.village import organisations

FEW = 100  # houses of the small rows


@dataclass(frozen=True)
class Bench:
    """What every measurement of a run shares; `seconds` is the length of one round on one side."""

    config: Config
    tenants: int
    rounds: int
    seconds: int
    folder: Path

    def hosts(self, count: int) -> list[str]:
        """Give the hosts of the first `count` houses."""
        return [f"{organisation.slug}.{self.config.base_domain}" for organisation in organisations(count)]

    def sequence(self, visits: Sequence[str], name: str = "visits") -> Path:
        """Write visits where a generator reads them."""
        path = self.folder / name
        path.write_text("\n".join(visits) + "\n")
        return path

    @contextmanager
    def ours(self, page_cache: int | None = None) -> Iterator[Server]:
        """Serve Freehold, its page cache of `page_cache` bytes, or as the settings have it."""
        size = self.config.page_cache_bytes if page_cache is None else page_cache
        config = dataclasses.replace(self.config, page_cache_bytes=size)
        with serving("wsgi:app", config, self.folder / "ours.log") as server:
            yield server

    @contextmanager
    def ours_behind_the_front(self) -> Iterator[Server]:
        """Serve Freehold whole, its page cache off, and give web as visitors reach it."""
        config = dataclasses.replace(self.config, page_cache_bytes=0)
        with serving_whole(config, self.folder / "whole.log") as installation:
            yield Server(installation.port, installation.process("wsgi:app"))

    @contextmanager
    def floor(self) -> Iterator[Server]:
        """Serve the floor."""
        with serving("bench.floor:application()", self.config, self.folder / "floor.log") as server:
            yield server

    def compare(
        self,
        name: str,
        floor: Server,
        ours: Server,
        visits: Sequence[str],
        least: float | None,
        own: Sequence[str] = (),
    ) -> Row:
        """Measure one row; `own` are the visits to our side where they are others than the floor's."""
        click.echo(f"  {name}", err=True)
        sequences = self.sequence(visits), self.sequence(own or visits, "own-visits")
        return compare(name, (floor, ours), sequences, rounds=self.rounds, seconds=self.seconds, least=least)
