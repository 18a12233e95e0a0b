"""The lines of a room, a page at a time, and how each stands to the one before it.

How a line is shown depends on the lines and on the reader's clocks alone: a page and what is sent to open pages are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, select

from app.chat.models import Line, Room
from app.facilities.reader import Reader, current_reader
from app.tenancy import db

PER_PAGE = 40
TOGETHER = timedelta(minutes=5)  # lines of one author stand under one name


@dataclass(frozen=True)
class Shown:
    """A line, who reads it, and whether it begins a day by their clocks or goes on in one breath."""

    line: Line
    reader: Reader
    follows: bool
    opens_day: bool

    @property
    def time(self) -> str:
        """Return the time of day, such as "14:05"."""
        return self.reader.time(self.line.created_at)

    @property
    def day(self) -> str:
        """Return the day, such as "Sunday, 7 March 2027"."""
        return self.reader.weekday(self.line.created_at)


@dataclass(frozen=True)
class Page:
    """Some lines of a room in their order, and whether there are earlier and later ones."""

    lines: Sequence[Shown]
    has_earlier: bool
    has_later: bool

    @property
    def first_id(self) -> int:
        """Return the id of its first line, 0 where there is none."""
        return self.lines[0].line.id if self.lines else 0

    @property
    def last_id(self) -> int:
        """Return the id of its last line, 0 where there is none."""
        return self.lines[-1].line.id if self.lines else 0


def newest(room: Room) -> Page:
    """Return the last lines of a room."""
    return _page(room, _before(room))


def before(room: Room, line_id: int) -> Page:
    """Return the lines that stand above one."""
    return _page(room, _before(room, line_id))


def after(room: Room, line_id: int) -> Page:
    """Return the lines that stand below one."""
    return _page(room, _after(room, line_id))


def around(room: Room, line_id: int) -> Page:
    """Return a line with those above and below it."""
    half = PER_PAGE // 2
    return _page(room, [*_before(room, line_id, half), *_after(room, line_id - 1, half)])


def show(line: Line) -> Shown:
    """Return one line as it stands in its room."""
    above = db.session.scalar(_above(line.room_id, line.id))
    return _shown(line, above, current_reader())


def _before(room: Room, line_id: int | None = None, limit: int = PER_PAGE) -> list[Line]:
    return list(db.session.scalars(_above(room.id, line_id, limit)))[::-1]


def _after(room: Room, line_id: int, limit: int = PER_PAGE) -> list[Line]:
    below = select(Line).where(Line.room_id == room.id, Line.id > line_id).order_by(Line.id).limit(limit)
    return list(db.session.scalars(below))


def _above(room_id: int, line_id: int | None, limit: int = 1) -> Select[Line]:
    above = select(Line).where(Line.room_id == room_id)
    return (above if line_id is None else above.where(Line.id < line_id)).order_by(Line.id.desc()).limit(limit)


def _page(room: Room, lines: list[Line]) -> Page:
    if not lines:
        return Page([], False, room.newest_id() > 0)
    reader = current_reader()
    above = db.session.scalar(_above(room.id, lines[0].id))
    shown = [_shown(line, one_above, reader) for line, one_above in zip(lines, [above, *lines], strict=False)]
    return Page(shown, above is not None, room.newest_id() > lines[-1].id)


def _shown(line: Line, above: Line | None, reader: Reader) -> Shown:
    day = reader.local(line.created_at).date()
    opens_day = above is None or reader.local(above.created_at).date() != day
    return Shown(line, reader, not opens_day and above is not None and _is_one_breath(above, line), opens_day)


def _is_one_breath(above: Line, line: Line) -> bool:
    same = (above.kind, above.author_id, above.author_name) == (line.kind, line.author_id, line.author_name)
    return same and line.created_at - above.created_at < TOGETHER
