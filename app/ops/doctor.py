"""What an operator wants to know before bed: everything on this machine that is not as it should be, and what to do.

A check yields what it finds and never mends anything. Those in `HOUSE` look at the installation, those in `TENANTS` at one
tenant; both are asked in their order. A check that itself fails is a finding too.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import sqlcipher3.dbapi2 as driver
from flask import current_app
from sqlalchemy import func, select

from app.backups.keeper import CENTRAL
from app.backups.models import RUNNING, Order, Proof
from app.config import Config
from app.facilities import audit, mail
from app.ops import activity, health, meetings
from app.tenancy import ResolvedTenant, db, tenancy, utcnow
from app.tenancy.errors import DatabaseUnreadable
from app.tenancy.ledger import AuditRow, MigrationRun, TenantBackup, TenantDue
from app.tenancy.registry import Domain, Tenant

WARNING, ERROR = "warning", "error"
KEPT = ("active", "suspended", "archived")

HOUR = timedelta(hours=1)
TOO_LATE = timedelta(days=1)  # that a copy may be late before it is an error
PROVEN_WITHIN = timedelta(days=14)  # drills of ten thousand tenants take a week
KIT_GOOD_FOR = timedelta(days=365)
CLOCK_SLACK = timedelta(seconds=60)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: how bad, which check found it, what to do, and whose it is ("" for nobody's)."""

    level: str
    check: str
    what: str
    tenant: str = ""


Found = Iterator[Finding]


def examine_house() -> list[Finding]:
    """Return what is wrong with the installation as a whole."""
    return [found for check in HOUSE for found in _asked(check)]


def examine(tenant: ResolvedTenant, checks: tuple[Callable[[ResolvedTenant], Found], ...] = ()) -> list[Finding]:
    """Return what is wrong with one tenant; all is looked at unless `checks` are named."""
    return [replace(found, tenant=tenant.slug) for check in checks or TENANTS for found in _asked(check, tenant)]


def _asked(check: Callable[..., Found], *about: ResolvedTenant) -> Found:
    try:
        yield from check(*about)
    except Exception as error:  # whatever it is, it is a finding
        yield Finding(ERROR, check.__name__.strip("_"), f"This could not be looked at: {error}.")
    finally:
        db.session.rollback()


# The installation


def _processes() -> Found:
    for name in ("registry", "ledger", "disk", "valkey", "worker", "archivist", "live"):
        trouble = health.CHECKS[name]()
        if trouble:
            yield Finding(ERROR, name, trouble)


def _files() -> Found:
    config: Config = current_app.config["FREEHOLD"]
    yield from _exposed(tenancy.keys.master_file, ERROR)
    central = [config.instance / f"{name}.sqlite3" for name in CENTRAL]
    for path in (config.instance, config.tenants_data, config.backups, *central):
        yield from _exposed(path, WARNING)


def _clock() -> Found:
    known = [db.session.scalar(select(AuditRow.at).order_by(AuditRow.id.desc()).limit(1))]
    known.append(db.session.scalar(select(func.max(TenantBackup.at))))
    newest, now = max((at for at in known if at), default=utcnow()), utcnow()
    if newest > now + CLOCK_SLACK:
        what = (
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, but the ledger knows of {newest:%Y-%m-%d %H:%M}. Set the clock."
        )
        yield Finding(ERROR, "clock", f"{what} Copies, codes of second factors and sessions go by it.")


def _mail() -> Found:
    config: Config = current_app.config["FREEHOLD"]
    if not config.smtp_url:
        what = f"No letter leaves this machine: they lie in {config.instance / 'outbox'}. Set FREEHOLD_SMTP_URL."
        yield Finding(WARNING, "mail", what)
        return
    try:
        mail.greet_relay()
    except mail.MailDown as down:
        yield Finding(ERROR, "mail", f"Letters wait. {down} Look at FREEHOLD_SMTP_URL.")


def _recovery_kit() -> Found:
    made, rotated = _last("recovery_kit_made"), _last("master_key_rotated")
    advice = "Run `freehold keys recovery-kit FILE` and keep it away from this machine."
    if made is None:
        yield Finding(
            WARNING, "recovery kit", f"There is none: without this machine the copies open for nobody. {advice}"
        )
    elif rotated and rotated > made:
        yield Finding(ERROR, "recovery kit", f"It was made before the master key was changed. {advice}")
    elif made < utcnow() - KIT_GOOD_FOR:
        yield Finding(WARNING, "recovery kit", f"The last one was made on {made:%Y-%m-%d}. Is it still found? {advice}")


def _copying() -> Found:
    silence = activity.silence_of("copies")
    if silence is None or silence > health.LONGEST_SILENCE:
        yield Finding(ERROR, "copies", "No copies are being made. Start the archivist: `freehold run archivist`.")
    began = db.session.scalar(select(AuditRow.at).order_by(AuditRow.id).limit(1)) or utcnow()
    for owner in CENTRAL:
        for found in _kept(owner, began):
            yield replace(found, what=f"The {owner}: {found.what}")


def _domains() -> Found:
    living = (Tenant.state.in_(KEPT), Tenant.preview_of.is_(None))
    primaries = select(func.count()).where(Domain.tenant_id == Tenant.id, Domain.is_primary).scalar_subquery()
    for slug, count in db.session.execute(select(Tenant.slug, primaries).where(*living, primaries != 1)):
        what = "It has no primary domain, so letters carry no address that answers" if count == 0 else "It has two"
        advice = "`freehold domains list` shows them, `freehold domains primary HOST` makes one the primary."
        yield Finding(ERROR, "domain", f"{what}. {advice}", slug)


def _meetings() -> Found:
    for tenant_id, count in meetings.alarming().items():
        yield Finding(WARNING, "foreign", f"{meetings.told(count)} {meetings.ADVICE}", _slug(tenant_id))


def _leftovers() -> Found:
    config: Config = current_app.config["FREEHOLD"]
    paths = [
        *(config.instance / "drill").glob("*"),
        *config.instance.glob("*.unfinished"),
        *config.instance.glob("*.next*"),
    ]
    if tenancy.keys.master_file:
        paths += tenancy.keys.master_file.parent.glob(f"{tenancy.keys.master_file.name}.next")
    for path in filter(_is_old, sorted(set(paths))):
        yield Finding(WARNING, "leftover", f"{path} was left by something that was killed. Remove it.")
    running = select(Order).where(Order.state == RUNNING, Order.asked_at < utcnow() - HOUR)
    for order in db.session.scalars(running):
        what = f"A {order.kind} asked for by {order.asked_by} at {order.asked_at:%Y-%m-%d %H:%M} has not ended."
        yield Finding(WARNING, "leftover", f"{what} The archivist ends it: is it running?", _slug(order.tenant_id))
    for folder in filter(_is_old, config.tenants_data.glob("??/*")):
        if tenancy.registry.by_id(folder.name) is None:
            yield Finding(WARNING, "leftover", f"{folder} belongs to no tenant. Look into it, then remove it.")


# One tenant


def _file(tenant: ResolvedTenant) -> Found:
    """Its key opens its file, which carries its stamp and is not older than its copy; and its audit is as it was written."""
    if tenant.placement != "ready" or tenant.state == "provisioning":
        return
    try:
        with closing(tenancy.placements.open_file(tenant.id)) as connection:
            connection.execute("PRAGMA query_only = ON")
            wrong = None if tenant.preview_of else audit.look(connection, tenant.id)
    except (DatabaseUnreadable, driver.DatabaseError) as error:
        advice = f"`freehold backups repair {tenant.slug}`, or `freehold backups restore {tenant.slug} --at latest --replace`"
        yield Finding(ERROR, "file", f"{error} Bring it back: {advice}.")
        return
    if wrong:
        advice = "Somebody changed the file by hand, or a disk did. Compare it with a copy: the console's page Backups."
        yield Finding(ERROR, "audit", f"{wrong} {advice}")


def _private(tenant: ResolvedTenant) -> Found:
    folder = tenancy.placements.folder(tenant.id)
    for path in (folder, tenancy.placements.file(tenant.id), folder / "files"):
        yield from _exposed(path, WARNING)


def _keys(tenant: ResolvedTenant) -> Found:
    if tenant.placement == "ready" and tenancy.keys.pending(tenant.id) is not None:
        what = (
            f"A change of its key was cut short; the old one is in use. Run `freehold keys rotate {tenant.slug}` again."
        )
        yield Finding(WARNING, "keys", what)


def _state(tenant: ResolvedTenant) -> Found:
    if tenant.placement != "ready":
        what = "It is closed, as while it is moved or brought back. If nothing of the kind is going on, the archivist opens it:"
        yield Finding(WARNING, "leftover", f"{what} is it running?")
    row = db.session.get(Tenant, tenant.id)
    if tenant.state == "provisioning" and row and row.created_at < utcnow() - HOUR:
        what = f"It was only half made. Run `freehold tenants create {tenant.slug} --name NAME` again."
        yield Finding(WARNING, "leftover", what)


def _schema(tenant: ResolvedTenant) -> Found:
    run = db.session.get(MigrationRun, tenant.id)
    if run and run.state == "parked" and tenant.schema != tenancy.schema.head:
        advice = f"Then: `freehold migrate --tenant {tenant.slug}`."
        yield Finding(ERROR, "schema", f"Its migration failed and it is parked: {run.error} Mend that. {advice}")
    elif tenant.schema != tenancy.schema.head and tenant.state in KEPT:
        yield Finding(WARNING, "schema", f"It has an older schema. Run `freehold migrate --tenant {tenant.slug}`.")


def _copies(tenant: ResolvedTenant) -> Found:
    if tenant.preview_of is None and tenant.state in KEPT:
        row = db.session.get(Tenant, tenant.id)
        yield from _kept(tenant.id, row.created_at if row else utcnow())


def _jobs(tenant: ResolvedTenant) -> Found:
    row = db.session.get(TenantDue, tenant.id)
    if row and row.set_aside:
        advice = f"See `freehold jobs list {tenant.slug}`, then `freehold jobs retry {tenant.slug}`."
        yield Finding(WARNING, "jobs", f"Set aside after they failed: {row.set_aside}. {advice}")
    if row and row.oldest_at and row.oldest_at < utcnow() - timedelta(seconds=health.LONGEST_WAIT):
        yield Finding(WARNING, "jobs", f"{row.waiting} wait since {row.oldest_at:%Y-%m-%d %H:%M}. Is a worker running?")


def _restores(tenant: ResolvedTenant) -> Found:
    found = tenancy.placements.folder(tenant.id).glob("main.sqlite3.*")
    for path in sorted(found):
        if path.name.endswith(".damaged"):
            what = f"{path} is what a restore found unreadable. Remove it when nobody wants to look into it any more."
            yield Finding(WARNING, "leftover", what)
        elif _is_old(path):
            yield Finding(WARNING, "leftover", f"{path} was left by a restore that was killed. Remove it.")


HOUSE = (_processes, _files, _clock, _mail, _recovery_kit, _copying, _domains, _meetings, _leftovers)
ISOLATION = (_file, _private, _keys)
TENANTS = (*ISOLATION, _state, _schema, _copies, _jobs, _restores)


def _kept(owner: str, since: datetime) -> Found:
    """Tell whether an owner that is there `since` then has a copy of late, and a proof that it can be brought back."""
    now, copy = utcnow(), db.session.get(TenantBackup, owner)
    if copy is None and since < now - HOUR:
        yield Finding(ERROR, "copies", "There is no copy of it at all. Is the archivist running?")
    elif copy is not None and copy.late_since:
        level = ERROR if copy.late_since < now - TOO_LATE else WARNING
        yield Finding(level, "copies", f"Its copy is late since {copy.late_since:%Y-%m-%d %H:%M}. {copy.error}".strip())
    proof = db.session.scalar(select(Proof).where(Proof.tenant_id == owner).order_by(Proof.id.desc()).limit(1))
    if proof is not None and proof.error:
        yield Finding(ERROR, "copies", f"Bringing it back was tried and failed: {proof.error}")
    elif (proof.proven_at if proof else since) < now - PROVEN_WITHIN:
        when = f"since {proof.proven_at:%Y-%m-%d}" if proof else "yet"
        yield Finding(
            WARNING, "copies", f"Nobody has proven {when} that it can be brought back: `freehold backups drill`."
        )


def _exposed(path: Path | None, level: str) -> Found:
    """Tell of a file or folder that others than its owner may open."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path else 0
    except FileNotFoundError:
        return
    if mode & 0o077:
        yield Finding(level, "permissions", f"{path} can be opened by others ({mode:o}). Run `chmod go= {path}`.")


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - HOUR.total_seconds()
    except FileNotFoundError:
        return False


def _last(kind: str) -> datetime | None:
    return db.session.scalar(select(func.max(AuditRow.at)).where(AuditRow.kind == kind))


def _slug(tenant_id: str) -> str:
    known = tenancy.registry.by_id(tenant_id)
    return known.slug if known else tenant_id
