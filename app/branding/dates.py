"""Dates, times and numbers as pages print them: for whoever reads the page and, on the site, for all visitors alike."""

from __future__ import annotations

from datetime import datetime, timedelta

from jinja2 import pass_context
from jinja2.runtime import Context

from app.facilities.reader import Reader, current_reader
from app.tenancy import utcnow

NEAR = timedelta(days=14)


def day(at: datetime | None) -> str:
    """Print the day of an aware moment, such as "7 March 2026"."""
    return current_reader().day(at) if at else ""


def time_of_day(at: datetime, seconds: bool = False) -> str:
    """Print the time of day of an aware moment, such as "14:05" or "14:05:09"."""
    return current_reader().time(at, seconds)


def date_time(at: datetime, seconds: bool = False) -> str:
    """Print an aware moment where the page says by which clocks, such as "7 March 2026, 14:05"."""
    return current_reader().date_time(at, seconds)


def moment(at: datetime | None, seconds: bool = False) -> str:
    """Print an aware moment to the minute or the second, such as "7 March 2026, 14:05 CET"."""
    return current_reader().moment(at, seconds) if at else ""


def is_near(at: datetime) -> bool:
    """Tell whether an aware moment is within two weeks of now."""
    return abs(utcnow() - at) < NEAR


def number(value: float) -> str:
    """Print a number, such as "1,234"."""
    return current_reader().number(value)


def size(count: int) -> str:
    """Print so many bytes, such as "1.5 GiB"."""
    return current_reader().size(count)


@pass_context
def site_day(context: Context, at: datetime | None) -> str:
    """Print the day of an aware moment by the site's clocks, the same for whoever looks: these pages are kept."""
    return Reader(time_zone=context["site"].time_zone).day(at) if at else ""


FILTERS = {each.__name__: each for each in (day, time_of_day, date_time, moment, is_near, number, size, site_day)}
