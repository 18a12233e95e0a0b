"""`freehold jobs`: the work of one organisation that is still to be done, and what failed."""

from __future__ import annotations

import json
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from app.tenancy import db, due, tenant_context, utcnow
from app.tenancy.cli import known
from app.tenancy.due import Due


@click.group("jobs")
def cli() -> None:
    """The work of one organisation that is still to be done."""


@cli.command("list")
@click.argument("slug")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@with_appcontext
def list_jobs(slug: str, as_json: bool) -> None:
    """List what waits, runs or was set aside at SLUG."""
    with tenant_context(known(slug), writes=False):
        rows = [described(row) for row in db.session.scalars(select(Due).order_by(Due.run_at, Due.id))]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo("Nothing waits.")
    for row in rows:
        click.echo("{id:>6}  {state:<10}  {job:<30}  {run_at:.19}  tried {attempts}  {error}".format(**row).rstrip())


@cli.command("retry")
@click.argument("slug")
@click.argument("numbers", nargs=-1, type=int)
@with_appcontext
def retry_jobs(slug: str, numbers: tuple[int, ...]) -> None:
    """Let what was set aside at SLUG try again: the NUMBERS given, or all."""
    tenant = known(slug)
    with tenant_context(tenant):
        count = due.retry(numbers or None)
        db.session.commit()
    click.echo(f"{count} of {tenant.slug} will be tried again.")


def described(row: Due) -> dict[str, Any]:
    """Return what a list says about a piece of work."""
    held = "on its way" if row.holder == due.QUEUE else "running" if row.holder else "waiting"
    held = "due later" if held == "waiting" and row.run_at > utcnow() else held
    return {
        "id": row.id,
        "job": row.job,
        "state": "set aside" if row.set_aside_at else held,
        "run_at": row.run_at.isoformat(),
        "attempts": row.attempts,
        "error": row.error,
    }
