"""Three organisations to look around in, made once and kept.

What makes them is imported only when one is missing: a second `make demo` is to be there at once.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import replace
from pathlib import Path

import click

from app.config import Config

ORGANISATIONS = {
    "riverside": "Riverside Rowing Club",
    "foodbank": "Oak Street Food Bank",
    "meridian": "Meridian Housing Co-op",
}
OPERATOR = "operator@platform.test"
OWNERS = {slug: f"owner@{slug}.test" for slug in ORGANISATIONS}
MEMBERS = {
    "riverside": {
        "tom@riverside.test": "Tom Okafor",
        "hannah@riverside.test": "Hannah Bright",
        "margaret@riverside.test": "Margaret Hale",
    },
    "foodbank": {
        "amara@foodbank.test": "Amara Nwosu",
        "jo@foodbank.test": "Jo Lindqvist",
        "leo@foodbank.test": "Leo Castell",
    },
    "meridian": {"ingrid@meridian.test": "Ingrid Solberg", "yusuf@meridian.test": "Yusuf Demir"},
}
PEOPLE = (OPERATOR, *(email for slug in ORGANISATIONS for email in (OWNERS[slug], *MEMBERS[slug])))
# What they may do, by role; front-desk is one that the organisations have made for themselves.
ROLES = {
    "tom@riverside.test": "admin",
    "hannah@riverside.test": "agent",
    "margaret@riverside.test": "editor",
    "amara@foodbank.test": "agent",
    "jo@foodbank.test": "front-desk",
    "leo@foodbank.test": "member",
    "ingrid@meridian.test": "agent",
    "yusuf@meridian.test": "admin",
}
FRONT_DESK = ("people.see", "content.edit", "inbox.answer", "chat.talk")
EDITION = 3  # of what is made: homes that were made before get what has come since


@click.command("demo")
def cli() -> None:
    """Make the demo organisations that are missing, and print where they are and who may sign in."""
    config = Config.load(os.environ)
    config.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    logins = _logins(config.instance / "demo-logins.txt")
    made = _Made(config.instance / "demo-made.json")
    missing = [slug for slug in ORGANISATIONS if not made.has(slug)]
    if missing:
        _make(config, missing, logins, made)
    click.echo(_welcome(config, logins))


class _Made:
    """The organisations that are complete, kept in a file so that a cut start is taken up where it stopped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.names: list[str] = json.loads(file.read_text()) if file.exists() else []

    def has(self, slug: str) -> bool:
        return f"{slug} {EDITION}" in self.names

    def note(self, slug: str) -> None:
        self.names.append(f"{slug} {EDITION}")
        self.file.write_text(json.dumps(self.names))


def _make(config: Config, missing: list[str], logins: dict[str, str], made: _Made) -> None:
    from app import create_app

    # Valkey is not there yet, and need not be: what is to be done waits in the organisations' own files.
    with create_app(replace(config, log_level="error")).app_context():
        _add_operator(logins[OPERATOR])
        for slug in missing:
            click.echo(f"· Making {ORGANISATIONS[slug]}")
            _make_one(slug, logins)
            made.note(slug)


def _make_one(slug: str, logins: dict[str, str]) -> None:
    """Make one organisation with its people, its site, its inbox and its chat; completes one that was cut short."""
    from app.chat.demo import fill as fill_chat
    from app.content.demo import fill as fill_site
    from app.inbox.demo import fill as fill_inbox
    from app.tenancy import tenancy

    tenant = tenancy.registry.by_slug(slug)
    if tenant is None or tenant.state == "provisioning":
        tenancy.lifecycle.create(slug, ORGANISATIONS[slug])
    elif tenant.schema != tenancy.schema.head:
        tenancy.schema.upgrade(tenant)
    _add_people(slug, logins)
    for fill in (fill_site, fill_inbox, fill_chat):
        fill(slug)


def _add_people(slug: str, logins: dict[str, str]) -> None:
    from app.accounts.models import Role, User
    from app.accounts.passwords import hash_password
    from app.tenancy import db, tenancy, tenant_context

    names = {OWNERS[slug]: "Robin Owner", **MEMBERS[slug]}
    hashed = {email: hash_password(logins[email]) for email in names}
    tenant = tenancy.registry.by_slug(slug)
    assert tenant is not None
    with tenant_context(tenant):
        for email, name in names.items():
            user = User.by_email(email) or User.join(email, name, hashed=hashed[email])
            user.role = ROLES.get(email, "owner")
            db.session.flush()
            if user.is_owner and "front-desk" not in {role.key for role in Role.every()}:
                Role.make("Front desk", FRONT_DESK, by=user)
        db.session.commit()


def _add_operator(password: str) -> None:
    from app.accounts.passwords import hash_password
    from app.console import operators
    from app.tenancy import db, platform_context

    hashed = hash_password(password)
    with platform_context():
        if operators.by_email(OPERATOR) is None:
            operators.create(OPERATOR, hashed, "Platform operator")
            db.session.commit()


def _logins(file: Path) -> dict[str, str]:
    """Return the passwords by address. They are written before they are used, so that a cut start loses none."""
    known = dict(line.split() for line in file.read_text().splitlines() if line.strip()) if file.exists() else {}
    new = {email: secrets.token_urlsafe(12) for email in PEOPLE if email not in known}
    if new:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as writer:
            writer.writelines(f"{email} {password}\n" for email, password in new.items())
    return known | new


def _welcome(config: Config, logins: dict[str, str]) -> str:
    rows = [(f"{slug}.{config.base_domain}", (OWNERS[slug], *MEMBERS[slug])) for slug in ORGANISATIONS]
    rows.append((config.platform_host, (OPERATOR,)))
    lines = [line for host, people in rows for line in _rows(f"{config.address(host)}/", people, logins)]
    letters = f"No mail leaves this machine: letters are written to {config.instance / 'outbox'}."
    lead = "Sign in at /sign-in; the last one is the console, which has an authenticator app set up first:"
    kept = f"These log-ins stand in {config.instance / 'demo-logins.txt'}."
    return "\n".join(["", lead, *lines, "", kept, letters, ""])


def _rows(address: str, people: tuple[str, ...], logins: dict[str, str]) -> list[str]:
    """Return a line for each person, the address of their house before the first."""
    places = (address, *[""] * (len(people) - 1))
    return [
        f"  {place}".ljust(40) + f"{email:<26} {logins[email]}" for place, email in zip(places, people, strict=True)
    ]
