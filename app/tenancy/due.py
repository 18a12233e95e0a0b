"""What is still to be done in one tenant: rows in its own file, written in the transaction that wants the work.

A row is waiting (no holder), on its way (held by the queue), running (held by a process) or set aside. The row is the
truth; what travels through Valkey only points at it, so that nothing is lost with Valkey, and nothing is done twice.
All functions work on the current tenant; the caller commits.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from croniter import croniter
from sqlalchemy import JSON, ClauseElement, ColumnElement, Compiled, and_, bindparam, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy.binding import TenantModel, db
from app.tenancy.context import ResolvedTenant, current_tenant
from app.tenancy.database import Connection, Dialect, Timestamp, as_microseconds, as_moment, utcnow

QUEUE = "queue"
ON_ITS_WAY = timedelta(seconds=2)  # from reserving a row to finding it in the queue or running
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(hours=1)
BEYOND_TIMEOUT = timedelta(minutes=1)  # that another machine's process may take to be ended
ERROR_LENGTH = 500
TURNS_KNOWN = 65_536


class Due(TenantModel):
    """One piece of work. `event_id` is the event it answers, `schedule` the name of the schedule that it is the next turn of."""

    __tablename__ = "due"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    event_id: Mapped[int | None]
    schedule: Mapped[str | None] = mapped_column(unique=True)
    run_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)
    attempts: Mapped[int] = mapped_column(default=0)  # how often it was begun
    holder: Mapped[str] = mapped_column(default="")  # "", "queue", or the process that runs it
    leased_until: Mapped[datetime | None] = mapped_column(Timestamp)
    error: Mapped[str] = mapped_column(default="")  # of the last attempt
    set_aside_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Reserved(NamedTuple):
    """A row that was given to the queue: enough to point at it."""

    id: int
    job: str
    attempts: int


class Held(NamedTuple):
    """A row that is on its way or running."""

    id: int
    job: str
    attempts: int
    holder: str
    leased_until: datetime | None

    @property
    def is_abandoned(self) -> bool:
        """Whether it was running in a process that is gone."""
        return self.holder != QUEUE and is_over(self.holder, self.leased_until)


@dataclass(frozen=True)
class Backlog:
    """What stands in one tenant's file; what is in hand waits too. `next_at` is when to look again, None when nothing comes."""

    waiting: int
    oldest_at: datetime | None
    set_aside: int
    next_at: datetime | None


@dataclass(frozen=True)
class Standing:
    """What one look at a file finds. `is_still` tells that nothing is to be written: no turn has come, no schedule is missing."""

    backlog: Backlog
    held: tuple[Held, ...]
    is_still: bool


def add(job: str, arguments: dict[str, Any], *, event_id: int | None = None, run_at: datetime | None = None) -> Due:
    """Add work that is to be done after the commit, or not before `run_at`."""
    row = Due(job=job, arguments=arguments, event_id=event_id, run_at=run_at or utcnow())
    db.session.add(row)
    touch()
    return row


def touch() -> None:
    """Have the commit of this transaction give to the queue what has its turn."""
    db.session.info["due"] = True


def reserve() -> list[Reserved]:
    """Mark the next rows as on their way, as many as the tenant's share has room for, and return them."""
    held = db.session.scalar(select(func.count()).select_from(Due).where(Due.holder != "")) or 0
    room = max(current_tenant().max_jobs - held, 0)
    if not room:
        return []
    rows = db.session.scalars(select(Due).where(is_ready()).order_by(Due.run_at, Due.id).limit(room)).all()
    for row in rows:
        row.holder, row.leased_until = QUEUE, utcnow() + ON_ITS_WAY
    return [Reserved(row.id, row.job, row.attempts) for row in rows]


def claim(due_id: int, timeout: int) -> Due | None:
    """Take a row to run it in this process, for `timeout` seconds; None when it is done, set aside or another's."""
    now = utcnow()
    mine = (
        update(Due)
        .where(Due.id == due_id, Due.set_aside_at.is_(None), Due.holder.in_(("", QUEUE)), _has_come(now))
        .values(
            holder=this_process(),
            leased_until=now + timedelta(seconds=timeout) + BEYOND_TIMEOUT,
            attempts=Due.attempts + 1,
        )
    )
    if not db.session.execute(mine).rowcount:  # type: ignore[attr-defined]
        return None
    return db.session.get(Due, due_id, populate_existing=True)


def finish(due_id: int, cron: str | None) -> None:
    """Note that the work is done: the row goes, or, for a schedule, waits for its next turn."""
    row = db.session.get(Due, due_id)
    if row is not None and cron:
        row.run_at, row.attempts, row.error = next_turn(cron, current_tenant().id), 0, ""
        _put_down(row)
    elif row is not None:
        db.session.delete(row)
    touch()


def fail(due_id: int, error: str, tries: int) -> bool:
    """Note a failure: the row waits longer each time, and is set aside after `tries`; returns whether these are used up.

    A schedule is not set aside: it rests for the longest pause and begins anew.
    """
    row = db.session.get(Due, due_id)
    if row is None:
        return False
    row.error = error[:ERROR_LENGTH]
    is_last = row.attempts >= tries
    if is_last and row.schedule:
        row.attempts, row.run_at = 0, utcnow() + LONGEST_PAUSE
    elif is_last:
        row.set_aside_at = utcnow()
    else:
        row.run_at = utcnow() + _pause(row.attempts)
    _put_down(row)
    touch()
    return is_last


def give_back(due_id: int) -> None:
    """Let a row wait again whose run was stopped by us: that is not its failure.

    The sweeper brings it. Brought at once, under the name that this attempt had, it would go with what is cleared away here.
    """
    row = db.session.get(Due, due_id)
    if row is not None:
        row.attempts -= 1
        _put_down(row)


def free_abandoned(tries_of: dict[str, int], lost: frozenset[int] = frozenset()) -> int:
    """Let the rows wait again whose process is gone, and those of `lost` that the queue has lost; returns how many.

    A row whose process died as often as it has tries is set aside: it may be what kills them.
    """
    freed = 0
    for row in db.session.scalars(select(Due).where(Due.holder != "")):
        if row.holder == QUEUE:
            if row.id not in lost:
                continue
            _put_down(row)
        elif is_over(row.holder, row.leased_until):
            fail(row.id, "The process that ran it ended in the middle.", tries_of.get(row.job, 1))
        else:
            continue
        freed += 1
        touch()
    return freed


def retry(numbers: Iterable[int] | None = None) -> int:
    """Let rows that were set aside, these or all, try again from the beginning; returns how many."""
    aside = Due.set_aside_at.is_not(None)
    chosen = aside if numbers is None else and_(aside, Due.id.in_(numbers))
    again = update(Due).where(chosen).values(set_aside_at=None, attempts=0, run_at=utcnow())
    touch()
    return int(db.session.execute(again).rowcount)  # type: ignore[attr-defined]


def plant(schedules: dict[str, str]) -> None:
    """Have exactly one row for each schedule, {job: cron}. A turn that a leap of the clock put too far away is moved."""
    rows = {row.schedule: row for row in db.session.scalars(select(Due).where(Due.schedule.is_not(None)))}
    tenant_id = current_tenant().id
    for name, cron in schedules.items():
        row = rows.pop(name, None)
        if row is None:
            db.session.add(Due(job=name, schedule=name, arguments={}, run_at=next_turn(cron, tenant_id)))
        elif _is_too_far(row, cron):
            row.run_at = next_turn(cron, tenant_id)
    for row in rows.values():
        db.session.delete(row)
    touch()


def next_turn(cron: str, tenant_id: str) -> datetime:
    """Return the next moment of a cron expression (UTC); "H" in it is a number of the tenant's own, which spreads the load."""
    key, minute = (cron, tenant_id), utcnow().replace(second=0, microsecond=0)
    asked, turn = _turns.get(key, (minute, minute))
    if not asked <= minute < turn:
        # Half a millisecond; the sweeper asks for each schedule of each busy tenant, and the answer stands until that turn.
        turn = croniter(cron, minute, hash_id=key[1]).get_next(datetime)
        if len(_turns) >= TURNS_KNOWN:
            _turns.clear()
        _turns[key] = (minute, turn)
    return turn


def _is_too_far(row: Due, cron: str) -> bool:
    return not row.holder and not row.attempts and row.run_at > next_turn(cron, current_tenant().id)


def standing(connection: Connection, tenant: ResolvedTenant, schedules: dict[str, str]) -> Standing:
    """Return what stands in a tenant's file, by an open connection to it.

    In plain statements, because it is asked of every file that was written to, wherever one is open already.
    """
    now = utcnow()
    moments = {"now": as_microseconds(now), "never": as_microseconds(now + LONGEST_PAUSE * 1.5)}
    waiting, oldest, aside, taken, ready, coming = _asked(connection, _COUNTED, moments)[0]
    # While the tenant's share is taken, the end of what runs is what brings the next.
    coming = coming if taken < tenant.max_jobs else None
    rows = _asked(connection, _HELD) if taken else []
    held = tuple(Held(number, job, attempts, holder, as_moment(until)) for number, job, attempts, holder, until in rows)
    turns = {name: row for name, *row in _asked(connection, _SCHEDULED)}
    is_still = (
        not ready
        and not any(row.is_abandoned for row in held)
        and turns.keys() == schedules.keys()
        and not any(
            run_at > as_microseconds(next_turn(schedules[name], tenant.id))
            for name, (holder, attempts, run_at) in turns.items()
            if not holder and not attempts
        )
    )
    return Standing(Backlog(waiting, as_moment(oldest), aside, as_moment(coming)), held, is_still)


def _asked(connection: Connection, question: Compiled, values: dict[str, int] | None = None) -> list[tuple[Any, ...]]:
    return connection.execute(str(question), question.construct_params(values or {})).fetchall()


def is_ready() -> ColumnElement[bool]:
    """Say, as SQL, whether a row waits and its turn has come."""
    return and_(Due.set_aside_at.is_(None), Due.holder == "", _has_come(utcnow()))


def _has_come(now: Any, never: Any = None) -> ColumnElement[bool]:
    """Say whether a row's turn has come; no pause is longer than the longest, whatever the clock was when it began."""
    never = now + LONGEST_PAUSE * 1.5 if never is None else never
    return or_(Due.run_at <= now, and_(Due.attempts > 0, Due.run_at > never))


def _counted() -> ClauseElement:
    now, never = bindparam("now", type_=Timestamp), bindparam("never", type_=Timestamp)
    is_open, is_taken = Due.set_aside_at.is_(None), Due.holder != ""
    waits = and_(is_open, or_(Due.run_at <= now, is_taken))
    return select(
        func.count().filter(waits),
        func.min(Due.run_at).filter(waits),
        func.count().filter(Due.set_aside_at.is_not(None)),
        func.count().filter(is_taken),
        func.count().filter(is_open, Due.holder == "", _has_come(now, never)),
        func.min(Due.run_at).filter(is_open, Due.holder == ""),
    ).select_from(Due)


def _compiled(statement: ClauseElement) -> Compiled:
    return statement.compile(dialect=Dialect(paramstyle="named"))


_COUNTED = _compiled(_counted())
_HELD = _compiled(select(Due.id, Due.job, Due.attempts, Due.holder, Due.leased_until).where(Due.holder != ""))
_SCHEDULED = _compiled(select(Due.schedule, Due.holder, Due.attempts, Due.run_at).where(Due.schedule.is_not(None)))
_turns: dict[tuple[str, str], tuple[datetime, datetime]] = {}  # (cron, tenant): when it was asked, and the answer


def _put_down(row: Due) -> None:
    row.holder, row.leased_until = "", None


def _pause(attempts: int) -> timedelta:
    doubled = FIRST_PAUSE * 2 ** min(attempts - 1, 20)
    return min(doubled, LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311


# Who holds a row: on the same machine it can be seen at once whether that process still is, without waiting for a lease.


def this_process() -> str:
    """Return a name of this process that no other ever had: machine, number, moment of its start."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}"


def is_over(holder: str, leased_until: datetime | None) -> bool:
    """Tell whether a holder is gone: its process ended, or, on another machine, its lease ran out."""
    machine, _, process = holder.partition("/")
    if machine != _machine():
        return leased_until is None or leased_until < utcnow()
    number, _, started = process.partition("/")
    return _started(int(number)) != started


@cache
def _machine() -> str:
    # A container has its own numbers of processes, so it counts as another machine.
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text()[:13]}-{Path('/proc/self/ns/pid').stat().st_ino}"


def _started(number: int) -> str:
    """Return when a process began (in ticks since the machine did), "" when there is none or it has ended."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
