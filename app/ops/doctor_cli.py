"""`freehold doctor` and `freehold isolation verify`: look at everything, change nothing, say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import click
from flask.cli import with_appcontext
from sqlalchemy import func, select

from app.ops import doctor
from app.ops.doctor import ERROR, Finding, Found
from app.tenancy import ResolvedTenant, db, tenancy
from app.tenancy.cli import as_json_option, track
from app.tenancy.registry import Tenant

WARNINGS, ERRORS = 1, 2


@click.command("doctor")
@as_json_option
@with_appcontext
def cli(as_json: bool) -> None:
    """Look through the whole installation: 0 when all is well, 1 with warnings, 2 with errors."""
    findings = doctor.examine_house()
    _say([*findings, *_of_tenants()], as_json)


@click.group("isolation")
def isolation() -> None:
    """Whether every organisation's data is its own."""


@isolation.command("verify")
@as_json_option
@with_appcontext
def verify(as_json: bool) -> None:
    """Open every organisation's file by its own key, and look for its stamp, its audit and who may read it."""
    _say(_of_tenants(*doctor.ISOLATION), as_json)


def _of_tenants(*checks: Callable[[ResolvedTenant], Found]) -> list[Finding]:
    total = db.session.scalar(select(func.count()).select_from(Tenant).where(Tenant.state != "deleted")) or 0
    db.session.rollback()
    living = tenancy.registry.tenants("provisioning", *doctor.KEPT)
    return [found for tenant in track(living, total, "Examining") for found in doctor.examine(tenant, checks)]


def _say(findings: list[Finding], as_json: bool) -> None:
    """Print a line for each, the errors first, and end with the code for the worst."""
    findings = sorted(findings, key=lambda each: (each.level != ERROR, each.tenant, each.check))
    errors = sum(each.level == ERROR for each in findings)
    if as_json:
        told = {"errors": errors, "warnings": len(findings) - errors, "findings": [asdict(each) for each in findings]}
        click.echo(json.dumps(told))
    for each in () if as_json else findings:
        click.echo(f"{each.level:<8} {each.check}: {each.tenant + ': ' if each.tenant else ''}{each.what}")
    if not as_json:
        click.echo(f"{errors} errors, {len(findings) - errors} warnings." if findings else "All is well.")
    raise SystemExit(ERRORS if errors else WARNINGS if findings else 0)
