"""Which moments are kept: all of the last two hours, then fewer the older they are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Rung(NamedTuple):
    """Up to this age, one moment in each span; a span of nothing keeps all."""

    age: timedelta
    span: timedelta


RUNGS = (
    Rung(2 * HOUR, timedelta(0)),
    Rung(DAY, 10 * MINUTE),
    Rung(7 * DAY, HOUR),
    Rung(31 * DAY, DAY),
    Rung(366 * DAY, 31 * DAY),
)
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def kept(moments: Iterable[tuple[int, datetime]], now: datetime, days: int, coarser: int = 1) -> set[int]:
    """Return the numbers of the moments to keep of `moments`, (number, time) in the order in which they were made.

    Each span keeps its last one; spans lie at fixed times, so what an older rung keeps, the younger ones kept before it. The
    newest is always kept, and so are those of a future that a clock had foreseen. `coarser` keeps that many times fewer.
    """
    chosen: dict[object, int] = {}
    newest = None
    for number, at in moments:
        newest = number
        age = now - at
        if age > timedelta(days=days):
            continue
        rung = next((rung for rung in RUNGS if age * coarser <= rung.age), RUNGS[-1])
        span = max(rung.span, timedelta(0)) * coarser
        slot = number if not span else (span, (at - EPOCH) // span)
        chosen[slot] = number
    return set(chosen.values()) | ({newest} if newest is not None else set())
