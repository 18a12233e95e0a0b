"""How long one stays signed in: at most, and without a sign of life.

Both are settings of the platform; a plan may have its own, and those who decide about others stay no longer than theirs say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.facilities import settings
from app.tenancy import current_tenant

if TYPE_CHECKING:
    from app.accounts.models.user import User


@dataclass(frozen=True)
class Stay:
    """How long one stays signed in."""

    idle: timedelta
    longest: timedelta

    def or_shorter(self, other: Stay) -> Stay:
        """Return the shorter of each."""
        return Stay(min(self.idle, other.idle), min(self.longest, other.longest))


def of(user: User) -> Stay:
    """Return how long a person of the current tenant does: not as long where they decide about others."""
    plan = current_tenant().tier
    stay = Stay(_hours("idle_hours", plan), _hours("session_hours", plan))
    if not user.may("people.manage"):
        return stay
    return stay.or_shorter(Stay(_hours("manager_idle_hours"), _hours("manager_session_hours")))


def _hours(name: str, plan: str = "") -> timedelta:
    return timedelta(hours=settings.number(name, plan))
