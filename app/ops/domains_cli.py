"""`freehold domains`: the hosts that tenants answer to."""

from __future__ import annotations

import json
import sys

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from app.ops import domains
from app.tenancy import db, tenancy
from app.tenancy.cli import SOME_FAILED, as_json_option, known
from app.tenancy.errors import Refused
from app.tenancy.registry import Domain, Tenant


@click.group("domains")
def cli() -> None:
    """The hosts that tenants answer to."""


@cli.command("list")
@as_json_option
@with_appcontext
def list_domains(as_json: bool) -> None:
    """List every host, its tenant, and what was found when somebody looked where it leads."""
    hosts = select(Domain.host, Tenant.slug, Domain.is_primary).join(Tenant).order_by(Domain.host)
    rows = db.session.execute(hosts).all()
    leads_here = {host: not check.problem for host, check in tenancy.domains.checks().items()}
    if as_json:
        names = ("host", "tenant", "primary", "leads_here")
        click.echo(json.dumps([dict(zip(names, (*row, leads_here.get(row.host)), strict=True)) for row in rows]))
        return
    for host, slug, is_primary in rows:
        where = {None: "", True: "leads here", False: "does not lead here"}[leads_here.get(host)]
        click.echo(f"{host:<48} {slug:<24} {'primary' if is_primary else '':<8} {where}".rstrip())


@cli.command("add")
@click.argument("slug")
@click.argument("host")
@with_appcontext
def add(slug: str, host: str) -> None:
    """Let SLUG answer at HOST too."""
    host = tenancy.domains.add(known(slug), host)
    click.echo(
        f"{slug} answers at {tenancy.config.address(host)}. Point {host} at this machine, then run freehold domains verify {host}"
    )


@cli.command("verify")
@click.argument("host")
@as_json_option
@with_appcontext
def verify(host: str, as_json: bool) -> None:
    """See whether HOST leads to this machine; exit code 1 when it does not."""
    problem = domains.look(host)
    if as_json:
        click.echo(json.dumps({"host": host, "leads_here": not problem, "problem": problem}))
    elif problem:
        click.echo(problem, err=True)
    else:
        click.echo(f"{host} leads here.")
    raise SystemExit(SOME_FAILED if problem else 0)


@cli.command("primary")
@click.argument("host")
@with_appcontext
def make_primary(host: str) -> None:
    """Have letters and links lead to HOST. Passkeys made at another one do not work there."""
    tenancy.domains.make_primary(host)


@cli.command("remove")
@click.argument("host")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def remove(host: str, yes: bool) -> None:
    """Answer at HOST no more: links to it lead nowhere, and passkeys made there are good for nothing."""
    tenancy.domains.refuse_to_remove(*tenancy.domains.known(host))
    if not yes and not (sys.stdin.isatty() and click.confirm(f"Answer at {host} no more?")):
        raise Refused("Nothing was changed. Confirm, or give --yes.")
    tenancy.domains.remove(host)
