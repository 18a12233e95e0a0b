"""The sweeper: what is due gets its turn, whatever was lost on the way.

Each tick it looks at the time stamps of all tenants' files, which opens none, and opens those that have changed or whose time
has come; where there are thousands, whoever copies a changed file may come first, and what stands in it is read on that way.
Rows whose process is gone, or that the queue has lost, are brought again. What it learns of each tenant it keeps in the ledger,
so that a quiet tenant costs nothing and still gets its turn. When Valkey is down it goes on looking and brings everything when
Valkey is back.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextvars import Context
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, cast

import redis
import structlog
from flask import Flask
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from app.facilities import queue
from app.tenancy import ResolvedTenant, Tenancy, db, due, jobs, platform_context, tenant_context, utcnow
from app.tenancy.database import Connection
from app.tenancy.errors import TenantBusy, TenantGone, TenantSuspended
from app.tenancy.ledger import TenantDue
from app.tenancy.placements import Signature
from app.tenancy.watch import Watch

log = structlog.get_logger(__name__)

TICK = 1.0  # seconds
OTHERS_FIRST = 3.0  # seconds, at most, in which a changed file is left to whoever copies it
AT_ONCE = 0.5  # seconds of opening files in one tick; the rest waits for the next
LEAP = 30.0  # seconds by which the clock of the day may move against the one that only runs
AGAIN_AFTER = 5.0  # seconds until a tenant whose file cannot be opened is looked at again


class Held(NamedTuple):
    """A row on its way or running, as it was seen last, and how the queue knows it."""

    envelope: jobs.Envelope
    row: due.Held


class Sweeper:
    """Looks after the due rows of all tenants of one installation. One is enough; two do no harm."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._tenancy: Tenancy = app.extensions["tenancy"]
        self.watch = Watch(self._tenancy.registry, self._tenancy.placements)
        with app.app_context():
            self._valkey = queue.connection()
        self._seen: dict[str, Signature | None] = {}  # the signature of each file when it was last looked into
        self._looked_at = 0.0  # the last look that was made use of; monotonic seconds
        self._changed: dict[
            str, float
        ] = {}  # when the time stamps of a file were seen to have moved since, monotonic seconds
        self._read_by_others: SimpleQueue[tuple[str, Signature, due.Standing]] = SimpleQueue()
        self._next: dict[str, float] = {}  # when each tenant wants to be looked at again, seconds since 1970
        self._held: dict[str, dict[int, Held]] = {}
        self._failed: dict[str, float] = {}  # monotonic seconds before which a tenant is left alone
        self._noted: dict[str, due.Backlog] = {}
        self._known: frozenset[str] = frozenset()
        self._drift = time.time() - time.monotonic()
        self._mark = hashlib.sha256(repr(sorted(jobs.schedules().items())).encode()).hexdigest()[:16]

    def run(self, stop: threading.Event, beat: Path) -> None:
        """Sweep until `stop` is set, touching `beat` at every tick."""
        self.remember()
        while not stop.is_set():
            began = time.monotonic()
            try:
                self.tick()
            except Exception:  # whatever it is, the next tick comes
                log.exception("sweep_failed")
            beat.touch()
            stop.wait(max(0.05, TICK - (time.monotonic() - began)))

    def remember(self) -> None:
        """Read from the ledger what earlier sweeps have learned; files changed since then are looked into first."""
        with self._app.app_context(), platform_context(origin="sweep", writes=False):
            rows = db.session.scalars(select(TenantDue)).all()
        for row in rows:
            if row.schedules == self._mark:
                signature = self._tenancy.placements.signature(row.tenant_id)
                was_read = signature and signature.newest < (row.seen_at.timestamp() - 1) * 1e9
                # Where something waits or is in hand, only the file says whose; a clock that was set back says nothing.
                if was_read and not row.waiting and row.seen_at <= utcnow():
                    self._seen[row.tenant_id] = signature
                if row.next_at:
                    self._next[row.tenant_id] = row.next_at.timestamp()

    def tick(self) -> int:
        """Look at all tenants once and into those that want it; returns how many were looked into."""
        self._mind_the_clock()
        serving = self._tenancy.registry.serving()
        for gone in self._known - serving:
            for memory in (self._seen, self._changed, self._next, self._held, self._failed, self._noted):
                memory.pop(gone, None)
        self._known = serving
        self._see_changes(serving)
        self._take_what_others_read(serving)
        lost = self._lost()
        until, looked = time.monotonic() + AT_ONCE, 0
        for tenant_id in self._in_turn(serving, lost):
            if time.monotonic() > until:
                break
            self._look(tenant_id, lost.get(tenant_id, frozenset()))
            looked += 1
        return looked

    def _in_turn(self, serving: frozenset[str], lost: dict[str, frozenset[int]]) -> list[str]:
        """Return the tenants that want to be looked into: those whose time has come first, the longest waiting first."""
        now, monotonic = time.time(), time.monotonic()
        come = [each for each in lost if each in serving]
        come += sorted(
            (each for each, at in self._next.items() if at <= now and each in serving), key=self._next.__getitem__
        )
        changed = (each for each, at in self._changed.items() if at + min(OTHERS_FIRST, self.watch.pause) <= monotonic)
        return [each for each in dict.fromkeys((*come, *changed)) if self._failed.get(each, 0.0) <= monotonic]

    def _see_changes(self, serving: frozenset[str]) -> None:
        look = self.watch.look()
        if look.at > self._looked_at:
            self._looked_at = look.at
            self._changed = {
                each: self._changed.get(each, look.at)
                for each, signature in look.signatures.items()
                if signature and each in serving and not signature.is_as(self._seen.get(each))
            }

    def read(self, tenant_id: str, connection: Connection) -> due.Standing | None:
        """Return what stands in a tenant's file that somebody else has open; None where it is not for others to say."""
        try:
            with self._app.app_context():
                return due.standing(connection, jobs.open_tenant(tenant_id), jobs.schedules())
        except Exception:  # whatever stands there, it is copied; the look of its own tells what is wrong
            return None

    def take(self, tenant_id: str, signature: Signature, standing: due.Standing) -> None:
        """Take note of what somebody else has read in a file that looks like this since."""
        self._read_by_others.put((tenant_id, signature, standing))

    def _take_what_others_read(self, serving: frozenset[str]) -> None:
        while not self._read_by_others.empty():
            tenant_id, signature, found = self._read_by_others.get()
            if tenant_id in serving and found.is_still and not found.held:
                self._held.pop(tenant_id, None)
                self._note(tenant_id, found.backlog)
                self._learn(tenant_id, signature, found.backlog)

    def _look(self, tenant_id: str, lost: frozenset[int]) -> None:
        try:
            seen, found = Context().run(self._settle, tenant_id, lost)
        except (TenantBusy, TenantGone, TenantSuspended):
            self._failed[tenant_id] = time.monotonic() + TICK
            return
        except Exception as error:
            self._failed[tenant_id] = time.monotonic() + AGAIN_AFTER
            log.warning("sweep_left_out", tenant=tenant_id, why=f"{type(error).__name__}: {error}"[:300])
            return
        self._learn(tenant_id, seen, found)

    def _learn(self, tenant_id: str, seen: Signature | None, found: due.Backlog) -> None:
        self._seen[tenant_id] = seen
        for memory in (self._failed, self._next, self._changed):
            memory.pop(tenant_id, None)
        if found.next_at is not None:
            self._next[tenant_id] = found.next_at.timestamp()

    def _settle(self, tenant_id: str, lost: frozenset[int]) -> tuple[Signature | None, due.Backlog]:
        """Free what was abandoned, give to the queue what has its turn, and note in the ledger what is left.

        Returns what the file looked like just before it was read, None when it wants another look.
        """
        with self._app.app_context():
            tenant = jobs.open_tenant(tenant_id)
            seen, found = self._read(tenant)
            if lost or not found.is_still:
                with tenant_context(tenant, origin="sweep"):
                    due.plant(jobs.schedules())
                    due.free_abandoned(jobs.tries(), lost)
                    due.touch()
                    db.session.commit()
                seen, found = self._read(tenant)
            self._note(tenant_id, found.backlog)
        return seen, found.backlog

    def _read(self, tenant: ResolvedTenant) -> tuple[Signature | None, due.Standing]:
        """Return what a file looked like just before it was read, and what stands in it.

        None for a file that is too young: it may hide another write of its moment.
        """
        seen = self._tenancy.placements.signature(tenant.id)
        with tenant_context(tenant, origin="sweep", writes=False):
            connection = cast("Connection", db.session.connection({"mapper": due.Due}).connection.driver_connection)
            found = due.standing(connection, tenant, jobs.schedules())
            self._hold(tenant.id, found.held)
        return seen if seen and seen.is_settled else None, found

    def _hold(self, tenant_id: str, rows: tuple[due.Held, ...]) -> None:
        self._held[tenant_id] = {
            row.id: Held(jobs.seal(due.Reserved(row.id, row.job, row.attempts)), row) for row in rows
        }
        if not rows:
            del self._held[tenant_id]

    def _lost(self) -> dict[str, frozenset[int]]:
        """Return, by tenant, the rows that were on their way and are not in the queue, and those whose process is gone."""
        now, lost = utcnow(), {}
        asked: list[tuple[str, int, jobs.Envelope]] = []
        for tenant_id, rows in self._held.items():
            gone = {number for number, held in rows.items() if held.row.is_abandoned}
            if gone:
                lost[tenant_id] = frozenset(gone)
            asked += [
                (tenant_id, number, held.envelope)
                for number, held in rows.items()
                if held.row.holder == due.QUEUE and (held.row.leased_until is None or held.row.leased_until < now)
            ]
        for tenant_id, number in self._missing(asked):
            lost[tenant_id] = lost.get(tenant_id, frozenset()) | {number}
        return lost

    def _missing(self, asked: list[tuple[str, int, jobs.Envelope]]) -> list[tuple[str, int]]:
        if not asked:
            return []
        try:
            gone = queue.missing(self._valkey, [envelope for _, _, envelope in asked])
        except redis.RedisError:
            return []
        marks = {envelope["mac"] for envelope in gone}
        return [(tenant_id, number) for tenant_id, number, envelope in asked if envelope["mac"] in marks]

    def _note(self, tenant_id: str, found: due.Backlog) -> None:
        """Write to the ledger what stands in a file, where that is new."""
        if self._noted.get(tenant_id) == found:
            return
        facts = {**asdict(found), "schedules": self._mark, "seen_at": utcnow()}
        row = insert(TenantDue).values(tenant_id=tenant_id, **facts)
        with self._app.app_context(), platform_context(origin="sweep"):
            db.session.execute(row.on_conflict_do_update(index_elements=["tenant_id"], set_=facts))
            db.session.commit()
        self._noted[tenant_id] = found

    def _mind_the_clock(self) -> None:
        """After a leap of the clock, look into every tenant that has anything to come: its times may mean something else."""
        drift = time.time() - time.monotonic()
        if abs(drift - self._drift) > LEAP:
            log.warning("clock_leapt", seconds=round(drift - self._drift))
            self._next = dict.fromkeys(self._next, 0.0)
        self._drift = drift
