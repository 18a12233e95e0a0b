"""Commands on tenants and their schema."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlsplit

import click
from flask.cli import with_appcontext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import func, select

from app.config import Config
from app.tenancy import ResolvedTenant, Tenancy, tenancy, tenant_context
from app.tenancy import names as valid
from app.tenancy.binding import db
from app.tenancy.errors import DatabaseUnreadable, Refused
from app.tenancy.ledger import MigrationRun
from app.tenancy.lifecycle import counts, owner_makers, shown
from app.tenancy.registry import STATES, Tenant

SOME_FAILED = 1

_core: Tenancy  # of a worker process of `freehold migrate`

as_json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


def known(slug: str) -> ResolvedTenant:
    """Return the tenant with this slug; raises `Refused` for an unknown one."""
    tenant = tenancy.registry.by_slug(slug)
    if tenant is None:
        raise Refused(f"There is no tenant {slug!r}. `freehold tenants list` shows those there are.")
    return tenant


@click.group()
def tenants() -> None:
    """The organisations on this machine."""


@tenants.command("create")
@click.argument("slug")
@click.option("--name", required=True, help="What the organisation calls itself.")
@click.option("--domain", "domains", multiple=True, help="A host it also answers to; the first one is primary.")
@click.option("--tier", default="", help="standard, premium or enterprise.")
@click.option("--owner", default="", help="E-mail address of the first owner; prints a one-time set-up link.")
@click.option("--owner-password-stdin", is_flag=True, help="Take the owner's password from standard input instead.")
@as_json_option
@with_appcontext
def create(
    slug: str,
    name: str,
    domains: tuple[str, ...],
    tier: str,
    owner: str,
    owner_password_stdin: bool,
    as_json: bool,
) -> None:
    """Make a tenant, all or nothing."""
    password = sys.stdin.readline().rstrip("\n") if owner_password_stdin else None
    links: list[str] = []

    def furnish() -> None:
        for make in owner_makers if owner else ():
            token = make(owner, "", password)
            if token:
                links.append(token)

    tenant = tenancy.lifecycle.create(slug, name, domains=domains, tier=tier, furnish=furnish)
    home = tenancy.config.address(tenant.primary_host)
    link = f"{home}/set-up/{links[0]}" if links else ""
    if as_json:
        click.echo(json.dumps({**_facts(tenant), "set_up_link": link}, default=str))
        return
    click.echo(f"{tenant.name} answers at {home}")
    if link:
        click.echo(f"Set-up link for {owner}, good once: {link}")


@tenants.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@as_json_option
@with_appcontext
def list_tenants(state: str | None, as_json: bool) -> None:
    """List the tenants."""
    found = tenancy.registry.tenants(*([state] if state else ()))
    if as_json:
        click.echo(json.dumps([_facts(tenant) for tenant in found], default=str))
        return
    for tenant in found:
        click.echo(f"{tenant.slug:<24} {tenant.state:<12} {tenant.tier:<11} {tenant.primary_host:<40} {tenant.name}")


@tenants.command("show")
@click.argument("slug")
@as_json_option
@with_appcontext
def show(slug: str, as_json: bool) -> None:
    """Show one tenant: state, plan, domains, placement, schema and counts."""
    tenant = known(slug)
    facts = {**_facts(tenant), "domains": list(tenant.hosts), "counts": _counts(tenant)}
    facts |= {name: _from_file(tenant, find) for name, find in shown.items()}
    if as_json:
        click.echo(json.dumps(facts, default=str))
        return
    for name, value in facts.items():
        if name != "hosts":
            click.echo(f"{name:<14} {_plain(name, value)}")


@tenants.command("explain")
@click.argument("host")
@as_json_option
@with_appcontext
def explain(host: str, as_json: bool) -> None:
    """Trace what a request for HOST would meet, step by step; a short name stands for its tenant's primary domain."""
    tenant = tenancy.registry.by_slug(host)
    host = tenant.primary_host if tenant else urlsplit(host).netloc or host
    steps = list(_explained(host))
    if as_json:
        click.echo(json.dumps([{"step": step, "finding": finding} for step, finding in steps]))
        return
    for step, finding in steps:
        click.echo(f"{step:<10} {finding}")


@tenants.command("suspend")
@click.argument("slug")
@click.option("--reason", required=True, help="Shown to the operator and the owner.")
@with_appcontext
def suspend(slug: str, reason: str) -> None:
    """Stop serving a tenant; its data stays."""
    tenancy.lifecycle.suspend(slug, reason)


@tenants.command("resume")
@click.argument("slug")
@with_appcontext
def resume(slug: str) -> None:
    """Serve a suspended or archived tenant again."""
    tenancy.lifecycle.resume(slug)


@tenants.command("archive")
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def archive(slug: str, yes: bool) -> None:
    """Close a tenant's pages for good (410); its data stays."""
    if not yes and not (sys.stdin.isatty() and click.confirm(f"Close {slug} for its visitors and members?")):
        raise Refused("Nothing was changed. Confirm, or give --yes.")
    tenancy.lifecycle.archive(slug)


@click.command()
@click.option("--tenant", "slug", default="", help="Only this one.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--workers", default=2, show_default=True, help="Processes at work side by side.")
@click.option("--status", is_flag=True, help="Say how many tenants are at the code's schema.")
@as_json_option
@with_appcontext
def migrate(slug: str, dry_run: bool, workers: int, status: bool, as_json: bool) -> None:
    """Bring the tenants' files to the code's schema. One that fails is parked; the others go on."""
    if status:
        _say_status(as_json)
        return
    behind = [
        tenant
        for tenant in ([known(slug)] if slug else tenancy.registry.tenants())
        if tenant.schema != tenancy.schema.head
    ]
    if dry_run:
        click.echo(json.dumps([tenant.slug for tenant in behind]) if as_json else f"{len(behind)} to upgrade.")
        return
    parked = _upgrade_all(behind, workers)
    if as_json:
        click.echo(json.dumps({"upgraded": len(behind) - len(parked), "parked": parked}))
    else:
        click.echo(f"{len(behind) - len(parked)} upgraded, {len(parked)} parked.")
    if parked:
        click.echo(f"Parked: {', '.join(parked)}", err=True)
        raise SystemExit(SOME_FAILED)


def _upgrade_all(behind: list[ResolvedTenant], workers: int) -> list[str]:
    """Upgrade in processes of their own, since alembic keeps global state; returns the slugs that were parked."""
    if len(behind) <= 1:
        return [tenant.slug for tenant in behind if not tenancy.schema.upgrade(tenant)]
    config = tenancy.config
    tenancy.close()
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, _begin_worker, (config,)) as pool:
        results = pool.imap_unordered(_upgrade_one, [tenant.slug for tenant in behind])
        return [slug for slug, worked in track(results, len(behind), "Upgrading") if not worked]


def _begin_worker(config: Config) -> None:
    global _core
    _core = Tenancy(config)


def _upgrade_one(slug: str) -> tuple[str, bool]:
    tenant = _core.registry.by_slug(slug)
    return slug, tenant is not None and _core.schema.upgrade(tenant)


def track(items: Any, total: int, label: str) -> Iterator[Any]:
    """Yield `items` and say on standard error how many are done, how many a second and how many seconds are left.

    A terminal shows a bar; elsewhere each hundredth is a line of JSON.
    """
    if not sys.stderr.isatty():
        began = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            if done == total or done % max(total // 100, 1) == 0:
                click.echo(json.dumps(_progress(label, done, total, time.monotonic() - began)), err=True)
        return
    speed = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, rate="")
        for item in items:
            yield item
            bar.advance(task)
            bar.update(task, rate=f"{bar.tasks[task].speed or 0:.1f}/s")


def _progress(label: str, done: int, total: int, seconds: float) -> dict[str, str | int | float]:
    rate = done / max(seconds, 1e-9)
    left = round((total - done) / rate, 1)
    return {"task": label, "done": done, "total": total, "per_second": round(rate, 1), "seconds_left": left}


def _say_status(as_json: bool) -> None:
    counts = dict(db.session.execute(select(Tenant.schema, func.count()).group_by(Tenant.schema)).tuples().all())
    parked = db.session.scalars(select(MigrationRun).where(MigrationRun.state == "parked")).all()
    slugs = dict(
        db.session.execute(select(Tenant.id, Tenant.slug).where(Tenant.id.in_([run.tenant_id for run in parked])))
        .tuples()
        .all()
    )
    failed = [{"tenant": slugs.get(run.tenant_id, run.tenant_id), "error": run.error} for run in parked]
    current = counts.pop(tenancy.schema.head, 0)
    report = {"head": tenancy.schema.head, "current": current, "behind": sum(counts.values()), "parked": failed}
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"{current} at the code's schema, {report['behind']} behind, {len(failed)} parked.")
    for row in failed:
        click.echo(f"  {row['tenant']}: {row['error']}")


def _plain(name: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_plain(kind, count)} {kind}" for kind, count in value.items())
    if name in ("bytes", "max_bytes") and isinstance(value, int):
        return f"{value / (1 << 20):,.1f} Mi"
    if value is None:
        return "no limit"
    return ", ".join(value) if isinstance(value, (list, tuple)) else str(value)


def _facts(tenant: ResolvedTenant) -> dict[str, Any]:
    facts = asdict(replace(tenant, caps={}, grants=()))
    del facts["caps"], facts["grants"]
    return {**facts, "max_users": tenant.max_users, "max_bytes": tenant.max_bytes}


def _counts(tenant: ResolvedTenant) -> Any:
    return _from_file(tenant, lambda: {name: count() for name, count in counts.items()})


def _from_file(tenant: ResolvedTenant, find: Callable[[], Any]) -> Any:
    if tenant.state in ("archived", "deleted", "provisioning"):
        return {}
    try:
        with tenant_context(tenant, writes=False):
            return find()
    except DatabaseUnreadable as error:
        return f"unreadable: {error}"


def _explained(host: str) -> Iterator[tuple[str, str]]:
    name = valid.request_host(host)
    yield "host", name or "not a host that can be asked for"
    if name == tenancy.config.platform_host:
        yield "answer", "the console"
        return
    tenant = tenancy.registry.resolve(name) if name else None
    if tenant is None:
        yield "answer", "404, the same for every unknown name"
        return
    yield "tenant", f"{tenant.slug} ({tenant.id})"
    yield "state", tenant.state + (f": {tenant.reason}" if tenant.reason else "")
    yield (
        "placement",
        f"{tenant.placement}, generation {tenant.generation}, {tenancy.placements.file(tenant.id)}",
    )
    yield (
        "schema",
        "current"
        if tenant.schema == tenancy.schema.head
        else f"behind: {tenant.schema} instead of {tenancy.schema.head}",
    )
    yield "pool", tenancy.pool.status()
    try:
        with tenant_context(tenant, writes=False):
            tenancy.placements.open_file(tenant.id).close()
        yield "file", "opens, and carries this tenant's stamp"
    except DatabaseUnreadable as error:
        yield "file", str(error)
