"""The menu as visitors see it: lines that lead somewhere they may go."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from sqlalchemy import Select, select

from app.content.models import Entry, MenuItem, Topic, href
from app.content.policy import visible
from app.tenancy import db

SCHEMES = ("http", "https", "mailto", "tel")


class Line(NamedTuple):
    """A line of the menu: `href` is "" for one that only names the lines under it."""

    label: str
    href: str
    children: tuple[Line, ...] = ()


def menu(member: bool) -> tuple[Line, ...]:
    """Return the lines of the first level, each with those under it, as members or as visitors may see them."""
    under: dict[int | None, list[Any]] = defaultdict(list)
    for row in db.session.execute(_items(member)):
        under[row.parent_id].append(row)
    return _lines(under, None)


@cache
def _items(member: bool) -> Select[*tuple[Any, ...]]:
    """Build the statement once: every line of the menu with what may be seen of where it leads."""
    line = (MenuItem.id, MenuItem.parent_id, MenuItem.label, MenuItem.url)
    return (
        select(*line, Entry.kind, Entry.path, Entry.is_front, Entry.title, Topic.slug, Topic.name)
        .outerjoin(Entry, (Entry.id == MenuItem.entry_id) & visible(member))
        .outerjoin(Topic, Topic.id == MenuItem.topic_id)
        .order_by(MenuItem.position, MenuItem.id)
    )


def is_safe(url: str) -> bool:
    """Tell whether a menu may lead to `url`: a path of this site, or an address that browsers only open."""
    if url.startswith("/"):
        return not url.startswith(("//", "/\\"))
    try:
        return urlsplit(url).scheme in SCHEMES
    except ValueError:
        return False


def _lines(under: dict[int | None, list[Any]], above: int | None) -> tuple[Line, ...]:
    lines = (_line(row, under) for row in under.pop(above, ()))
    return tuple(line for line in lines if line.href or line.children)


def _line(row: Any, under: dict[int | None, list[Any]]) -> Line:
    label = row.label or row.title or row.name or row.url or "…"
    return Line(label, _leads_to(row), _lines(under, row.id))


def _leads_to(row: Any) -> str:
    if row.path is not None:
        return quote(href(row.kind, row.path, row.is_front))
    if row.slug is not None:
        return quote(f"/posts/topics/{row.slug}")
    return row.url if row.url and is_safe(row.url) else ""
