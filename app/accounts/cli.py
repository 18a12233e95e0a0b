"""`freehold users`: the people of one organisation."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from app.accounts.factors import PEOPLE
from app.accounts.models import User
from app.facilities import audit
from app.tenancy import db, tenant_context
from app.tenancy.cli import known
from app.tenancy.errors import Refused


@click.group("users")
def cli() -> None:
    """The people of one organisation."""


@cli.command("list")
@click.argument("slug")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@with_appcontext
def list_users(slug: str, as_json: bool) -> None:
    """List who may sign in at SLUG."""
    here = select(User).where(User.state != "removed").order_by(User.email)
    with tenant_context(known(slug), writes=False):
        people = [described(user) for user in db.session.scalars(here)]
    if as_json:
        click.echo(json.dumps(people))
        return
    for person in people:
        click.echo("{email:<40} {role:<8} {state:<8} {name}".format(**person))


@cli.command("reset-2fa")
@click.argument("slug")
@click.argument("email")
@with_appcontext
def reset_second_factor(slug: str, email: str) -> None:
    """Take the second factor of a person at SLUG who has lost it, and sign them out everywhere.

    Be sure that whoever asks is that person: what is left to protect them is their password.
    """
    with tenant_context(known(slug)):
        user = User.by_email(email)
        if user is None:
            raise Refused(f"There is nobody {email!r} at {slug}. `freehold users list {slug}` shows who is there.")
        PEOPLE.clear(user)
        user.end_sessions()
        audit.note("factors_reset", subject=user.email)
        user.warn("factors_changed")
        db.session.commit()
    click.echo(f"{email} is signed out everywhere and comes in by their password, until they set up another factor.")


def described(user: User) -> dict[str, object]:
    """Return what a list says about a person."""
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "state": user.state,
        "set_up": user.password_hash is not None,
        "created_at": user.created_at.isoformat(),
    }
