"""What must work for the platform to be ready. A check returns None when it does, else one sentence with what to do."""

from __future__ import annotations

import hmac
import shutil
from collections.abc import Callable

import redis
from flask import current_app
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from app.config import Config
from app.facilities import audit, queue
from app.ops import activity
from app.tenancy import db, tenancy
from app.tenancy.ledger import AuditRow
from app.tenancy.registry import Tenant

DISK_SHARE, DISK_BYTES = 0.05, 1 << 30  # the floor is the smaller of the two
LONGEST_SILENCE = 60.0  # seconds without a sign of life of any worker
LONGEST_WAIT = 300.0  # seconds that a job may wait


def trouble() -> dict[str, str]:
    """Return what is not fine, by the name of the check; empty when the platform is ready."""
    found = {name: check() for name, check in CHECKS.items()}
    return {name: reason for name, reason in found.items() if reason}


def is_token(given: str) -> bool:
    """Return whether `given` is the token that opens the detail to other machines."""
    return hmac.compare_digest(given.encode(), token().encode())


def token() -> str:
    """Return the token that opens the detail to other machines; it follows from the master key."""
    return tenancy.keys.subkey("health").hex()


def _registry() -> str | None:
    try:
        tenancy.registry.resolve("")
    except Exception as error:  # whatever it is, it is the answer
        return f"The registry cannot be read: {error}."
    return None


def _ledger() -> str | None:
    try:
        db.session.execute(select(AuditRow.id).limit(1)).all()
    except SQLAlchemyError as error:
        return f"The ledger cannot be read: {error.__cause__ or error}."
    return None


def _disk() -> str | None:
    config: Config = current_app.config["FREEHOLD"]
    total, _, free = shutil.disk_usage(config.home)
    if free < min(total * DISK_SHARE, DISK_BYTES):
        return f"Only {free >> 20} MiB are free on the disk of {config.home}. Make room before writing stops."
    return None


def _valkey() -> str | None:
    try:
        queue.connection().ping()
    except redis.RedisError as error:
        why = str(error).rstrip(".")
        return f"Valkey does not answer: {why}. Start it with `freehold serve` or `freehold run valkey`; jobs wait until then."
    return None


def _worker() -> str | None:
    try:
        silence, wait = queue.youngest_heartbeat(queue.connection()), queue.lag(queue.connection())
    except redis.RedisError:
        return None  # the line about Valkey says it
    if silence is None or silence > LONGEST_SILENCE:
        return "No worker gives a sign of life, so jobs wait. Start one with `freehold run worker`."
    if wait > LONGEST_WAIT:
        return f"The oldest job has waited in the queue for {wait:.0f} s. More workers (FREEHOLD_WORKERS) would help."
    return None


def _archivist() -> str | None:
    silence = activity.silence_of("archivist")
    if silence is None or silence > LONGEST_SILENCE:
        return (
            "The archivist gives no sign of life, so lost jobs are not found. Start it with `freehold run archivist`."
        )
    return None


def _copies() -> str | None:
    silence = activity.silence_of("copies")
    if silence is None or silence > LONGEST_SILENCE:
        return "No copies are being made. Start the archivist with `freehold run archivist`."
    try:
        late, why = activity.late_copies()
    except SQLAlchemyError:
        return None  # the line about the ledger says it
    return f"The copies of {late} tenants are late. {why}".strip() if late else None


def _jobs() -> str | None:
    try:
        waiting, oldest = activity.oldest_wait()
    except SQLAlchemyError:
        return None  # the line about the ledger says it
    if oldest > LONGEST_WAIT:
        return f"{waiting} jobs wait, the oldest for {oldest:.0f} s. The console's page Activity says whose."
    return None


def _live() -> str | None:
    if not activity.live_answers() or not activity.live_report():
        return "Open pages hear no news: the process live gives no report. Start it with `freehold run live`."
    return None


def _audit() -> str | None:
    try:
        wrong = len(audit.broken())
    except SQLAlchemyError:
        return None  # the line about the ledger says it
    return (
        f"The audits of {wrong} tenants are not as they were written. Run `freehold audit verify`." if wrong else None
    )


def _migrations() -> str | None:
    behind = db.session.scalar(
        select(func.count()).select_from(Tenant).where(Tenant.schema != tenancy.schema.head, Tenant.state == "active")
    )
    return f"{behind} of the active tenants have an older schema. Run `freehold migrate`." if behind else None


CHECKS: dict[str, Callable[[], str | None]] = {
    "registry": _registry,
    "ledger": _ledger,
    "disk": _disk,
    "valkey": _valkey,
    "worker": _worker,
    "archivist": _archivist,
    "copies": _copies,
    "jobs": _jobs,
    "live": _live,
    "audit": _audit,
    "migrations": _migrations,
}
