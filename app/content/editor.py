"""Between an entry and the form that changes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from sqlalchemy import select

from app.content.forms import EntryForm
from app.content.models import Entry, Topic
from app.facilities import html
from app.facilities.reader import current_reader
from app.tenancy import db


@dataclass
class Draft:
    """An entry as the editor shows it. `token` tells which saved text the writer began with."""

    title: str
    source: str
    source_format: str
    summary: str
    slug: str
    visibility: str
    topics: str
    parent: int
    is_front: bool
    is_sticky: bool
    at: datetime | None
    token: str = field(default="")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Return the entry's text as Markdown if Markdown can say it, else as the HTML that it is."""
        markdown = html.to_markdown(entry.source) if entry.source_format == "html" else None
        return cls(
            title=entry.title,
            source=entry.source if markdown is None else markdown,
            source_format=entry.source_format if markdown is None else "markdown",
            summary="" if entry.has_made_summary else entry.summary,
            slug=entry.slug,
            visibility=entry.visibility,
            topics=", ".join(sorted(topic.name for topic in entry.topics)),
            parent=entry.parent_id or 0,
            is_front=entry.is_front,
            is_sticky=entry.is_sticky,
            at=_wall(entry.published_at),
            token=entry.updated_at.isoformat(),
        )

    def conflicts_with(self, form: EntryForm) -> bool:
        """Tell whether another text was saved since the writer of `form` began."""
        same = (form.title.data, _lines(form.source.data)) == (self.title, _lines(self.source))
        return form.token.data != self.token and not same


def fill(form: EntryForm, kind: str, entry: Entry | None) -> EntryForm:
    """Give the form what may be chosen, and leave out what this kind does not have."""
    if kind == "post":
        del form.parent, form.is_front
    else:
        del form.topics, form.is_sticky
        form.parent.choices = [(0, "No other page"), *_possible_parents(entry)]
    return form


def take_over(form: EntryForm, entry: Entry) -> None:
    """Change the entry to what the form says."""
    source, summary = (form.source.data or "").strip("\r\n"), (form.summary.data or "").strip()
    entry.revise(form.title.data, source, summary=summary, source_format=form.source_format.data)
    entry.visibility = form.visibility.data
    if entry.kind == "post":
        entry.is_sticky = form.is_sticky.data
        entry.file_under(Topic.named(name) for name in form.topic_names)
    else:
        _place(form, entry)
    entry.rename(form.slug.data or entry.title)


def _place(form: EntryForm, entry: Entry) -> None:
    if form.parent.data != (entry.parent_id or 0):
        entry.move_under(db.session.get(Entry, form.parent.data) if form.parent.data else None)
    if form.is_front.data:
        entry.make_front()
    else:
        entry.is_front = False


def _possible_parents(entry: Entry | None) -> list[tuple[int, str]]:
    pages = select(Entry.id, Entry.path, Entry.title).where(Entry.kind == "page", Entry.state != "trashed")
    own = f"{entry.path}/" if entry else "/"
    return [
        (id_, "– " * path.count("/") + title)
        for id_, path, title in db.session.execute(pages.order_by(Entry.path))
        if not f"{path}/".startswith(own)
    ]


def _wall(moment: datetime | None) -> datetime | None:
    """Return what the writer's clocks show at that moment, as a date field takes it."""
    return current_reader().local(moment).replace(tzinfo=None) if moment else None


def _lines(text: str | None) -> str:
    """Browsers send line ends as CR LF."""
    return (text or "").replace("\r\n", "\n").strip()
