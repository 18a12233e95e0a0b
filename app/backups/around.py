"""What happened around a moment, counted by kind from the event log of the living organisation.

The log keeps thirty days. Of what is older, and of what was put aside by going back, nothing is said rather than something
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, text

from app.backups.packs import PackDamaged
from app.backups.shelf import Moment, Shelf
from app.backups.standing import Return, returns_of
from app.facilities import events
from app.facilities.events import Event
from app.tenancy import db

_BEGINNING_OF_TIME, _END_OF_TIME = (each.replace(tzinfo=UTC) for each in (datetime.min, datetime.max))
WORDS = re.compile(r"[A-Z][a-z0-9]*")
_BEGINNING = select(select(text("epoch")).select_from(text("stamp")).scalar_subquery(), func.min(Event.id))


@dataclass(frozen=True)
class Scene:
    """A moment in a list: its time, and in a few words what had happened since the one before, "" for what is not known."""

    seq: int
    at: datetime
    happened: str
    is_ours: bool = True  # whether it led to how the organisation stands today


class Past:
    """The past of the living organisation: its log, and the spans of time that led to how it stands today.

    Going back puts a span aside. Its moments are kept, but what happened in it is not in the log any more.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._epoch, self._first = db.session.execute(_BEGINNING).one()
        self._returns = returns_of(shelf.owner)
        self._spans = _spans(self._returns)

    def is_ours(self, at: datetime) -> bool:
        """Tell whether a time is part of what led to today."""
        return any(after < at <= until for after, until in self._spans)

    def event_id(self, moment: Moment) -> int | None:
        """Return the newest event at a moment, None where the log does not tell."""
        if not self.is_ours(moment.at):
            return None
        try:
            header = self._shelf.header(moment)
        except PackDamaged:
            return None
        is_same = header.epoch == self._epoch or (self._returns and moment.at <= self._spans[0][0])
        # The newest event always stays, so where there is none there never was one.
        return header.event_id if is_same and header.event_id >= (self._first or 1) - 1 else None


def scenes(shelf: Shelf, moments: Sequence[Moment], before: Moment | None) -> list[Scene]:
    """Return `moments` (newest first) with what happened; `before` is the one older than the last of them."""
    past = Past(shelf)
    ends = [past.event_id(moment) for moment in [*moments, *([before] if before else [])]]
    return [
        Scene(moment.seq, moment.at, _counted(start, end), past.is_ours(moment.at))
        for moment, end, start in zip(moments, ends, [*ends[1:], None], strict=False)
    ]


def undone_by(shelf: Shelf, moment: Moment) -> list[tuple[str, int]] | None:
    """Return what has happened since a moment, (meaning, times), most first; None when the log does not reach back to it."""
    start = Past(shelf).event_id(moment)
    if start is None:
        return None
    meanings = {kind.name: kind.meaning.rstrip(".") for kind in events.kinds()}
    return [(meanings.get(name, spoken(name, 1)), count) for name, count in _kinds_between(start, None)]


def spoken(name: str, count: int) -> str:
    """Return a kind of event as people say it: "LinePosted", three times, is "3 lines posted"."""
    noun, *rest = (word.lower() for word in WORDS.findall(name))
    return " ".join([f"{count:,}", noun if count == 1 else plural(noun), *rest])


def plural(noun: str) -> str:
    """Return more than one of what an English noun names."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def _counted(start: int | None, end: int | None) -> str:
    if start is None or end is None:
        return ""
    return ", ".join(spoken(name, count) for name, count in _kinds_between(start, end))


def _kinds_between(start: int, end: int | None) -> list[tuple[str, int]]:
    found = select(Event.kind, func.count()).where(Event.id > start, *(() if end is None else (Event.id <= end,)))
    rows = db.session.execute(found.group_by(Event.kind)).tuples().all()
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _spans(returns: list[Return]) -> list[tuple[datetime, datetime]]:
    """Return the spans (after, until) of time that led to today, newest first; `returns` are newest first."""
    spans, until = [], _END_OF_TIME
    for back in returns:
        if back.since < until:
            spans.append((back.since, until))
            until = back.at
    return [*spans, (_BEGINNING_OF_TIME, until)]
