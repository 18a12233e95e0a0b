"""A picture of the time that can be gone back to: five spans, each longer ago and longer, cut into equal slots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log2

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SPANS = (
    # label, from this age, down to this one, slots
    ("Last year", 366 * DAY, 31 * DAY, 11),
    ("Last month", 31 * DAY, 7 * DAY, 24),
    ("Last week", 7 * DAY, DAY, 24),
    ("Last day", DAY, 2 * HOUR, 22),
    ("Last 2 hours", 2 * HOUR, timedelta(0), 24),
)
TALLEST = 6.0  # moments in a slot, as a power of two, that fill it


@dataclass(frozen=True)
class Bar:
    """One slot that holds moments: where it stands (slots from the left) and how tall it is, of 10."""

    place: int
    height: float
    count: int


@dataclass(frozen=True)
class Span:
    """One part of the picture; `newest` is the time of its newest moment, None when it holds none."""

    label: str
    slots: int
    bars: tuple[Bar, ...]
    count: int
    newest: datetime | None


def drawn(times: Iterable[datetime], now: datetime) -> list[Span]:
    """Return the picture of moments at these times, the oldest span first; what is older than a year stands in its first slot."""
    ages = [(max(now - at, timedelta(0)), at) for at in times]
    return [_span(*span, ages) for span in SPANS]


def _span(
    label: str, oldest: timedelta, youngest: timedelta, slots: int, ages: list[tuple[timedelta, datetime]]
) -> Span:
    is_first = oldest == SPANS[0][1]
    inside = [(age, at) for age, at in ages if (age < oldest or is_first) and age >= youngest]
    counts: dict[int, int] = {}
    for age, _ in inside:
        place = min(int((oldest - age) / (oldest - youngest) * slots), slots - 1)
        counts[max(place, 0)] = counts.get(max(place, 0), 0) + 1
    bars = tuple(Bar(place, _height(count), count) for place, count in sorted(counts.items()))
    return Span(label, slots, bars, len(inside), max((at for _, at in inside), default=None))


def _height(count: int) -> float:
    return round(min(3.5 + 6.5 * log2(count) / TALLEST, 10.0), 2)
