"""For whom a page is written: by whose clocks, and as in which language its dates, times and numbers stand.

The words of the desk are English for now: this is about dates, times and numbers alone (CLDR, by Babel). No backend that could
be down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_decimal

from app.facilities import clock

ENGLISH = "en-GB"
# BCP 47 tags, each with the name that its speakers use.
LANGUAGES = {
    ENGLISH: "English (UK)",
    "en-US": "English (US)",
    "ca": "Català",
    "cs": "Čeština",
    "cy": "Cymraeg",
    "da": "Dansk",
    "de": "Deutsch",
    "es": "Español",
    "fr": "Français",
    "ga": "Gaeilge",
    "it": "Italiano",
    "nl": "Nederlands",
    "nb": "Norsk bokmål",
    "pl": "Polski",
    "pt": "Português",
    "ro": "Română",
    "fi": "Suomi",
    "sv": "Svenska",
}
SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Reader:
    """Whoever reads: their language (BCP 47, one of `LANGUAGES`) and the zone of their clocks (IANA)."""

    language: str = ENGLISH
    time_zone: str = "UTC"

    def local(self, at: datetime) -> datetime:
        """Return an aware moment as their clocks show it."""
        return clock.local(at, self.time_zone)

    def day(self, at: datetime) -> str:
        """Return the day of a moment, such as "7 March 2026"."""
        return format_date(self.local(at), "long", _locale(self.language))

    def weekday(self, at: datetime) -> str:
        """Return the day of a moment with its name, such as "Saturday, 7 March 2026"."""
        return format_date(self.local(at), "full", _locale(self.language))

    def time(self, at: datetime, seconds: bool = False) -> str:
        """Return the time of day, such as "14:05" or "14:05:09"."""
        return format_time(self.local(at), "medium" if seconds else "short", locale=_locale(self.language))

    def date_time(self, at: datetime, seconds: bool = False) -> str:
        """Return day and time, to the minute or the second, such as "7 March 2026, 14:05"."""
        return f"{self.day(at)}, {self.time(at, seconds)}"

    def moment(self, at: datetime, seconds: bool = False) -> str:
        """Return day and time with their zone, such as "7 March 2026, 14:05 CET"."""
        return f"{self.date_time(at, seconds)} {self.local(at):%Z}"

    def number(self, value: float) -> str:
        """Return a number, such as "1,234"."""
        return format_decimal(value, locale=_locale(self.language))

    def size(self, count: int) -> str:
        """Return so many bytes in a unit that suits them, such as "1.5 GiB"."""
        power = min((max(count, 1).bit_length() - 1) // 10, len(SIZES) - 1)
        shown = format_decimal(count / (1 << 10 * power), "#,##0.0" if power else "#,##0", _locale(self.language))
        return f"{shown} {SIZES[power]}"


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language, sep="-")


_given: ContextVar[Reader | None] = ContextVar("reader", default=None)
# Who reads the page of the request at hand, None where nobody is known; and by whose clocks the house lives. Modules say so.
_finders: list[Callable[[], Reader | None]] = []
_zones: list[Callable[[], str]] = []


def knows_reader(find: Callable[[], Reader | None]) -> None:
    """Have `find()` say who reads the page of the request at hand, None where it is for anybody."""
    _finders[:] = [find]


def lives_by(zone: Callable[[], str]) -> None:
    """Have `zone()` say by which clocks (IANA name) the current organisation lives."""
    _zones[:] = [zone]


def house_zone() -> str:
    """Return the zone by whose clocks the current organisation lives; the platform's are UTC."""
    return _zones[0]() if _zones else "UTC"


def current_reader() -> Reader:
    """Return whoever reads what is being printed: a person by their own clocks, anybody by the organisation's."""
    return _given.get() or (_finders and _finders[0]()) or Reader(time_zone=house_zone())


@contextmanager
def written_for(reader: Reader) -> Iterator[None]:
    """Print for that reader, whoever asks."""
    token = _given.set(reader)
    try:
        yield
    finally:
        _given.reset(token)
