"""Commands on content."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.content.models import Import
from app.content.wordpress import Findings, bring_in
from app.content.wordpress.run import Progress as Report
from app.tenancy import db, tenancy, tenant_context
from app.tenancy.errors import Refused

SOME_FAILED = 1
SHOWN = 20  # lines of each list on a terminal; --json has them all


@click.group("content")
def cli() -> None:
    """What organisations publish."""


@cli.command("import-wordpress")
@click.argument("slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
@click.option("--fetch-images", is_flag=True, help="Fetch pictures and documents from where they are.")
@click.option("--dry-run", is_flag=True, help="Report what would come; change nothing.")
@with_appcontext
def import_wordpress(slug: str, file: Path, as_json: bool, fetch_images: bool, dry_run: bool) -> None:
    """Bring a WordPress export into the site of SLUG. Run again, nothing comes twice."""
    tenant = tenancy.registry.by_slug(slug)
    if tenant is None:
        raise Refused(f"There is no tenant {slug!r}. `freehold tenants list` shows those there are.")
    with tenant_context(tenant, origin="command", writes=True), _progress() as on_progress:
        run = None if dry_run else _new_run(file.name)
        findings = bring_in(lambda: file.open("rb"), run, fetch_images=fetch_images, on_progress=on_progress)
    _print(findings, as_json=as_json, dry_run=dry_run)
    if findings.problems:
        for problem in findings.problems:
            click.echo(problem, err=True)
        raise SystemExit(SOME_FAILED)


def _new_run(name: str) -> Import:
    run = Import(name=name)
    db.session.add(run)
    db.session.commit()
    return run


@contextmanager
def _progress() -> Iterator[Report]:
    """Yield what shows how far the work is: a bar on a terminal, JSON lines on standard error elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: click.echo(json.dumps({"done": done, "total": total}), err=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("entries", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(findings: Findings, *, as_json: bool, dry_run: bool) -> None:
    report = findings.as_dict()
    if as_json:
        click.echo(json.dumps({**report, "dry_run": dry_run}, ensure_ascii=False))
        return
    click.echo("What would come:" if dry_run else "What came:")
    for kind, count in report["came"].items():
        click.echo(f"  {count:>6} {kind}")
    if not dry_run:
        click.echo("  " + ", ".join(f"{count} {name}" for name, count in report["outcome"].items()))
    _print_list("What was changed on the way", report["changed"], report["changed_by_kind"])
    _print_list("What was left out, and why", report["left"], report["left_by_kind"])


def _print_list(heading: str, lines: list[dict[str, Any]], by_kind: dict[str, int]) -> None:
    if not lines:
        return
    click.echo(f"{heading} ({', '.join(f'{count} {kind}' for kind, count in by_kind.items())}):")
    for line in lines[:SHOWN]:
        times = f" (×{line['count']})" if line["count"] > 1 else ""
        click.echo(f"  {line['what']}: {line['title']}: {line['why']}{times}")
    if len(lines) > SHOWN:
        click.echo(f"  … and {len(lines) - SHOWN} more lines; --json shows them.")
