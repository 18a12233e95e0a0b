"""Who may see which entry: one rule, which every door asks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask_login import current_user
from sqlalchemy import ColumnElement, Select, and_, bindparam, select

from app.content.models import Entry
from app.tenancy import Timestamp, db, utcnow

VISIBILITIES = ("public", "members")


def is_member() -> bool:
    """Tell whether whoever asks is signed in to this organisation."""
    return bool(current_user and current_user.is_authenticated)


def visible(member: bool) -> ColumnElement[bool]:
    """Return the rule as SQL: published, its time has come, and public unless a member asks.

    The time is taken when the statement runs, so a statement may be built once and kept.
    """
    present = bindparam("present", callable_=utcnow, type_=Timestamp, unique=True)
    rule = and_(Entry.state == "published", Entry.published_at <= present)
    return rule if member else and_(rule, Entry.visibility == "public")


def visible_entries(kind: str | None = None, member: bool | None = None) -> Select[Any]:
    """Select the entries that whoever asks may see; `member` answers for them where nobody asks, as in a job."""
    entries = select(Entry).where(visible(is_member() if member is None else member))
    return entries.where(Entry.kind == kind) if kind else entries


def next_change() -> datetime | None:
    """Return when the next scheduled entry becomes visible, None when none is waiting."""
    waiting = select(Entry.published_at).where(Entry.state == "published", Entry.published_at > utcnow())
    return db.session.scalar(waiting.order_by(Entry.published_at).limit(1))


def last_change() -> datetime | None:
    """Return when an entry last became visible by the clock, None before the first."""
    shown = select(Entry.published_at).where(Entry.state == "published", Entry.published_at <= utcnow())
    return db.session.scalar(shown.order_by(Entry.published_at.desc()).limit(1))
