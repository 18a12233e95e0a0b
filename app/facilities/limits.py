"""What a plan allows, in named meters, and how much of each is used.

A module names its meter once and asks `require` before the work begins, in the transaction that will do it: the write lock
is held by then, so two requests cannot both take the last place. Caps stand in the registry: the plan's, or an exception for one
tenant; a meter without one has no limit. Reading and export are never asked for. It needs no Valkey, and so works without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from app.facilities import events
from app.tenancy import ResolvedTenant, TenantModel, current_tenant, db, utcnow
from app.tenancy.errors import QuotaExceeded, in_words
from app.tenancy.lifecycle import shows

NEARLY, FULL = 80, 100  # percent at which the owners are told
SPARE = 1 << 20  # bytes; with less room than that, storage counts as full
TOMORROW = "Tomorrow there is room again."
REMOVE = "Remove something, or ask for a larger plan."

LIMIT_NEARED = events.kind(
    "LimitNeared",
    "So much of what the plan allows is used that the owners are told, once at 80 percent and once at 100.",
    subject="meter",
    payload={"meter": "name of the meter, such as `users`", "percent": "80 or 100"},
)


class Tally(TenantModel):
    """What a tenant's file remembers of one meter: how far the owners were told, and the count of a day."""

    __tablename__ = "meter"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    told: Mapped[int] = mapped_column(default=0)  # percent
    day: Mapped[str] = mapped_column(default="")  # such as 2026-11-22, in UTC
    count: Mapped[int] = mapped_column(default=0)  # of that day

    @classmethod
    def of(cls, name: str) -> Tally:
        """Return the row of a meter, a new one where there is none."""
        found = db.session.scalar(select(cls).where(cls.name == name))
        if found is None:
            found = cls(name=name, told=0, day="", count=0)
            db.session.add(found)
            db.session.flush()
        return found

    @classmethod
    def today(cls, name: str) -> int:
        """Return what was counted since midnight UTC."""
        return db.session.scalar(select(cls.count).where(cls.name == name, cls.day == _day())) or 0


@dataclass(frozen=True)
class Meter:
    """Something of which a plan allows so much. `unit` "bytes" is printed as KiB, MiB…; without `counter` days are counted."""

    name: str
    label: str
    unit: str
    counter: Callable[[], int] | None

    @property
    def is_daily(self) -> bool:
        """Whether it begins anew each day."""
        return self.counter is None

    def used(self) -> int:
        """Return how much of it the current tenant uses."""
        return Tally.today(self.name) if self.counter is None else self.counter()


@dataclass(frozen=True)
class Use:
    """How one meter stands at the current tenant; a cap of None is no limit."""

    name: str
    label: str
    unit: str
    used: int
    cap: int | None
    is_daily: bool = False

    @property
    def share(self) -> float | None:
        """How much of the cap is used, 1.0 for all of it; None without a cap."""
        return None if self.cap is None else self.used / self.cap if self.cap else 1.0

    @property
    def percent(self) -> int:
        """The last mark that is reached: 0, 80 or 100."""
        if self.cap is None:
            return 0
        spare = SPARE if self.unit == "bytes" and self.cap > SPARE else 0
        return FULL if self.used + spare >= self.cap else NEARLY if self.used * 100 >= self.cap * NEARLY else 0

    @property
    def words(self) -> str:
        """What an owner is to know, "" while there is room."""
        if not self.percent:
            return ""
        taken = in_words(self.used, "bytes" if self.unit == "bytes" else "")
        so_much = f"{self.label}: {taken} of {in_words(self.cap or 0, self.unit)}"
        if self.percent < FULL:
            return f"{so_much}. There is little room left."
        return f"{so_much}. Nothing can be added. {TOMORROW if self.is_daily else REMOVE}"


_meters: dict[str, Meter] = {}


def meter(name: str, *, unit: str, label: str, used: Callable[[], int] | None = None) -> Meter:
    """Name a meter. `used` tells how much the current tenant uses; without it, what `spend` counts in a day (UTC).

    Raises `ValueError` when another meter has the name.
    """
    declared = Meter(name, label, unit, used)
    known = _meters.setdefault(name, declared)
    if (known.label, known.unit, known.is_daily) != (label, unit, used is None):
        raise ValueError(f"Two meters are called {name!r}; give one of them another name.")
    return known


def meters() -> tuple[Meter, ...]:
    """Return every meter in the order in which they were named."""
    return tuple(_meters.values())


def require(name: str, amount: int = 1) -> None:
    """Raise `QuotaExceeded` when the plan has no room for `amount` more; the owners are told when it grows tight.

    Call it in the transaction that takes the room, before the work. Raises `KeyError` for a meter that nobody named.
    """
    asked, cap = _meters[name], current_tenant().cap(name)
    if cap is None:
        return
    used = asked.used()
    if used + amount > cap:
        after = TOMORROW if asked.is_daily else REMOVE
        raise QuotaExceeded(name, cap, used, label=asked.label, unit=asked.unit, after=after)
    _tell(_use(asked, used + amount, cap))


def spend(name: str, amount: int = 1) -> None:
    """Count `amount` on a meter of the day, in the caller's transaction; raises `QuotaExceeded` as `require` does."""
    require(name, amount)
    row = Tally.of(name)
    row.day, row.count = _day(), (row.count if row.day == _day() else 0) + amount


def uses() -> list[Use]:
    """Return how every meter stands at the current tenant."""
    tenant = current_tenant()
    return [_use(each, each.used(), tenant.cap(each.name)) for each in meters()]


def nearing() -> list[Use]:
    """Return the meters that the owners were told about and that still stand so; one small query when there is none."""
    told = db.session.scalars(select(Tally.name).where(Tally.told > 0)).all()
    tenant = current_tenant()
    found = [_use(each, each.used(), tenant.cap(each.name)) for each in meters() if each.name in told]
    return [use for use in found if use.percent]


def _use(asked: Meter, used: int, cap: int | None) -> Use:
    return Use(asked.name, asked.label, asked.unit, used, cap, asked.is_daily)


def _tell(use: Use) -> None:
    """Remember the mark that is reached; a higher one than before is an event, once."""
    told = db.session.scalar(select(Tally.told).where(Tally.name == use.name)) or 0
    if use.percent == told:
        return
    row = Tally.of(use.name)
    row.told = use.percent
    if use.percent > told:
        events.record(LIMIT_NEARED, row.id, audience="may:settings.manage", meter=use.name, percent=use.percent)


def _day() -> str:
    return f"{utcnow().astimezone(UTC):%Y-%m-%d}"


@shows("limits")
def _as_facts() -> list[dict[str, object]]:
    names = ("name", "label", "unit", "used", "cap", "share")
    return [{name: getattr(use, name) for name in names} for use in uses()]


def caps_of(tenant: ResolvedTenant) -> list[tuple[Meter, int | None]]:
    """Return every meter with what `tenant` may have of it, without opening its file."""
    return [(each, tenant.cap(each.name)) for each in meters()]
