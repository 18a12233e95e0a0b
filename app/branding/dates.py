"""Days and times as pages print them, by the clocks of the site."""

from __future__ import annotations

from datetime import datetime

from jinja2 import pass_context
from jinja2.runtime import Context

from app.facilities.clock import local


@pass_context
def day(context: Context, dt: datetime | None) -> str:
    """Print the day of an aware moment, such as "7 March 2026"."""
    return f"{here(context, dt):%-d %B %Y}" if dt else ""


@pass_context
def moment(context: Context, dt: datetime | None, seconds: bool = False) -> str:
    """Print an aware moment to the minute or the second, such as "7 March 2026, 14:05 CET"."""
    wall = "%H:%M:%S" if seconds else "%H:%M"
    return f"{here(context, dt):%-d %B %Y, {wall} %Z}" if dt else ""


def here(context: Context, dt: datetime) -> datetime:
    """Return `dt` as the site's clocks show it; the platform's are UTC."""
    site = context.get("site")
    return local(dt, site.time_zone if site else "UTC")
