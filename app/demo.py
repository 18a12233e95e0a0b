"""Three organisations to look around in, made once and kept.

What makes them is imported only when one is missing: a second `make demo` is to be there at once.
"""

from __future__ import annotations

import json
import os
import secrets
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


@click.command("demo")
def cli() -> None:
    """Make the demo organisations that are missing, and print where they are and who may sign in."""
    config = Config.load(os.environ)
    config.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    logins = _logins(config.instance / "demo-logins.txt")
    made = _Made(config.instance / "demo-made.json")
    missing = [slug for slug in ORGANISATIONS if slug not in made.slugs]
    if missing:
        _make(config, missing, logins, made)
    click.echo(_welcome(config, logins))


class _Made:
    """The organisations that are complete, kept in a file so that a cut start is taken up where it stopped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.slugs: list[str] = json.loads(file.read_text()) if file.exists() else []

    def note(self, slug: str) -> None:
        self.slugs.append(slug)
        self.file.write_text(json.dumps(self.slugs))


def _make(config: Config, missing: list[str], logins: dict[str, str], made: _Made) -> None:
    from app import create_app

    with create_app(config).app_context():
        _add_operator(logins[OPERATOR])
        for slug in missing:
            click.echo(f"· Making {ORGANISATIONS[slug]}")
            _make_one(slug, logins[OWNERS[slug]])
            made.note(slug)


def _make_one(slug: str, password: str) -> None:
    """Make one organisation with its owner and content; completes one that was cut short."""
    from app.accounts.models import User
    from app.accounts.passwords import hash_password
    from app.content.demo import fill
    from app.tenancy import db, tenancy, tenant_context

    hashed = hash_password(password)
    tenant = tenancy.registry.by_slug(slug)
    if tenant is None or tenant.state == "provisioning":
        tenant = tenancy.lifecycle.create(slug, ORGANISATIONS[slug])
    with tenant_context(tenant):
        if User.by_email(OWNERS[slug]) is None:
            User.join(OWNERS[slug], "Robin Owner", role="owner", hashed=hashed)
        db.session.commit()
    fill(slug)


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
    if not file.exists():
        lines = [f"{email} {secrets.token_urlsafe(12)}\n" for email in (OPERATOR, *OWNERS.values())]
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as writer:
            writer.writelines(lines)
    return dict(line.split() for line in file.read_text().splitlines() if line.strip())


def _welcome(config: Config, logins: dict[str, str]) -> str:
    rows = [(f"{slug}.{config.base_domain}", OWNERS[slug]) for slug in ORGANISATIONS]
    rows.append((config.platform_host, OPERATOR))
    lines = [f"  {config.address(host)}/".ljust(40) + f"{email:<26} {logins[email]}" for host, email in rows]
    return "\n".join(["", "Sign in at /sign-in; the last one is the console:", *lines, ""])
