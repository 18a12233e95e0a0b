"""What time it is, for the platform (UTC) and for an organisation (its zone). No backend that could be down."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """Return the IANA zone of that name, such as "Europe/Berlin"; UTC for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


@cache
def time_zones() -> tuple[tuple[str, str], ...]:
    """Return the zones that people know by a city, as choices: the name, and how it is shown."""
    cities = (name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
    return (("UTC", "UTC"), *((name, name.replace("_", " ").replace("/", " / ")) for name in sorted(cities)))


def local(dt: datetime, zone_name: str) -> datetime:
    """Return an aware `dt` as the clocks in the zone of that name show it."""
    return dt.astimezone(zone(zone_name))


def from_local(wall: datetime, zone_name: str) -> datetime:
    """Return, in UTC, the moment when clocks in that zone show the naive `wall`.

    An hour that occurs twice means its first time; one that is skipped means the moment just after the skip.
    """
    return wall.replace(tzinfo=zone(zone_name)).astimezone(UTC)
