"""Commands on backups. What waits for its turn in the archivist is done here at once, with the same locks."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from flask.cli import ScriptInfo, with_appcontext
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from app.backups import drills, orders, rebuild, repair, restore
from app.backups.capture import AGAIN, Copied, InUse
from app.backups.keeper import CENTRAL, Keeper
from app.backups.restore import parse_time, restore_as, restore_replacing
from app.backups.shelf import Moment
from app.config import Config
from app.tenancy import recovery_kit, tenancy
from app.tenancy.cli import SOME_FAILED, as_json_option, known, track
from app.tenancy.errors import FreeholdError, Refused

TRIES = 20


@click.group("backups")
def cli() -> None:
    """Copies of every organisation, and the way back from them."""


@cli.command()
@click.argument("slug", required=False)
@as_json_option
@with_appcontext
def run(slug: str | None, as_json: bool) -> None:
    """Copy what has changed: of one organisation, or of all and of the central files."""
    owners = {known(slug).id: slug} if slug else _all_owners()
    failed: dict[str, str] = {}
    pages = 0
    with _keeper() as keeper:
        copies = ((owner, _copied(keeper, owner)) for owner in owners)
        for owner, copied in track(copies, len(owners), "Copying"):
            if isinstance(copied, str):
                failed[owners[owner]] = copied
            else:
                pages += copied.pages
    facts = {"copied": len(owners) - len(failed), "bytes": pages * 4096, "failed": failed}
    click.echo(json.dumps(facts) if as_json else f"{facts['copied']} copied, {pages * 4096:,} bytes.")
    _tell_failed(failed)


@cli.command("list")
@click.argument("slug")
@as_json_option
@with_appcontext
def list_moments(slug: str, as_json: bool) -> None:
    """List the moments an organisation can be brought back to, newest first, UTC. A central file's name will do too."""
    owner = slug if slug in CENTRAL else known(slug).id
    with _keeper() as keeper:
        moments = keeper.shelf(owner).moments()
    if as_json:
        click.echo(json.dumps([asdict(moment) for moment in moments], default=datetime.isoformat))
        return
    for moment in moments:
        told = "" if moment.is_whole else "  incomplete: a copy on the way to it is lost"
        click.echo(f"{moment.at:%Y-%m-%d %H:%M:%S.%f}  {moment.bytes:>14,} bytes{told}")
    click.echo(f"{len(moments)} moments.", err=True)


@cli.command("restore")
@click.argument("slug")
@click.option("--at", "at", required=True, help="2026-11-22T14:05 (UTC unless it says otherwise), or latest.")
@click.option("--as", "new", default="", help="Short name of a new organisation to make of it.")
@click.option("--replace", is_flag=True, help="Put it in the place of the organisation as it is now.")
@click.option("--name", default="", help="With --as: its name on the console; its site keeps the one it had.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say which moment it would be.")
@as_json_option
@with_appcontext
def restore_command(
    slug: str, at: str, new: str, replace: bool, name: str, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Bring an organisation back as it was: the newest moment not after TIME."""
    if bool(new) == replace and not (dry_run and not new):
        raise Refused("Say either --as NEW, which leaves the organisation alone, or --replace.")
    tenant = known(slug)
    with _keeper() as keeper:
        shelf = keeper.shelf(tenant.id)
        moment = shelf.newest() if at == "latest" else shelf.at(parse_time(at))
        if dry_run:
            _say_moment(moment, as_json)
            return
        if replace and not yes and not (sys.stdin.isatty() and click.confirm(_question(slug, moment))):
            raise Refused("Nothing was changed. Confirm, or give --yes.")
        began = time.monotonic()
        with _bar() as progress:
            if new:
                restore_as(tenancy, tenant.id, moment, new, name or tenant.name, tier=tenant.tier, progress=progress)
                kept = None
            else:
                kept = restore_replacing(tenancy, keeper, tenant, moment, progress)
    seconds = round(time.monotonic() - began, 2)
    facts = {"moment": moment.at.isoformat(), "before": kept.at.isoformat() if kept else None, "seconds": seconds}
    if as_json:
        click.echo(json.dumps({"tenant": new or slug, **facts}))
        return
    click.echo(f"{new or slug} stands as of {moment.at:%Y-%m-%d %H:%M:%S} UTC; that took {seconds} s.")
    if kept:
        click.echo(f"To undo: freehold backups restore {slug} --at {kept.at.isoformat()} --replace")


@cli.command()
@click.argument("slug", required=False)
@click.option("--oldest", type=click.IntRange(1), help="As many, those whose proof is the oldest.")
@as_json_option
@with_appcontext
def drill(slug: str | None, oldest: int | None, as_json: bool) -> None:
    """Prove that restores work: of one organisation, of all, or of those whose proof is the oldest."""
    names = _all_owners()
    owners = [known(slug).id] if slug else list(drills.oldest(tenancy, oldest)) if oldest else list(names)
    if oldest:
        drills.be_last()
    failed: dict[str, str] = {}
    proofs: list[dict[str, Any]] = []
    with _keeper() as keeper:
        for owner, error, seconds in track(_drilled(keeper, owners), len(owners), "Proving"):
            proofs.append({"tenant": names.get(owner, owner), "error": error, "seconds": seconds})
            if error:
                failed[names.get(owner, owner)] = error
    if as_json:
        click.echo(json.dumps(proofs))
    else:
        click.echo(f"{len(proofs) - len(failed)} proven, {len(failed)} failed.")
    _tell_failed(failed)


@cli.command("repair")
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@with_appcontext
def repair_command(slug: str, yes: bool, as_json: bool) -> None:
    """Put back the pages that a disk has spoilt, exactly as they were, from the copies."""
    tenant = known(slug)
    if not yes and not (sys.stdin.isatty() and click.confirm(f"Close {slug} for a moment and look at every page?")):
        raise Refused("Nothing was changed. Confirm, or give --yes.")
    with _keeper() as keeper, _bar() as progress:
        done = repair.repair(tenancy, keeper, tenant, progress)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif not done.spoilt:
        click.echo("Every page is sound.")
    elif not done.lost:
        click.echo(f"{len(done.spoilt)} spoilt pages were put back as they were.")
    if done.lost:
        message = (
            f"{len(done.lost)} of {len(done.spoilt)} spoilt pages are in no copy as they were, so nothing was changed."
        )
        click.echo(f"{message} Bring a moment back: freehold backups restore {slug} --at latest --replace", err=True)
        raise SystemExit(SOME_FAILED)


@cli.command("rebuild")
@click.argument(
    "source", metavar="FROM", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
)
@click.option("--kit", type=click.Path(path_type=Path), help="The recovery kit; its passphrase is asked for.")
@click.option("--passphrase-stdin", is_flag=True, help="Read the passphrase from standard input.")
@click.option(
    "--master-key-file", "key_file", type=click.Path(path_type=Path), help="The master key, instead of a kit."
)
@click.option("--dry-run", is_flag=True, help="Look through the copies and say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@click.pass_context
def rebuild_command(
    ctx: click.Context,
    source: Path,
    kit: Path | None,
    passphrase_stdin: bool,
    key_file: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring a whole installation back on a bare machine, from FROM, a copied folder of backups.

    FROM is only read. Cut short, the same command goes on where it stopped.
    """
    config = Config.load(os.environ)
    master = _kit_key(kit, passphrase_stdin) if kit else rebuild.read_key(key_file) if key_file else None
    with rebuild.opened(config, source, master) as work:
        plan = work.plan(track)
        for line in () if as_json and dry_run else plan.lines():
            click.echo(line, err=as_json)
        if dry_run:
            if as_json:
                click.echo(json.dumps(plan.facts()))
            return
        if not yes and not (
            sys.stdin.isatty() and click.confirm(f"Bring all that back in {config.home}?", err=as_json)
        ):
            raise Refused("Nothing was changed. Confirm, or give --yes.")
        outcome = work.carry_out(plan, ctx.ensure_object(ScriptInfo).load_app, track)
    _say_rebuilt(plan, outcome, config, as_json, in_place=work.is_in_place)


@cli.command("carry-out", hidden=True)
@click.argument("number", type=int)
@with_appcontext
def carry_out(number: int) -> None:
    """Carry out an order of a page; the archivist calls this."""
    orders.carry_out(tenancy, number)


def _kit_key(kit: Path, passphrase_stdin: bool) -> bytes:
    if passphrase_stdin:
        return recovery_kit.open(kit, sys.stdin.readline().rstrip("\r\n"))
    if not sys.stdin.isatty():
        raise Refused("The kit has a passphrase. Run this in a terminal, or give --passphrase-stdin.")
    return recovery_kit.open(kit, click.prompt("Passphrase of the recovery kit", hide_input=True, err=True))


def _say_rebuilt(
    plan: rebuild.Plan, outcome: rebuild.Outcome, config: Config, as_json: bool, *, in_place: bool
) -> None:
    if as_json:
        click.echo(json.dumps({"plan": plan.facts(), **asdict(outcome), "backups": str(config.backups)}))
    else:
        click.echo(f"{outcome.back} organisations are back; that took {outcome.seconds} s.")
        if not in_place:
            click.echo(
                f"Copies begin anew in {config.backups}. To keep the earlier moments within reach, set "
                f"FREEHOLD_BACKUPS={plan.source} before you start Freehold."
            )
    for slug, why in outcome.older.items():
        click.echo(f"{slug}: {why}", err=True)
    if outcome.failed:
        click.echo(f"{len(outcome.failed)} could not be brought back; their pages answer 503:", err=True)
    _tell_failed({**outcome.files_lost, **outcome.failed})


@contextmanager
def _keeper() -> Iterator[Keeper]:
    keeper = Keeper(tenancy)
    keeper.prepare()
    with closing(keeper.raw_side):
        yield keeper


def _all_owners() -> dict[str, str]:
    """Return every owner, {owner: name}, previews aside."""
    tenants = tenancy.registry.tenants("active", "suspended", "archived")
    return {**{name: name for name in CENTRAL}, **{each.id: each.slug for each in tenants if not each.preview_of}}


def _copied(keeper: Keeper, owner: str) -> Copied | str:
    for last in (*[False] * TRIES, True):
        try:
            return keeper.copy(owner)
        except InUse as error:
            if last:
                return str(error)
            time.sleep(AGAIN)
        except FreeholdError as error:
            return str(error)
    raise AssertionError("unreachable")


def _drilled(keeper: Keeper, owners: list[str]) -> Iterator[tuple[str, str, float]]:
    for owner in owners:
        try:
            proof = drills.drill(tenancy, keeper, owner)
        except FreeholdError as error:
            yield owner, str(error), 0.0
        else:
            yield owner, proof.error, proof.seconds


def _say_moment(moment: Moment, as_json: bool) -> None:
    facts = {"moment": moment.at.isoformat(), "seq": moment.seq}
    click.echo(json.dumps(facts) if as_json else f"It would be {moment.at:%Y-%m-%d %H:%M:%S.%f} UTC.")


def _question(slug: str, moment: Moment) -> str:
    return f"Put {slug} back to {moment.at:%Y-%m-%d %H:%M:%S} UTC? Today's state is kept as a moment first."


def _tell_failed(failed: dict[str, str]) -> None:
    for name, why in failed.items():
        click.echo(f"{name}: {why}", err=True)
    if failed:
        raise SystemExit(SOME_FAILED)


@contextmanager
def _bar() -> Iterator[restore.Progress]:
    """Say on standard error how far it is: a bar on a terminal, else a line of JSON for each step."""
    if not sys.stderr.isatty():
        yield _say_step
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield tell


def _say_step(step: str, done: int, total: int) -> None:
    if done == total:
        click.echo(json.dumps({"task": step, "done": done, "total": total}), err=True)
