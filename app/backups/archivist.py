"""The archivist's round: whoever was written to is copied, what is old is thinned, what was cut short is put right.

It looks at the time stamps of all files, which opens none, and copies those that changed: at most once in INTERVAL, large files
less often. It is never the cause of a failed write: when the place of the copies is full, slow or gone, only the copies are late,
and that is told.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from flask import Flask
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import OperationalError

from app.backups import drills, previews
from app.backups.capture import AGAIN, Copied, InUse
from app.backups.keeper import CENTRAL, CENTRAL_DAYS, CENTRAL_SHARE, KEYRING, KEYRING_DAYS, Keeper
from app.backups.orders import Carrier, start
from app.backups.packs import PackDamaged
from app.backups.reserve import Reserve
from app.backups.target import TargetDown
from app.facilities.sweep import Sweeper
from app.tenancy import Tenancy, db, platform_context, utcnow
from app.tenancy.errors import FreeholdError
from app.tenancy.ledger import TenantBackup
from app.tenancy.placements import Signature, signature_of

log = structlog.get_logger(__name__)

LEAP, LEAP_REST = 60.0, 86400.0  # seconds by which the clock of the day may leap, and for which nothing is thinned then
LOOK = 6.0  # seconds between two looks at all time stamps
INTERVAL = 8.0  # seconds between two copies of one owner
SHARE = 100  # a large file rests for so many times what its last copy took
LATE = 60.0  # seconds after which a copy that should have been made is told to be late
TRIES = 3  # in a row, before a file in use is left for a while
REST, LONGEST_REST = 5.0, 60.0  # seconds, after trouble
THIN_EVERY, THIN_QUIET, THINNING = 600.0, 86_400.0, 0.2  # seconds; the last is how long at a stretch
NOTES = 200  # that are written to the ledger at once
THIN_LOOK = 200  # owners that are asked in each round whether their time has come
FIRST_DRILL, DRILL_EVERY, DRILLS = 60.0, 600.0, 10  # seconds, seconds, and how many each time
LEAST_ROOM, ROOM_SHARE = 512 << 20, 0.05  # bytes, or of the whole place, that are left free


@dataclass
class Watched:
    """What is known of one owner. Times are monotonic seconds; 0 is never."""

    seen: Signature | None = None  # as of the last copy
    dirty_since: float = 0.0
    copied_at: float = 0.0
    not_before: float = 0.0
    interval: float = INTERVAL
    misses: int = 0
    is_late: bool = False
    kept: tuple[int, int] = (0, 0)  # bytes and moments
    thinned_at: float = field(default_factory=lambda: time.monotonic() - random.uniform(0, THIN_QUIET))  # noqa: S311

    @property
    def thin_at(self) -> float:
        """When its moments want to be thinned: a while after a copy, and then once a day as they age."""
        return self.thinned_at + (THIN_EVERY if self.copied_at > self.thinned_at else THIN_QUIET)


class Archivist:
    """Keeps the shelves of all owners of one installation. One is enough; two do no harm."""

    def __init__(self, app: Flask, sweeper: Sweeper | None = None) -> None:
        """Look where `sweeper` looks, and tell it what stands in the files that are copied."""
        self._app = app
        self._tenancy: Tenancy = app.extensions["tenancy"]
        self._sweeper = sweeper or Sweeper(app)
        self._watch = self._sweeper.watch
        self.keeper = Keeper(self._tenancy, self._sweeper.read)
        self._watched: dict[str, Watched] = {}
        self._dirty: set[str] = set()
        self._thin_turn: deque[str] = deque()
        self._notes: dict[str, dict[str, Any]] = {}
        self._carrier = Carrier(self._tenancy)
        self._reserve = Reserve(self._tenancy.config.tenants_data)
        self._drill: subprocess.Popen[bytes] | None = None
        self._drill_at = time.monotonic() + FIRST_DRILL
        self._look_at = self._looked_at = 0.0
        self._thin_from = time.monotonic() + THIN_EVERY  # by then the clock of a machine that has just started is right
        self._drift = _drift()
        self._copied_at = 0.0
        self._rest = 0.0
        self._resting_until = 0.0

    def run(self, stop: threading.Event, beat: Path) -> None:
        """Go round until `stop` is set, touching `beat` each time."""
        while not self._has_begun() and not stop.wait(REST):
            continue
        while not stop.is_set():
            for duty in (lambda: self.round(stop), self._carrier.round, self._drill_oldest):
                try:
                    duty()
                except Exception:  # whatever it is, the next round comes
                    log.exception("archive_round_failed")
            beat.touch()
            stop.wait(AGAIN)
        self._carrier.close()
        if self._drill is not None:
            self._drill.terminate()
            self._drill.wait()
        self.keeper.raw_side.close()

    def _has_begun(self) -> bool:
        try:
            self.keeper.prepare()
            self.remember()
            self._carrier.begin_again()
        except Exception:  # whatever it is, it is tried again
            log.exception("archive_not_begun")
            return False
        return True

    def remember(self) -> None:
        """Read from the ledger what was copied before, so that a start copies only what changed since."""
        with self._app.app_context(), platform_context(origin="archive", writes=False):
            rows = db.session.scalars(select(TenantBackup)).all()
        for row in rows:
            known = Signature(*json.loads(row.signature)) if row.signature else None
            self._watched[row.tenant_id] = Watched(
                seen=known,
                interval=row.interval,
                is_late=bool(row.late_since),
                kept=(row.kept_bytes, row.moments),
            )

    def round(self, stop: threading.Event | None = None) -> int:
        """Look, copy what wants it, oldest change first, thin a little, note it all; returns how many copies were made."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._recover()
            self._mind_clock()
            self._watch.look()
        self._see_changes()
        made = 0
        for owner in self._in_turn():
            now = time.monotonic()
            if (stop and stop.is_set()) or now > self._look_at or now < self._resting_until:
                break
            made += self._copy(owner)
        self._thin_some()
        self._tell_late()
        self._write_notes()
        return made

    def _drill_oldest(self) -> None:
        """Now and then: clear away what is left over, and have a process of its own prove the oldest proofs anew."""
        if time.monotonic() < self._drill_at or (self._drill is not None and self._drill.poll() is None):
            return
        self._drill_at = time.monotonic() + DRILL_EVERY
        self.keeper.shelf(KEYRING).target.clear()
        previews.discard_old(self._tenancy)
        if drills.oldest(self._tenancy, 1):
            self._drill = start(self._tenancy, "drill", "--oldest", str(DRILLS))

    def _recover(self) -> None:
        self._reserve.mind()
        for tenant_id in self._tenancy.registry.sealed():
            try:
                if self._tenancy.placements.recover(tenant_id):
                    log.warning("seal_taken_away", tenant=tenant_id)
            except Exception as error:  # it is tried again at the next look
                log.warning("seal_stays", tenant=tenant_id, why=str(error)[:300])

    def _mind_clock(self) -> None:
        """Thin nothing for a day after the clock has leapt: by a wrong one all that is kept may look too old."""
        before, self._drift = self._drift, _drift()
        if abs(self._drift - before) > LEAP:
            self._thin_from = time.monotonic() + LEAP_REST
            log.warning("clock_leapt", seconds=round(self._drift - before))

    def _see_changes(self) -> None:
        """Note who was written to, once after each look, whoever looked."""
        look = self._watch.last
        if look.at <= self._looked_at:
            return
        self._looked_at = look.at
        found = look.signatures | {owner: signature_of(str(self.keeper.path(owner))) for owner in CENTRAL}
        for gone in self._watched.keys() - found.keys():
            del self._watched[gone]
            self._dirty.discard(gone)
        for owner, signature in found.items():
            watched = self._watched.get(owner) or self._watched.setdefault(owner, Watched())
            if not watched.dirty_since and (signature is None or not signature.is_as(watched.seen)):
                self._mark(owner, watched, look.at)

    def _mark(self, owner: str, watched: Watched, since: float) -> None:
        """Note that an owner wants a copy since then, or (0) that it wants none."""
        watched.dirty_since = since
        if since:
            self._dirty.add(owner)
        else:
            self._dirty.discard(owner)

    def _in_turn(self) -> list[str]:
        """Return the owners that want a copy now, the longest waiting first."""
        now = time.monotonic()
        if now < self._resting_until:
            return []
        sealed = self._tenancy.registry.sealed()
        wanted = [
            (watched.dirty_since, owner)
            for owner, watched in ((owner, self._watched[owner]) for owner in self._dirty)
            if watched.not_before <= now
            and (not watched.copied_at or watched.copied_at + watched.interval <= now)
            and owner not in sealed
        ]
        return [owner for _, owner in sorted(wanted)]

    def _copy(self, owner: str) -> bool:
        watched = self._watched[owner]
        try:
            self._require_room()
            copied = Context().run(self.keeper.copy, owner)
        except InUse as error:
            watched.misses += 1
            watched.not_before = time.monotonic() + (AGAIN if watched.misses < TRIES else REST)
            self._note_error(owner, watched, str(error) if watched.misses >= TRIES else "")
        except TargetDown as error:
            # This owner goes behind the others, who may find the place well: it may be its own shelf alone that is not.
            watched.not_before = time.monotonic() + LONGEST_REST
            self._take_rest()
            self._note_error(owner, watched, str(error))
        except (FreeholdError, OSError) as error:
            watched.not_before = time.monotonic() + LONGEST_REST
            self._note_error(owner, watched, str(error))
        except Exception as error:  # whatever it is, the others get their turn
            log.exception("copy_failed", owner=owner)
            watched.not_before = time.monotonic() + LONGEST_REST
            self._note_error(owner, watched, f"It failed: {type(error).__name__}.")
        else:
            self._note_copy(owner, watched, copied)
            return True
        return False

    def _take_rest(self) -> None:
        self._rest = min(max(self._rest * 2, REST), LONGEST_REST)
        self._resting_until = time.monotonic() + self._rest

    def _require_room(self) -> None:
        free, whole = self.keeper.shelf(KEYRING).target.room()
        if free < min(LEAST_ROOM, whole * ROOM_SHARE):
            raise TargetDown("There is hardly any room left for copies. Make room, or give them a larger disk.")

    def _note_copy(self, owner: str, watched: Watched, copied: Copied) -> None:
        now = time.monotonic()
        watched.copied_at = self._copied_at = now
        watched.misses, watched.not_before, self._rest = 0, 0.0, 0.0
        watched.interval = max(
            INTERVAL, SHARE * (copied.took - copied.held) if copied.header.page_count > 12_800 else 0.0
        )
        watched.seen = copied.signature if copied.is_clean else None
        self._mark(owner, watched, 0.0 if copied.is_clean else now)
        watched.is_late = False
        watched.kept = watched.kept[0] + copied.bytes, watched.kept[1] + 1
        if watched.seen and copied.found and copied.found.standing:
            self._sweeper.take(owner, watched.seen, copied.found.standing)
        self._note(
            owner,
            seq=copied.header.seq,
            at=copied.header.time,
            epoch=copied.header.epoch,
            event_id=copied.header.event_id,
            size=copied.header.page_count * 4096,
            interval=watched.interval,
            late_since=None,
            error="",
            signature=json.dumps(watched.seen) if watched.seen else "",
            kept_bytes=watched.kept[0],
            moments=watched.kept[1],
        )

    def _note_error(self, owner: str, watched: Watched, error: str) -> None:
        if error:
            log.warning("copy_not_made", owner=owner, why=error[:300])
            self._note(owner, error=error[:500])

    def _tell_late(self) -> None:
        now, late = time.monotonic(), 0
        for owner in self._dirty:
            watched = self._watched[owner]
            # While first copies are being made, one after the other, those that still wait for theirs are not late.
            began = watched.copied_at + watched.interval if watched.copied_at or watched.seen else self._copied_at
            waits = now - max(watched.dirty_since, began)
            if waits > LATE and not watched.is_late:
                watched.is_late = True
                late += 1
                self._note(owner, late_since=utcnow() - timedelta(seconds=waits))
        if late:
            log.warning("copies_late", owners=late)

    def _thin_some(self) -> None:
        """Thin those whose time has come, for a little while; the rest follows in the next rounds."""
        now = time.monotonic()
        until = now + THINNING
        if now < self._thin_from:
            return
        self._thin_turn = self._thin_turn or deque(self._watched)
        for owner in [self._thin_turn.popleft() for _ in range(min(THIN_LOOK, len(self._thin_turn)))]:
            watched = self._watched.get(owner)
            if watched and watched.thin_at <= now < until and now >= self._resting_until:
                self._thin(owner, watched)
                now = watched.thinned_at = time.monotonic()

    def _thin(self, owner: str, watched: Watched) -> None:
        days, share = self._tenancy.registry.keeping().get(owner, (CENTRAL_DAYS, CENTRAL_SHARE))
        try:
            kept, moments = self.keeper.thin(owner, utcnow(), KEYRING_DAYS if owner == KEYRING else days, share)
        except PackDamaged as error:
            with self.keeper.held(owner):
                drills.scrub(self.keeper.shelf(owner))
                self.keeper.start_anew(owner)
            self._mark(owner, watched, watched.dirty_since or time.monotonic())
            self._note_error(owner, watched, str(error))
        except (TargetDown, OSError) as error:
            log.warning("not_thinned", owner=owner, why=str(error))
        else:
            watched.kept = kept, moments
            self._note(owner, kept_bytes=kept, moments=moments)

    def _note(self, owner: str, **facts: Any) -> None:
        # The central files have no rows: a row about the ledger would be a change of the ledger.
        if owner not in CENTRAL:
            self._notes.setdefault(owner, {}).update(facts)

    def _write_notes(self) -> None:
        if not self._notes:
            return
        # A few at a time: others write to the ledger too. What could not be written is written in the next round.
        some = dict(islice(self._notes.items(), NOTES))
        try:
            with self._app.app_context(), platform_context(origin="archive"):
                for names, rows in _alike(some):
                    row = insert(TenantBackup)
                    told = {name: row.excluded[name] for name in names}
                    db.session.execute(row.on_conflict_do_update(index_elements=["tenant_id"], set_=told), rows)
                db.session.commit()
        except OperationalError as error:
            if "locked" not in str(error):
                raise
            return
        for owner in some:
            del self._notes[owner]


def _alike(notes: dict[str, dict[str, Any]]) -> Iterable[tuple[frozenset[str], list[dict[str, Any]]]]:
    """Return what is noted as whole rows, those together of which the same is told: one statement writes them all."""
    found: dict[frozenset[str], list[dict[str, Any]]] = {}
    for owner, facts in notes.items():
        row = {"tenant_id": owner, "seq": 0, "at": utcnow(), **_NOTHING, **facts}
        found.setdefault(frozenset(facts), []).append(row)
    return found.items()


def _drift() -> float:
    """Return by how much (s) the clock of the day is ahead of the one that only runs, a machine's sleep included."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


_NOTHING = {
    "epoch": 0, "event_id": 0, "size": 0, "kept_bytes": 0, "moments": 0, "interval": INTERVAL,
    "late_since": None, "error": "", "signature": "",
}  # fmt: skip
