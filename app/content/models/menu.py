"""The lines of the site's menu, on two levels."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from app.facilities.text import one_line
from app.tenancy import TenantModel, db
from app.tenancy.errors import Refused


class MenuItem(TenantModel):
    """A line of the site's menu: it leads to an entry, a topic or an address."""

    __tablename__ = "menu_item"
    __table_args__ = (UniqueConstraint("origin"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("menu_item.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(default=0)
    label: Mapped[str]
    entry_id: Mapped[int | None] = mapped_column(ForeignKey("entry.id", ondelete="CASCADE"), index=True)
    topic_id: Mapped[int | None] = mapped_column(ForeignKey("topic.id", ondelete="CASCADE"), index=True)
    url: Mapped[str | None]
    origin: Mapped[str | None]

    @classmethod
    def add(cls, label: str, **leads_to: Any) -> MenuItem:
        """Add a line at the end of the menu; `leads_to` is one of entry_id, topic_id, url."""
        item = cls(label=one_line(label), position=cls._next_position(None), **leads_to)
        db.session.add(item)
        db.session.flush()
        return item

    def rename(self, label: str) -> None:
        """Give it another label; an empty one changes nothing."""
        self.label = one_line(label)[:80] or self.label

    def move(self, by: int) -> None:
        """Change places with the line `by` places below it among its siblings; at the end it stays."""
        siblings = self._siblings(self.parent_id)
        here = siblings.index(self)
        there = min(max(here + by, 0), len(siblings) - 1)
        siblings.insert(there, siblings.pop(here))
        for position, item in enumerate(siblings):
            item.position = position

    def nest(self) -> None:
        """Put it below the line above it; raises `Refused` at the top, or with lines below it."""
        siblings = self._siblings(self.parent_id)
        here = siblings.index(self)
        if self.parent_id is not None or here == 0:
            raise Refused(f"There is no line above “{self.label}” that it could be put under.")
        if self._siblings(self.id):
            raise Refused(f"“{self.label}” has lines under it. Move those out first: a menu has two levels.")
        self.put_under(siblings[here - 1])

    def put_under(self, above: MenuItem) -> None:
        """Put it below `above`, behind the lines that are there already."""
        self.position, self.parent_id = self._next_position(above.id), above.id

    def unnest(self) -> None:
        """Put it on the first level, behind the line it was under."""
        parent = db.session.get(MenuItem, self.parent_id) if self.parent_id else None
        if parent is None:
            return
        top = self._siblings(None)
        top.insert(top.index(parent) + 1, self)
        self.parent_id = None
        for position, item in enumerate(top):
            item.position = position

    def remove(self) -> None:
        """Take it out of the menu, with the lines under it."""
        db.session.delete(self)  # the lines under it go by the foreign key's ON DELETE CASCADE

    @classmethod
    def _siblings(cls, parent_id: int | None) -> list[MenuItem]:
        return list(db.session.scalars(select(cls).where(cls.parent_id == parent_id).order_by(cls.position, cls.id)))

    @classmethod
    def _next_position(cls, parent_id: int | None) -> int:
        return (db.session.scalar(select(func.max(cls.position)).where(cls.parent_id == parent_id)) or 0) + 1
