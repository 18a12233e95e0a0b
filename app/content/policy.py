"""Who may see which entry: one rule, which every door asks."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from flask_login import current_user
from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, select

from app.accounts import may, permission
from app.content.models import Entry
from app.tenancy import Timestamp, db, utcnow

VISIBILITIES = ("public", "members")

permission(
    "content.edit", "Write and publish pages and posts, arrange the menu, bring in a site", roles=("admin", "editor")
)


def is_member() -> bool:
    """Tell whether whoever asks is signed in to this organisation."""
    return bool(current_user and current_user.is_authenticated)


def is_editor() -> bool:
    """Tell whether whoever asks may see every entry on the desk, drafts and the trash too."""
    return may("content.edit")


def visible(member: bool) -> ColumnElement[bool]:
    """Return the rule as SQL: published, its time has come, and public unless a member asks."""
    rule = and_(Entry.state == "published", Entry.published_at <= _present())
    return rule if member else and_(rule, Entry.visibility == "public")


def visible_entries(kind: str | None = None, member: bool | None = None) -> Select[Any]:
    """Select the entries that whoever asks may see; `member` answers for them where nobody asks, as in a job."""
    entries = select(Entry).where(visible(is_member() if member is None else member))
    return entries.where(Entry.kind == kind) if kind else entries


class Changes(NamedTuple):
    """When an entry last became visible by the clock, and when the next one will; None where there is none."""

    last: datetime | None
    next: datetime | None


def changes() -> Changes:
    """Return when the clock changed the current tenant's site, and when it will again."""
    return Changes(*db.session.execute(_changes()).one())


@cache
def _changes() -> Select[datetime | None, datetime | None]:
    published = select(Entry.published_at).where(Entry.state == "published")
    shown = published.where(Entry.published_at <= _present()).order_by(Entry.published_at.desc()).limit(1)
    waiting = published.where(Entry.published_at > _present()).order_by(Entry.published_at).limit(1)
    return select(shown.scalar_subquery(), waiting.scalar_subquery())


def _present() -> BindParameter[datetime]:
    """Stand for the time at which a statement runs, so that it may be built once and kept."""
    return bindparam("present", callable_=utcnow, type_=Timestamp, unique=True)
