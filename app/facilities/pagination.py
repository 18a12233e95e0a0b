"""Long lists, a page at a time. Has no backend of its own: it asks the current session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from werkzeug.exceptions import NotFound

from app.tenancy import db


@dataclass(frozen=True)
class Pagination:
    """One page of a list: its `items`, its number from 1, and how many pages and items there are."""

    items: Sequence[Any]
    page: int
    pages: int
    total: int

    @property
    def previous(self) -> int | None:
        """Number of the page before, None on the first."""
        return self.page - 1 if self.page > 1 else None

    @property
    def next(self) -> int | None:
        """Number of the page after, None on the last."""
        return self.page + 1 if self.page < self.pages else None


def paginate(rows: Select[Any], page: int, size: int) -> Pagination:
    """Return page `page` (from 1) of `rows`, `size` to a page; raises `NotFound` for one that is not there.

    Items are objects when the statement selects one thing, else rows. An empty list has one, empty, page.
    """
    total = db.session.scalar(select(func.count()).select_from(rows.order_by(None).subquery())) or 0
    pages = max(1, -(-total // size))
    if not 1 <= page <= pages:
        raise NotFound
    found = db.session.execute(rows.limit(size).offset((page - 1) * size))
    items = found.scalars().all() if len(rows.column_descriptions) == 1 else found.all()
    return Pagination(items, page, pages, total)
