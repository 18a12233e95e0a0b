"""The sweeper: what is due gets its turn, whatever was lost on the way.

Each tick it looks at the time stamps of all tenants' files, which opens none, and opens those that have changed or whose time
has come. Rows whose process is gone, or that the queue has lost, are brought again. What it
learns of each tenant it keeps in the ledger, so that a quiet tenant costs nothing and still gets its turn.
When Valkey is down it goes on looking and brings everything when Valkey is back.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextvars import Context
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import redis
import structlog
from flask import Flask
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from app.facilities import queue
from app.tenancy import ResolvedTenant, Tenancy, db, due, jobs, platform_context, tenant_context, utcnow
from app.tenancy.errors import TenantBusy, TenantGone, TenantSuspended
from app.tenancy.ledger import TenantDue
from app.tenancy.placements import Signature

log = structlog.get_logger(__name__)

TICK = 1.0  # seconds
LOOKING_SHARE = 60  # a long look at all time stamps is followed by sixty times its length without one
SHORT_LOOK = 0.005  # seconds
AT_ONCE = 0.5  # seconds of opening files in one tick; the rest waits for the next
LEAP = 30.0  # seconds by which the clock of the day may move against the one that only runs
AGAIN_AFTER = 5.0  # seconds until a tenant whose file cannot be opened is looked at again


class Held(NamedTuple):
    """A row on its way or running, as it was seen last."""

    envelope: jobs.Envelope
    holder: str
    until: datetime | None


class Sweeper:
    """Looks after the due rows of all tenants of one installation. One is enough; two do no harm."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._tenancy: Tenancy = app.extensions["tenancy"]
        with app.app_context():
            self._valkey = queue.connection()
        self._seen: dict[str, Signature | None] = {}  # the signature of each file when it was last looked into
        self._changed: dict[str, None] = {}  # those whose time stamps have moved since
        self._look_again_at = 0.0  # monotonic seconds
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
        if monotonic >= self._look_again_at:
            self._changed = {each: None for each in serving if self._has_changed(each)}
            took = time.monotonic() - monotonic
            self._look_again_at = time.monotonic() + (LOOKING_SHARE * took if took > SHORT_LOOK else 0.0)
        wanted = dict.fromkeys((*come, *self._changed))
        return [each for each in wanted if self._failed.get(each, 0.0) <= monotonic]

    def _has_changed(self, tenant_id: str) -> bool:
        signature = self._tenancy.placements.signature(tenant_id)
        return signature is not None and not signature.is_as(self._seen.get(tenant_id))

    def has_moved(self, tenant_id: str, before: Signature, after: Signature) -> None:
        """Take a file that was looked into as `before` for one looked into as it is now: a copy was made, and nothing written."""
        if self._seen.get(tenant_id) == before:
            self._seen[tenant_id] = after

    def _look(self, tenant_id: str, lost: frozenset[int]) -> None:
        try:
            self._seen[tenant_id], found = Context().run(self._settle, tenant_id, lost)
        except (TenantBusy, TenantGone, TenantSuspended):
            self._failed[tenant_id] = time.monotonic() + TICK
            return
        except Exception as error:
            self._failed[tenant_id] = time.monotonic() + AGAIN_AFTER
            log.warning("sweep_left_out", tenant=tenant_id, why=f"{type(error).__name__}: {error}"[:300])
            return
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
            seen, found = self._read(tenant, lost)
            if found is None:
                with tenant_context(tenant, origin="sweep"):
                    due.plant(jobs.schedules())
                    due.free_abandoned(jobs.tries(), lost)
                    due.touch()
                    db.session.commit()
                seen, found = self._read(tenant, None)
                assert found is not None
            if self._noted.get(tenant_id) != found:
                with platform_context(origin="sweep"):
                    self._note(tenant_id, found)
                self._noted[tenant_id] = found
        return seen, found

    def _read(self, tenant: ResolvedTenant, lost: frozenset[int] | None) -> tuple[Signature | None, due.Backlog | None]:
        """Return what a file looked like just before it was read, and what stands in it; with `lost` not given, whatever it is.

        None for a file that is too young: it may hide another write of its moment. None for one where there is something to do.
        """
        seen = self._tenancy.placements.signature(tenant.id)
        seen = seen if seen and seen.is_settled else None
        with tenant_context(tenant, origin="sweep", writes=False):
            found = due.backlog()
            rows = due.held() if found.taken else []
            if lost is not None and not self._is_still(found, rows, lost):
                return seen, None
            self._hold(tenant.id, rows)
            return seen, found

    def _is_still(self, found: due.Backlog, rows: list[due.Due], lost: frozenset[int]) -> bool:
        """Tell whether there is nothing to write: no turn has come, nobody's process is gone, the schedules stand."""
        gone = any(row.holder != due.QUEUE and due.is_over(row.holder, row.leased_until) for row in rows)
        return not (lost or gone or found.ready) and due.is_planted(jobs.schedules())

    def _hold(self, tenant_id: str, rows: list[due.Due]) -> None:
        self._held[tenant_id] = {
            row.id: Held(jobs.seal(due.Reserved(row.id, row.job, row.attempts)), row.holder, row.leased_until)
            for row in rows
        }
        if not rows:
            del self._held[tenant_id]

    def _lost(self) -> dict[str, frozenset[int]]:
        """Return, by tenant, the rows that were on their way and are not in the queue, and those whose process is gone."""
        now, lost = utcnow(), {}
        asked: list[tuple[str, int, jobs.Envelope]] = []
        for tenant_id, rows in self._held.items():
            gone = {number for number, held in rows.items() if held.holder != due.QUEUE and _is_over(held)}
            if gone:
                lost[tenant_id] = frozenset(gone)
            asked += [
                (tenant_id, number, held.envelope)
                for number, held in rows.items()
                if held.holder == due.QUEUE and (held.until is None or held.until < now)
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
        facts: dict[str, Any] = {
            "next_at": found.next_at,
            "waiting": found.waiting,
            "oldest_at": found.oldest_at,
            "set_aside": found.set_aside,
            "schedules": self._mark,
            "seen_at": utcnow(),
        }
        row = insert(TenantDue).values(tenant_id=tenant_id, **facts)
        db.session.execute(row.on_conflict_do_update(index_elements=["tenant_id"], set_=facts))
        db.session.commit()

    def _mind_the_clock(self) -> None:
        """After a leap of the clock, look into every tenant that has anything to come: its times may mean something else."""
        drift = time.time() - time.monotonic()
        if abs(drift - self._drift) > LEAP:
            log.warning("clock_leapt", seconds=round(drift - self._drift))
            self._next = dict.fromkeys(self._next, 0.0)
        self._drift = drift


def _is_over(held: Held) -> bool:
    return due.is_over(held.holder, held.until)
