"""What operators have set for the whole platform on the console, with what holds until they do.

Stands on the registry alone, which every request needs anyway: when that is down, nothing is served. A change
is seen by every process at its next look.
"""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from app.tenancy import db, tenancy
from app.tenancy.registry import Setting

DEFAULTS = {
    "platform_name": "Freehold",
    "support_address": "",
    "default_tier": "standard",
    "default_language": "en",
    "default_time_zone": "UTC",
    "session_hours": "720",  # how long a person stays signed in at most; a plan may have its own
    "idle_hours": "336",  # how long without a sign of life; a plan may have its own
    "manager_session_hours": "168",  # the same for those who manage people, where that is shorter
    "manager_idle_hours": "24",
    "audit_days": "400",  # that the rows of each organisation's audit are kept
    "requests_at_once": "32",  # of one organisation, in each process of web, and never on its last thread; by plan
    "changes_a_minute": "600",  # that the people of one organisation make on the desk; by plan
    "desk_notice": "",  # shown to every member on the desk
}


def text(name: str) -> str:
    """Return a setting; raises `KeyError` for one that does not exist."""
    return tenancy.registry.settings().get(name, DEFAULTS[name])


def number(name: str, plan: str = "") -> int:
    """Return a setting that is a whole number: as `plan` has it, where that has its own."""
    return int(of_plan(name, plan) or text(name))


def of_plan(name: str, plan: str) -> str:
    """Return what a plan has of a setting for itself, "" for nothing."""
    return tenancy.registry.settings().get(f"{name}:{plan}", "")


def every() -> dict[str, str]:
    """Return all settings by name."""
    return {name: text(name) for name in DEFAULTS}


class Platform:
    """What pages know of the platform, read when a page prints it."""

    @property
    def name(self) -> str:
        """What the platform calls itself."""
        return text("platform_name")

    @property
    def support_address(self) -> str:
        """Where people may write when they are stuck, "" for nowhere."""
        return text("support_address")


def init_app(app: Flask) -> None:
    """Let every template say `platform`."""
    app.jinja_env.globals["platform"] = Platform()


def put(values: Mapping[str, str]) -> None:
    """Change settings, `name` or `name:plan`, in the platform's session; the caller commits."""
    for name, value in values.items():
        if name.partition(":")[0] not in DEFAULTS:
            raise KeyError(name)
        db.session.merge(Setting(name=name, value=value))
