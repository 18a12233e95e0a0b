"""`freehold bench`: fill an installation for measuring."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from flask import current_app
from flask.cli import with_appcontext
from rich.console import Console
from rich.table import Table

from app.tenancy.cli import as_json_option, track
from bench.seed import Journal, Summary, seed
from bench.village import organisations


@click.group("bench")
def cli() -> None:
    """Fill an installation for measuring."""


@cli.command("seed")
@click.argument("count", type=click.IntRange(1, 100_000))
@as_json_option
@with_appcontext
def seed_command(count: int, as_json: bool) -> None:
    """Make COUNT organisations with a site each. What exists is kept; what is half-made is completed."""
    config = current_app.config["FREEHOLD"]
    journal = Journal(config.instance / "bench-seed.jsonl")
    wanted = list(organisations(count))
    for _ in track(seed(wanted, journal, config.tenants_data), count, "Making houses"):
        pass
    made = journal.read()
    summary = Summary.of([made[organisation.slug] for organisation in wanted])
    if as_json:
        click.echo(json.dumps({**asdict(summary), "growth": summary.growth}))
    else:
        show(summary)


def show(summary: Summary) -> None:
    """Print the summary as a table, provisioning in ms."""
    table = Table(title=f"{summary.tenants:,} houses, {summary.bytes_per_tenant / 1024:,.0f} KiB each")
    table.add_column("provisioning, ms")
    for heading in ("min", "median", "p95", "max", "CPU median"):
        table.add_column(heading, justify="right")
    for label, spread in (("all", summary.all), ("first 100", summary.first), ("last 100", summary.last)):
        table.add_row(label, *(f"{value:.1f}" for value in asdict(spread).values()))
    Console().print(table)
