"""`freehold audit`: whether every organisation's audit is as it was written, and the catalogue of what it tells."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from app.facilities import audit
from app.tenancy import ResolvedTenant, tenancy
from app.tenancy.cli import as_json_option, known, track
from app.tenancy.errors import FreeholdError

INTRODUCTION = """\
# What the audit tells

Each organisation's file holds an audit: a row for every act that touches its safety, written in the transaction of the
act. A row says what was done (its kind), by whom, to whom, and a few words more. Each carries a keyed hash over itself
and the row before, and the newest hash is kept in the ledger too. Owners read it under Settings, Who did what;
`freehold audit verify` checks it, as does every organisation itself each night.

This page is printed by `freehold audit kinds`; a test holds the two equal."""


@click.group("audit")
def cli() -> None:
    """Who did what in each organisation, and whether that is still what was written."""


@cli.command("verify")
@click.argument("slug", required=False)
@as_json_option
@with_appcontext
def verify(slug: str | None, as_json: bool) -> None:
    """Check the audit of SLUG, or of all. Ends with 1 when one does not hold, and names its first wrong row."""
    chosen = [known(slug)] if slug else [each for each in tenancy.registry.tenants() if is_checked(each)]
    told = {each.slug: found_in(each) for each in (track(chosen, len(chosen), "Checking") if not slug else chosen)}
    wrong = {name: what for name, what in told.items() if what}
    if as_json:
        click.echo(json.dumps({"checked": len(told), "wrong": wrong}))
    else:
        for name, what in wrong.items():
            click.echo(f"{name}: {what}")
        click.echo(f"{len(told)} checked, {len(wrong)} wrong.")
    if wrong:
        raise SystemExit(1)


@cli.command("kinds")
@with_appcontext
def kinds() -> None:
    """Print the catalogue of what the audit tells as Markdown."""
    click.echo("\n\n".join([INTRODUCTION, "\n".join(f"- `{kind.name}`: {kind.meaning}" for kind in audit.kinds())]))


def is_checked(tenant: ResolvedTenant) -> bool:
    """Tell whether a tenant has an audit of its own: a preview shows another's, and one half made has none yet."""
    return tenant.preview_of is None and tenant.state in ("active", "suspended", "archived")


def found_in(tenant: ResolvedTenant) -> str:
    """Return what is wrong with a tenant's audit, "" for nothing; a file that cannot be read is not in order either."""
    try:
        finding = audit.verify(tenant)
    except FreeholdError as error:
        return f"It cannot be read: {error}"
    return finding.what if finding else ""
