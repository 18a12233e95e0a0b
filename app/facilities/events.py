"""Everything that happens in one tenant, in its own file, written in the transaction of the change it records.

A verb records an event; `@react` handlers answer it at once, in the same transaction; `@later` handlers answer it in a job of
their own; open pages hear of it by `live`. One writer per file makes the order of ids the order of commits, so whoever
remembers an id can go on exactly there. Events are kept for thirty days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import JSON, bindparam, delete, event, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from app.facilities import doorbell
from app.tenancy import TenantModel, Timestamp, current_tenant, db, due, utcnow
from app.tenancy.binding import BoundSession
from app.tenancy.due import Due
from app.tenancy.jobs import MOST_TRIES, every, job

KEPT = timedelta(days=30)
NOBODY = "nobody"

Handler = Callable[["Event"], None]
Audience = Callable[[str, frozenset[int]], set[int]]


@dataclass(frozen=True)
class Kind:
    """A kind of fact: its name in the past tense, what it means, what it is about, and what its payload says (ids only)."""

    name: str
    meaning: str
    subject: str
    payload: dict[str, str] = field(default_factory=dict)


class Position(NamedTuple):
    """A place in a tenant's log: the life of its file (`epoch`, a mark that no other file has) and the id of an event."""

    epoch: str
    id: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.id}"

    @classmethod
    def read(cls, given: str) -> Position | None:
        """Return what `given` says, None for what is no position."""
        epoch, _, number = given.partition("-")
        sound = len(epoch) == 8 and epoch.isalnum() and number.isascii() and number.isdigit() and len(number) < 19
        return cls(epoch, int(number)) if sound else None


class Event(TenantModel):
    """A fact. `actor` is the id of the person who brought it about, None for visitors and for the system."""

    __tablename__ = "event"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]  # such as "line:12"
    audience: Mapped[str]  # such as "members" or "room:5"
    actor: Mapped[int | None]
    payload: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @property
    def subject_id(self) -> int:
        """The id of the row that the event is about."""
        return int(self.subject.rpartition(":")[2])


# Built once: live asks them at every look into a file.
_END = select(select(text("epoch")).select_from(text("stamp")).scalar_subquery(), func.max(Event.id))
_AFTER = select(Event).where(Event.id > bindparam("event_id")).order_by(Event.id).limit(bindparam("most"))

_kinds: dict[str, Kind] = {}
_reactions: dict[str, list[Handler]] = {}
_jobs: dict[str, list[str]] = {}
_audiences: dict[str, Audience] = {}


def kind(name: str, meaning: str, *, subject: str, payload: dict[str, str] | None = None) -> Kind:
    """Declare a kind of event; raises `ValueError` when another one has its name."""
    declared = Kind(name, meaning, subject, payload or {})
    if _kinds.setdefault(name, declared) != declared:
        raise ValueError(f"Two kinds of event are called {name!r}; give one of them another name.")
    return declared


def kinds() -> tuple[Kind, ...]:
    """Return every declared kind, by name."""
    return tuple(_kinds[name] for name in sorted(_kinds))


def handlers(name: str) -> list[str]:
    """Return what answers events of that kind, for people to read."""
    at_once = [f"{handler.__module__}.{handler.__name__}" for handler in _reactions.get(name, ())]
    return [*at_once, *(f"job {task}" for task in _jobs.get(name, ()))]


def audience(name: str) -> Callable[[Audience], Audience]:
    """Register who may see events for the audience "name" or "name:key": those of `people` (ids) who may at this moment."""

    def register(rule: Audience) -> Audience:
        _audiences[name] = rule
        return rule

    return register


@audience(NOBODY)
def nobody(key: str, people: frozenset[int]) -> set[int]:
    """No one: the event is for handlers alone."""
    return set()


def may_see(whom: str, people: Iterable[int]) -> set[int]:
    """Return those of `people` who may see, now, what is meant for the audience `whom`; nobody for an unknown one."""
    name, _, key = whom.partition(":")
    rule, asked = _audiences.get(name), frozenset(people)
    return set(rule(key, asked)) & asked if rule and asked else set()


def react(*names: str) -> Callable[[Handler], Handler]:
    """Have the function below answer events of these kinds in the writer's transaction. It touches this tenant's file only."""

    def register(handler: Handler) -> Handler:
        for name in names:
            known = _reactions.setdefault(name, [])
            if not any(_same(handler, other) for other in known):
                known.append(handler)
        return handler

    return register


def later(*names: str, name: str, timeout: int = 60, tries: int = MOST_TRIES) -> Callable[[Handler], Handler]:
    """Have the function below answer events of these kinds in the job `name`; it must be safe to run twice."""

    def register(handler: Handler) -> Handler:
        def answer(event_id: int) -> None:
            found = db.session.get(Event, event_id)
            if found is not None:
                handler(found)

        answer.__qualname__ = f"{handler.__module__}.{handler.__qualname__}"
        job(name, timeout=timeout, tries=tries)(answer)
        for each in names:
            if name not in _jobs.setdefault(each, []):
                _jobs[each].append(name)
        return handler

    return register


def record(kind: Kind, subject_id: int, *, audience: str, by: int | None = None, **payload: Any) -> Event:
    """Add an event to the writer's transaction and let its handlers answer; the caller commits.

    Raises `ValueError` for an audience that nobody answers for, or a payload that the kind does not declare.
    """
    if audience.partition(":")[0] not in _audiences:
        raise ValueError(f"Nobody answers for the audience {audience!r}. Register it with @events.audience.")
    if set(payload) != set(kind.payload):
        raise ValueError(f"{kind.name} says {sorted(kind.payload)}, and was given {sorted(payload)}.")
    subject = f"{kind.subject}:{subject_id}"
    recorded = Event(kind=kind.name, subject=subject, audience=audience, actor=by, payload=payload)
    db.session.add(recorded)
    db.session.flush()
    db.session.info["ring"] = recorded.id
    for name in _jobs.get(kind.name, ()):
        due.add(name, {"event_id": recorded.id}, event_id=recorded.id)
    for handler in _reactions.get(kind.name, ()):
        handler(recorded)
    return recorded


def work_for(event: Event, job: str) -> Due:
    """Return the row of the job of that name that is to answer an event; raises `NoResultFound` for one that is done."""
    return db.session.scalars(select(Due).where(Due.event_id == event.id, Due.job == job)).one()


def position() -> Position:
    """Return the end of the current tenant's log."""
    epoch, last = db.session.execute(_END).one()
    return Position(_mark(epoch), last or 0)


def first_id() -> int | None:
    """Return the id of the oldest event that is still kept, None when there is none."""
    return db.session.scalar(select(func.min(Event.id)))


def since(event_id: int, limit: int) -> list[Event]:
    """Return the events after that id, in order, `limit` at most."""
    return list(db.session.scalars(_AFTER, {"event_id": event_id, "most": limit}))


def can_resume(at: Position, end: Position) -> bool:
    """Tell whether whoever has seen all up to `at` can go on from there: the same life, nothing forgotten, nothing to come."""
    if at.epoch != end.epoch or at.id > end.id:
        return False
    first = first_id()
    return first is None or at.id >= first - 1


@every("H H(1-5) * * H", name="events.retire")
def retire() -> None:
    """Forget the events of more than thirty days, oldest first, up to one that still has work waiting; keep the newest."""
    young = select(func.min(Event.id)).where(Event.created_at > utcnow() - KEPT)
    waiting = select(func.min(Due.event_id)).where(Due.set_aside_at.is_(None))
    bounds = [young, waiting, select(func.max(Event.id))]
    least = min((bound for bound in (db.session.scalar(each) for each in bounds) if bound is not None), default=0)
    db.session.execute(delete(Event).where(Event.id < least))


def _mark(epoch: int) -> str:
    """Return eight hex digits for one life of the current tenant's file; no other tenant has the same."""
    return hashlib.sha256(f"{current_tenant().id}:{epoch}".encode()).hexdigest()[:8]


def _same(one: Handler, other: Handler) -> bool:
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


# Whoever waits for news of this tenant hears of it after the commit, once.


def _ring(session: BoundSession) -> None:
    if session.tenant_id is not None and not session.in_nested_transaction() and session.info.pop("ring", None):
        doorbell.ring(session.tenant_id)


def _forget(session: BoundSession) -> None:
    if not session.in_nested_transaction():
        session.info.pop("ring", None)


event.listen(BoundSession, "after_commit", _ring)
event.listen(BoundSession, "after_rollback", _forget)
