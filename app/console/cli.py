"""`freehold operators`: those who may open the console. Passwords never stand on a command line."""

from __future__ import annotations

import json
import secrets
import sys

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from app.accounts.passwords import hash_password, require_good
from app.console import operators
from app.console.factors import FACTORS
from app.console.policy import ROLES
from app.facilities import settings
from app.tenancy import db, platform_context, tenancy
from app.tenancy.errors import Refused
from app.tenancy.registry import Operator


@click.group("operators")
def cli() -> None:
    """Those who run the platform and may open the console."""


@cli.command("create")
@click.argument("email")
@click.option("--name", default="", help="As it is shown on the console.")
@click.option("--role", type=click.Choice(list(ROLES)), default="all", help="What they may do on the console.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; without it one is made.")
@with_appcontext
def create(email: str, name: str, role: str, password_stdin: bool) -> None:
    """Add an operator, and print the password that was made."""
    password = chosen_password(password_stdin, email, name)
    hashed = hash_password(password)
    with platform_context():
        operators.create(email, hashed, name, role)
        db.session.commit()
    tenancy.ledger.record("operator_added", subject=email, role=role)
    tell(f"{email} may open the console.", password, password_stdin)


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@with_appcontext
def list_operators(as_json: bool) -> None:
    """List the operators."""
    with platform_context(writes=False):
        people = [
            {
                "id": one.id,
                "email": one.email,
                "name": one.name,
                "role": one.role,
                "created_at": one.created_at.isoformat(),
            }
            for one in db.session.scalars(select(Operator).order_by(Operator.email))
        ]
    if as_json:
        click.echo(json.dumps(people))
        return
    for person in people:
        click.echo("{email:<40} {role:<9} {name}".format(**person))


@cli.command("reset")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; without it one is made.")
@with_appcontext
def reset(email: str, password_stdin: bool) -> None:
    """Give an operator a new password, take their second factor, and sign them out everywhere."""
    password = chosen_password(password_stdin, email)
    hashed = hash_password(password)
    with platform_context():
        operator = known(email)
        operators.set_password(operator, hashed)
        FACTORS.clear(operator)
        db.session.commit()
    tenancy.ledger.record("operator_reset", subject=email)
    tell(
        f"{email} has a new password, sets up a second factor anew, and is signed out everywhere.",
        password,
        password_stdin,
    )


@cli.command("role")
@click.argument("email")
@click.argument("role", type=click.Choice(list(ROLES)))
@with_appcontext
def give_role(email: str, role: str) -> None:
    """Change what an operator may do, and sign them out everywhere."""
    with platform_context():
        operator = known(email)
        before = operator.role
        operators.give_role(operator, role)
        db.session.commit()
    tenancy.ledger.record("operator_role_changed", subject=email, role=role, before=before)
    click.echo(f"{email} has the role {role} and signs in again.")


@cli.command("remove")
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def remove(email: str, yes: bool) -> None:
    """Let an operator in no more."""
    if not yes and not (sys.stdin.isatty() and click.confirm(f"Remove the operator {email}?")):
        raise Refused("Nothing was changed. Confirm, or give --yes.")
    with platform_context():
        operators.remove(known(email))
        db.session.commit()
    tenancy.ledger.record("operator_removed", subject=email)
    click.echo(f"{email} is no operator any more.")


def known(email: str) -> Operator:
    """Return the operator with this address; raises `Refused` when there is none."""
    operator = operators.by_email(email)
    if operator is None:
        raise Refused(f"There is no operator {email!r}. `freehold operators list` shows those there are.")
    return operator


def chosen_password(from_stdin: bool, *about: str) -> str:
    """Read the password of somebody from standard input, or make one of 20 characters; raises `Refused` for one with a flaw."""
    if not from_stdin:
        return secrets.token_urlsafe(15)
    password = sys.stdin.readline().rstrip("\r\n")
    require_good(password, *about, settings.text("platform_name"))
    return password


def tell(what: str, password: str, was_given: bool) -> None:
    """Say what was done, and the password once if nobody knows it yet."""
    click.echo(what if was_given else f"{what} Password: {password}")
