"""What is going on: work that waits, work that failed, open pages. Read from the ledger and from what processes report.

No tenant's file is opened. Reports of processes are files in the run folder, so they are there when Valkey is not.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import redis
from flask import current_app
from sqlalchemy import func, or_, select

from app.facilities import queue
from app.tenancy import db, utcnow
from app.tenancy.ledger import TenantBackup, TenantDue
from app.tenancy.registry import Tenant

FRESH = 10.0  # seconds; an older report is that of a process which is gone
MOST_LISTED = 100


@dataclass(frozen=True)
class TenantActivity:
    """One tenant's part: jobs waiting, seconds that the oldest has waited, jobs set aside, open streams."""

    slug: str
    name: str
    waiting: int
    oldest: float
    set_aside: int
    streams: int


@dataclass(frozen=True)
class Activity:
    """The sum of it. Seconds and milliseconds are named so; None is not known."""

    waiting: int
    oldest: float
    set_aside: int
    queued: int | None
    streams: int | None
    live: dict[str, Any] = field(default_factory=dict)
    tenants: list[TenantActivity] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return the sums alone, which name no tenant."""
        sums = asdict(self)
        del sums["tenants"]
        sums["live"].pop("by_tenant", None)
        return sums


def current_activity() -> Activity:
    """Return what is going on now."""
    waiting, oldest, aside = db.session.execute(
        select(func.sum(TenantDue.waiting), func.min(TenantDue.oldest_at), func.sum(TenantDue.set_aside))
    ).one()
    report = live_report()
    return Activity(
        waiting=waiting or 0,
        oldest=_seconds_since(oldest),
        set_aside=aside or 0,
        queued=_queued(),
        streams=report.get("streams"),
        live=report,
        tenants=_by_tenant(report.get("by_tenant", {})),
    )


def live_report() -> dict[str, Any]:
    """Return the last report of the process `live`, {} when there is no fresh one."""
    try:
        report: dict[str, Any] = json.loads((current_app.config["FREEHOLD"].run / "live.json").read_text())
    except (OSError, ValueError):
        return {}
    return report if time.time() - report["at"] < FRESH else {}


def live_answers() -> bool:
    """Tell whether the process `live` accepts connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(current_app.config["FREEHOLD"].run / "live.sock"))
        except OSError:
            return False
    return True


def silence_of(duty: str) -> float | None:
    """Return the seconds since the archivist last went about its sweeps ("archivist") or its copies; None when it never did."""
    try:
        return time.time() - (current_app.config["FREEHOLD"].run / f"{duty}.beat").stat().st_mtime
    except OSError:
        return None


def oldest_wait() -> tuple[int, float]:
    """Return how many jobs wait whose time has come, and how many seconds the oldest has."""
    waiting, oldest = db.session.execute(select(func.sum(TenantDue.waiting), func.min(TenantDue.oldest_at))).one()
    return waiting or 0, _seconds_since(oldest)


def late_copies() -> tuple[int, str]:
    """Return how many tenants' copies are late, and why the one is that has waited longest."""
    late = TenantBackup.late_since.is_not(None)
    count = db.session.scalar(select(func.count()).select_from(TenantBackup).where(late)) or 0
    why = select(TenantBackup.error).where(late).order_by(TenantBackup.late_since).limit(1)
    return count, (db.session.scalar(why) or "") if count else ""


def _by_tenant(streams: dict[str, int]) -> list[TenantActivity]:
    busiest = sorted(streams, key=streams.__getitem__, reverse=True)[:MOST_LISTED]
    wanted = or_(TenantDue.waiting > 0, TenantDue.set_aside > 0, TenantDue.tenant_id.in_(busiest))
    rows = {row.tenant_id: row for row in db.session.scalars(select(TenantDue).where(wanted).limit(2 * MOST_LISTED))}
    named = db.session.execute(select(Tenant.id, Tenant.slug, Tenant.name).where(Tenant.id.in_({*rows, *busiest})))
    found = [_of(rows.get(number), slug, name, streams.get(number, 0)) for number, slug, name in named]
    return sorted(found, key=lambda one: (-one.set_aside, -one.oldest, -one.streams, one.slug))[:MOST_LISTED]


def _of(row: TenantDue | None, slug: str, name: str, streams: int) -> TenantActivity:
    if row is None:
        return TenantActivity(slug, name, 0, 0.0, 0, streams)
    return TenantActivity(slug, name, row.waiting, _seconds_since(row.oldest_at), row.set_aside, streams)


def _queued() -> int | None:
    try:
        return queue.length(queue.connection())
    except redis.RedisError:
        return None


def _seconds_since(moment: Any) -> float:
    return max((utcnow() - moment).total_seconds(), 0.0) if moment else 0.0
