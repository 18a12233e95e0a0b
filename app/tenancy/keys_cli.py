"""`freehold keys`: new keys for old, and the kit that opens the backups when the machine is gone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from flask.cli import with_appcontext

from app.tenancy import recovery_kit, rotation, tenancy, utcnow
from app.tenancy.cli import as_json_option, known
from app.tenancy.errors import Refused


@click.group("keys")
def cli() -> None:
    """The keys under which everything lies on the disk."""


@cli.command("rotate")
@click.argument("slug")
@as_json_option
@with_appcontext
def rotate(slug: str, as_json: bool) -> None:
    """Give SLUG a new key: its file is written anew while its visitors wait; older backups keep opening."""
    rotated = rotation.rotate(tenancy, known(slug))
    if as_json:
        click.echo(json.dumps({"tenant": slug, "version": rotated.version, "seconds": rotated.seconds}))
        return
    click.echo(f"{slug} has version {rotated.version} of its key. It was closed for {rotated.seconds:.1f} s.")


@cli.command("rotate-master")
@click.option(
    "--write-new-key",
    "file",
    type=click.Path(path_type=Path),
    help="Write the new key there, for a credential of systemd. Stop Freehold first: nothing opens until it is in place.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def rotate_master(file: Path | None, yes: bool) -> None:
    """Wrap every key under a new master key while everything goes on."""
    if file and not yes and not (sys.stdin.isatty() and click.confirm("Is Freehold stopped on this machine?")):
        raise Refused("Nothing was changed. Stop Freehold and confirm, or give --yes.")
    rotation.rotate_master(tenancy, file)
    if file:
        click.echo(f"The new master key is in {file}. Put it in place of the old one before you start Freehold.")
    click.echo(
        "Everything is under a new master key. Make a new recovery kit now (`freehold keys recovery-kit FILE`): the kits you "
        "have open only what was backed up before."
    )


@cli.command("recovery-kit")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--passphrase-stdin", is_flag=True, help="Read the passphrase from standard input; without it one is made."
)
@with_appcontext
def make_recovery_kit(file: Path, passphrase_stdin: bool) -> None:
    """Write what opens the backups on another machine to FILE. Keep it elsewhere, and the passphrase elsewhere again."""
    if not passphrase_stdin and not sys.stdout.isatty():
        raise Refused(
            "The passphrase would end in a file or a log. Ask for the kit in a terminal, or give --passphrase-stdin."
        )
    passphrase = sys.stdin.readline().rstrip("\r\n") if passphrase_stdin else recovery_kit.generate_passphrase()
    keys, host = tenancy.keys, tenancy.config.platform_host
    recovery_kit.write(keys.master, file, passphrase, installation=host, made=utcnow())
    tenancy.ledger.record("recovery_kit_made")
    click.echo(f"The recovery kit of {host} is in {file}. Take it off this machine.")
    if not passphrase_stdin:
        click.echo(f"\nIts passphrase, shown this once:\n\n    {passphrase}\n")
