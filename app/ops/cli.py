"""`freehold health`: the same checks as `/readyz`, for a terminal or a timer."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from app.ops import health


@click.command("health")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--token", is_flag=True, help="Print the token that lets another machine see the detail of /readyz.")
@with_appcontext
def cli(as_json: bool, token: bool) -> None:
    """Tell what is not fine; exit code 0 when all is, 1 otherwise."""
    if token:
        click.echo(health.token())
        return
    trouble = health.trouble()
    if as_json:
        click.echo(json.dumps({"ready": not trouble, "failing": trouble}))
    else:
        click.echo("\n".join(f"{name}: {reason}" for name, reason in trouble.items()) or "All is well.")
    raise SystemExit(1 if trouble else 0)
