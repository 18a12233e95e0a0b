"""The audit of one tenant: every change of security meaning, in its own file, in the transaction of the change.

`note` writes a row that carries a keyed hash over itself and the row before (`audit_chain`), so that a row which is
changed, removed, moved or put in by hand is found. The end of the chain, its head, is copied to the ledger after each
commit, so that a cut at the end and a file of before are found too. When the ledger cannot be written, the commit
stands; the next one, or the daily check, brings the head there. A file that is brought back from a copy begins a new
life with a row that says so, under the tenant's key, and the ledger's own audit keeps the head that was before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlcipher3.dbapi2 as driver
import structlog
from sqlalchemy import Index, and_, delete, event, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.facilities import settings
from app.facilities.audit_chain import BROUGHT_BACK, RETIRED, Chain, Finding, Head
from app.tenancy import LedgerModel, ResolvedTenant, TenantModel, Timestamp, current_tenant, db, tenancy, utcnow
from app.tenancy.binding import BoundSession
from app.tenancy.context import current_scope, require_scope
from app.tenancy.database import EPOCH, Connection
from app.tenancy.errors import FreeholdError
from app.tenancy.jobs import every
from app.tenancy.lifecycle import hears

if TYPE_CHECKING:
    from app.tenancy import Tenancy

__all__ = [
    "Audit",
    "Finding",
    "Kind",
    "broken",
    "follow",
    "kind",
    "kinds",
    "look",
    "note",
    "note_in",
    "note_seldom",
    "standing",
    "verify",
]

log = structlog.get_logger(__name__)

AT_MOST = 20  # rows a minute of a kind that strangers can bring about
MINUTE = timedelta(minutes=1)
TROUBLE = (FreeholdError, SQLAlchemyError, driver.Error, OSError)


@dataclass(frozen=True)
class Kind:
    """A kind of act: its name in the past tense, what it means, and the sentence that tells of one.

    The sentence may name `{actor}`, `{subject}` and what the row tells, such as `{reason}`.
    """

    name: str
    meaning: str
    sentence: str = ""


class Audit(TenantModel):
    """One act. `actor` and `subject` are addresses of people, or other short words; "" for nobody in particular."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_at", "at"), Index("audit_kind", "kind", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp)
    kind: Mapped[str]
    actor: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[str]  # JSON, to the letter: the hash is over this text
    request_id: Mapped[str]
    previous: Mapped[str]
    hash: Mapped[str]

    @property
    def told(self) -> dict[str, Any]:
        """What the row tells beside who and whom."""
        found = json.loads(self.detail)
        return found if isinstance(found, dict) else {}


class AuditHead(LedgerModel):
    """How far a tenant's audit goes, and what the last check found, "" for nothing wrong."""

    __tablename__ = "audit_head"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(default=0)
    row_id: Mapped[int] = mapped_column(default=0)
    hash: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    checked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finding: Mapped[str] = mapped_column(default="")


_kinds: dict[str, Kind] = {}


def kind(name: str, meaning: str, sentence: str = "") -> Kind:
    """Declare a kind of act; raises `ValueError` when another one has its name."""
    declared = Kind(name, meaning, sentence)
    if _kinds.setdefault(name, declared) != declared:
        raise ValueError(f"Two kinds of act are called {name!r}; give one of them another name.")
    return declared


def kinds() -> tuple[Kind, ...]:
    """Return every declared kind, by name."""
    return tuple(_kinds[name] for name in sorted(_kinds))


kind(BROUGHT_BACK, "The organisation was brought back from a copy.", "The organisation was brought back from a copy.")
kind(
    RETIRED, "Rows older than the platform keeps were taken out.", "{count} rows older than {days} days were taken out."
)
kind(
    "key_rotated", "The organisation's file was written anew under a new key.", "The organisation's data got a new key."
)
kind("suspended", "The operators paused the organisation.", "The operators paused the organisation: {reason}")
kind("resumed", "The operators let the organisation be served again.", "The operators let the organisation go on.")
kind("archived", "The operators closed the organisation.", "The operators closed the organisation.")
kind("domain_added", "The organisation answers at one more address.", "The operators added the address {subject}.")
kind(
    "domain_made_primary",
    "Letters and links lead to another address of the organisation from now on.",
    "The operators made {subject} the main address, {before} until then.",
)
kind(
    "domain_removed",
    "The organisation answers at one address less.",
    "The operators removed the address {subject}.",
)


def note(kind: str, *, actor: str = "", subject: str = "", **detail: Any) -> None:
    """Write one row of the current tenant's audit in the caller's transaction; the caller commits.

    Never tell a secret in `detail`. Raises `KeyError` for a kind that nobody declared.
    """
    scope = require_scope("A note in the audit")
    session = db.session()
    row = _chain_of(session).next(_kinds[kind].name, actor, subject, detail, scope.request_id)
    values = row._asdict() | {"at": EPOCH + timedelta(microseconds=row.at)}
    session.execute(insert(Audit).values(**values))
    session.info["audit"] = True


def note_seldom(kind: str, about: str, *, actor: str = "", subject: str = "", **detail: Any) -> None:
    """Note what a stranger brings about, once a minute for the same `about`, and twenty times a minute in all.

    `about` is not written down; a mark of it is, by which rows about the same can be told.
    """
    mark = hmac.new(_key(tenancy, current_tenant().id), about.encode(), hashlib.sha256).hexdigest()[:12]
    lately = select(Audit.detail).where(Audit.kind == kind, Audit.at > utcnow() - MINUTE)
    known = db.session.scalars(lately).all()
    if len(known) < AT_MOST and not any(f'"mark":"{mark}"' in each for each in known):
        note(kind, actor=actor, subject=subject, mark=mark, **detail)


def note_in(tenant: ResolvedTenant, kind: str, *, actor: str = "", subject: str = "", **detail: Any) -> None:
    """Write one row of a tenant's audit at once, from wherever; what hinders it is logged, and hinders nothing else."""
    _note_at_once(tenancy, tenant, _kinds[kind].name, actor=actor, subject=subject, **detail)


def verify(tenant: ResolvedTenant | None = None) -> Finding | None:
    """Return the first thing that is wrong with a tenant's audit, by default the current one's, and keep it in the ledger.

    It reads the whole chain, 100,000 rows a second or so, and holds up nobody. Raises `DatabaseUnreadable`, `TenantBusy`.
    """
    checked = tenant or current_tenant()
    with _opened(tenancy, checked) as (connection, _):
        finding, head, end = _looked_through(tenancy, checked.id, connection)
    if finding:
        _keep_finding(tenancy, checked.id, finding)
    else:
        _keep_head(tenancy, checked.id, head, end)
        _keep_soundness(tenancy, checked.id)
    return finding


def look(connection: Connection, tenant_id: str) -> Finding | None:
    """Return the first thing that is wrong with the audit in a tenant's open file; nothing is kept of that anywhere."""
    return _looked_through(tenancy, tenant_id, connection)[0]


def follow(core: Tenancy, tenant_id: str) -> None:
    """Bring a tenant's head to the ledger, as after its file was brought back; what hinders it is logged."""
    tenant = core.registry.by_id(tenant_id)
    if tenant is None or tenant.preview_of:
        return
    try:
        with _opened(core, tenant) as (_, chain):
            _follow(core, tenant_id, chain)
    except TROUBLE as error:
        log.warning("audit_head_not_copied", tenant=tenant_id, error=str(error))


@every("H H(1-5) * * *", name="audit.check", timeout=900)
def check() -> None:
    """Look through the current tenant's audit every night; the ledger keeps what is found."""
    verify()


@every("H H(1-5) H * *", name="audit.retire")
def retire() -> None:
    """Take out, once a month, what is older than the platform keeps; the row that tells so carries the hash of the last one.

    A chain that does not hold stays as it is, for whoever looks into it.
    """
    if verify():
        return
    days = settings.number("audit_days")
    bound = (utcnow() - timedelta(days=days) - EPOCH) // timedelta(microseconds=1)
    last, mac, count = _chain_of(db.session()).up_to(bound)
    if count:
        note(RETIRED, up_to=last, hash=mac, count=count, days=days)
        db.session.execute(delete(Audit).where(Audit.id <= last))


def tell_of_return(
    core: Tenancy, connection: Connection, source: str, told: Iterable[tuple[str, dict[str, Any]]] = ()
) -> None:
    """Begin a new life of the chain in a file that was brought back from a copy of `source`'s, with what was `told` of it.

    The caller commits.
    Where that is another tenant's, its rows come under the key of the one that the file is stamped for now.
    """
    tenant_id, epoch = connection.execute("SELECT tenant_id, epoch FROM stamp").fetchone() or ("", 0)
    if source != tenant_id:
        Chain(_asking(connection), _key(core, source)).seal_anew(_key(core, tenant_id))
    chain = Chain(_asking(connection), _key(core, tenant_id))
    chain.append(BROUGHT_BACK, epoch=epoch)
    for act, detail in told:
        chain.append(_kinds[act].name, **detail)


@hears
def tell_of_operators(core: Tenancy, tenant: ResolvedTenant, act: str, detail: dict[str, Any]) -> None:
    """Tell the tenant what the operators did to it."""
    _note_at_once(core, tenant, _kinds[act].name, **detail)


def broken() -> dict[str, str]:
    """Return what is wrong with the audits of tenants, by the tenant's id, as their last checks found it."""
    rows = db.session.execute(select(AuditHead.tenant_id, AuditHead.finding).where(AuditHead.finding != "").limit(100))
    return {row[0]: row[1] for row in rows}


def standing(tenant_id: str) -> AuditHead | None:
    """Return how far a tenant's audit goes, when it was checked and what was found; None before its first row."""
    return db.session.get(AuditHead, tenant_id)


def _note_at_once(
    core: Tenancy, tenant: ResolvedTenant, kind: str, *, actor: str = "", subject: str = "", **detail: Any
) -> None:
    scope = current_scope()
    request_id = scope.request_id if scope else ""
    try:
        with _opened(core, tenant) as (connection, chain):
            connection.execute("BEGIN IMMEDIATE")
            chain.append(kind, actor=actor, subject=subject, request_id=request_id, **detail)
            connection.execute("COMMIT")
            _follow(core, tenant.id, chain)
    except TROUBLE as error:
        log.warning("audit_not_written", tenant=tenant.id, kind=kind, error=str(error))


@contextmanager
def _opened(core: Tenancy, tenant: ResolvedTenant) -> Iterator[tuple[Connection, Chain]]:
    with closing(core.placements.open(tenant)) as connection:
        yield connection, _chain_in(core, tenant.id, connection)


def _chain_in(core: Tenancy, tenant_id: str, connection: Connection) -> Chain:
    # What is no UTF-8 was not written by us; it is read all the same, to be told from what was.
    connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    return Chain(_asking(connection), _key(core, tenant_id))


def _looked_through(core: Tenancy, tenant_id: str, connection: Connection) -> tuple[Finding | None, Head | None, Head]:
    """Return what is wrong, the head in the ledger, which is read first, and the end of the chain."""
    head, chain = _head(core, tenant_id), _chain_in(core, tenant_id, connection)
    connection.execute("BEGIN")
    try:
        return chain.verify(head), head, chain.end()
    finally:
        connection.execute("ROLLBACK")


def _key(core: Tenancy, tenant_id: str) -> bytes:
    return core.keys.tenant_subkey(tenant_id, "audit")


def _chain_of(session: Session) -> Chain:
    def ask(statement: str, parameters: Any) -> Any:
        connection = session.connection(bind_arguments={"mapper": Audit})
        return connection.exec_driver_sql(statement, tuple(parameters)).fetchall()

    return Chain(ask, _key(tenancy, current_tenant().id))


def _asking(connection: Connection) -> Any:
    return lambda statement, parameters: connection.execute(statement, tuple(parameters)).fetchall()


# The head in the ledger. It moves forward only, and only along the chain that it is the head of.


def _head(core: Tenancy, tenant_id: str) -> Head | None:
    # Not over the session, nor beside it: it may hold the ledger, and this is asked in the middle of its commit.
    found = core.ledger.look("SELECT epoch, row_id, hash FROM audit_head WHERE tenant_id = ?", tenant_id)
    return Head(*found) if found else None


def _follow(core: Tenancy, tenant_id: str, chain: Chain) -> None:
    """Move the head to the end of the chain; where it does not fit the chain, that is kept instead."""
    head = _head(core, tenant_id)
    finding = chain.fits(head)
    if finding:
        _keep_finding(core, tenant_id, finding)
    else:
        _keep_head(core, tenant_id, head, chain.end())


def _keep_head(core: Tenancy, tenant_id: str, before: Head | None, end: Head) -> None:
    stands = {"epoch": end.epoch, "row_id": end.id, "hash": end.hash, "at": utcnow()}
    is_older = or_(AuditHead.epoch < end.epoch, and_(AuditHead.epoch == end.epoch, AuditHead.row_id < end.id))
    row = upsert(AuditHead).values(tenant_id=tenant_id, finding="", **stands)
    row = row.on_conflict_do_update(index_elements=["tenant_id"], set_=stands, where=is_older)
    with core.engines["ledger"].begin() as ledger:
        moved = ledger.execute(row).rowcount
    if moved and before and before.id and before.epoch != end.epoch:
        was = {"epoch": before.epoch, "row": before.id, "hash": before.hash}
        core.ledger.record("audit_began_anew", tenant_id, before=was, row=end.id)


def _keep_finding(core: Tenancy, tenant_id: str, finding: Finding) -> None:
    """Keep what is wrong; the ledger's audit tells of it once."""
    row = upsert(AuditHead).values(tenant_id=tenant_id, epoch=0, row_id=0, hash="", at=utcnow(), finding="")
    is_new = update(AuditHead).where(AuditHead.tenant_id == tenant_id, AuditHead.finding == "")
    with core.engines["ledger"].begin() as ledger:
        ledger.execute(row.on_conflict_do_nothing())
        told = ledger.execute(is_new.values(finding=finding.what, checked_at=utcnow())).rowcount
    if told:
        core.ledger.record("audit_broken", tenant_id, row=finding.row, what=finding.what)
        log.error("audit_broken", tenant=tenant_id, row=finding.row, what=finding.what)


def _keep_soundness(core: Tenancy, tenant_id: str) -> None:
    of_it = AuditHead.tenant_id == tenant_id
    with core.engines["ledger"].begin() as ledger:
        was = ledger.scalar(select(func.coalesce(AuditHead.finding, "")).where(of_it))
        ledger.execute(update(AuditHead).where(of_it).values(finding="", checked_at=utcnow()))
    if was:
        core.ledger.record("audit_mended", tenant_id)


# A commit that noted something looks whether the head fits, while it holds the file, and moves the head when it is done.


def _look(session: BoundSession) -> None:
    if session.info.get("audit") and not session.in_nested_transaction():
        del session.info["audit"]
        if current_tenant().preview_of is None:
            session.info["audit_move"] = _move_of(session)


def _move_of(session: BoundSession) -> tuple[Head | None, Head, Finding | None] | None:
    try:
        head = _head(tenancy, current_tenant().id)
    except TROUBLE as error:
        log.warning("audit_head_not_copied", error=str(error))
        return None
    chain = _chain_of(session)
    return head, chain.end(), chain.fits(head)


def _move(session: BoundSession) -> None:
    found = None if session.in_nested_transaction() else session.info.pop("audit_move", None)
    if found is None or session.tenant_id is None:
        return
    head, end, finding = found
    try:
        if finding:
            _keep_finding(tenancy, session.tenant_id, finding)
        else:
            _keep_head(tenancy, session.tenant_id, head, end)
    except TROUBLE as error:
        log.warning("audit_head_not_copied", error=str(error))


def _forget(session: BoundSession) -> None:
    if not session.in_nested_transaction():
        session.info.pop("audit", None)
        session.info.pop("audit_move", None)


event.listen(BoundSession, "before_commit", _look)
event.listen(BoundSession, "after_commit", _move)
event.listen(BoundSession, "after_rollback", _forget)
