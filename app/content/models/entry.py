"""Pages and posts, the topics they are filed under, and the old addresses that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, func, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.content import addresses
from app.facilities import events
from app.facilities import html as markup
from app.facilities.text import UNPRINTABLE, one_line
from app.tenancy import TenantModel, Timestamp, db, utcnow
from app.tenancy.errors import Refused

SUMMARY_WORDS = 40

WRITTEN = events.kind("PageWritten", "A page or post was begun.", subject="entry")
REVISED = events.kind("PageRevised", "The text of a page or post was changed.", subject="entry")
PUBLISHED = events.kind("PagePublished", "A page or post was published, or given a day for it.", subject="entry")
WITHDRAWN = events.kind("PageWithdrawn", "A page or post was made a draft again.", subject="entry")
TRASHED = events.kind("PageTrashed", "A page or post was put in the trash.", subject="entry")
RESTORED = events.kind("PageRestored", "A page or post was taken out of the trash.", subject="entry")


class EntryTopic(TenantModel):
    """An entry filed under a topic."""

    __tablename__ = "entry_topic"

    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True)
    topic_id: Mapped[int] = mapped_column(ForeignKey("topic.id", ondelete="CASCADE"), primary_key=True, index=True)


class Entry(TenantModel):
    """A page or a post. `kind` tells which; both are written, published and found in the same way."""

    __tablename__ = "entry"
    __table_args__ = (UniqueConstraint("kind", "path"), UniqueConstraint("origin"))

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]  # page, post
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("entry.id", ondelete="SET NULL"), index=True)
    position: Mapped[int] = mapped_column(default=0)
    slug: Mapped[str]
    path: Mapped[str]  # a page's slugs from the root, joined by "/"; a post's slug
    title: Mapped[str]
    summary: Mapped[str] = mapped_column(default="")  # plain text, for lists, feeds and search results
    source_format: Mapped[str] = mapped_column(default="markdown")  # markdown, html (imported, until edited)
    source: Mapped[str] = mapped_column(default="")
    html: Mapped[str] = mapped_column(default="")  # rendered and sanitised
    state: Mapped[str] = mapped_column(default="draft")  # draft, published, trashed
    state_before: Mapped[str | None]  # what a trashed entry was
    visibility: Mapped[str] = mapped_column(default="public")  # public, members
    is_sticky: Mapped[bool] = mapped_column(default=False)
    is_front: Mapped[bool] = mapped_column(default=False)  # the page that answers at "/"
    author_name: Mapped[str] = mapped_column(default="")
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    published_at: Mapped[datetime | None] = mapped_column(Timestamp, index=True)  # to come: scheduled
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, onupdate=utcnow)
    origin: Mapped[str | None]  # where an import found it; an import run twice finds it again

    topics: Mapped[list[Topic]] = relationship(secondary="entry_topic", back_populates="entries")

    @classmethod
    def count(cls, kind: str) -> int:
        """Return how many pages or posts there are, those in the trash left out."""
        kept = select(func.count()).select_from(cls).where(cls.kind == kind, cls.state != "trashed")
        return db.session.scalar(kept) or 0

    @classmethod
    def write(
        cls,
        kind: str,
        title: str,
        source: str = "",
        *,
        slug: str = "",
        parent: Entry | None = None,
        source_format: str = "markdown",
        **given: Any,
    ) -> Entry:
        """Add a draft at a free address made from `slug`, else from the title; `given` are further columns."""
        above = parent.id if parent else None
        entry = cls(kind=kind, title="", slug="", parent_id=above, state="draft", **given)
        entry.revise(title, source, summary=given.get("summary", ""), source_format=source_format)
        entry._take_address(slug or entry.title)
        db.session.add(entry)
        db.session.flush()
        entry._tell(WRITTEN)
        return entry

    def revise(self, title: str, source: str, *, summary: str | None = None, source_format: str = "markdown") -> None:
        """Replace title and text, and render it.

        A `summary` of "" is made from the text; None keeps the one there is, or makes it again if it was made.
        """
        was_made = self.has_made_summary
        self.title = one_line(title)
        self.source = UNPRINTABLE.sub("", source.replace("\r\n", "\n"))
        self.source_format = source_format
        render = markup.render_markdown if source_format == "markdown" else markup.clean
        self.html = render(self.source)
        if summary == "" or ((summary is None or summary == self.summary) and was_made):
            self.summary = one_line(markup.excerpt(self.html, SUMMARY_WORDS))
        elif summary is not None:
            self.summary = one_line(summary)
        self._tell(REVISED)

    def publish(self, at: datetime | None = None) -> None:
        """Show it to visitors from `at`, else from now; what was published before keeps its date."""
        self._refuse_trashed("publish")
        was_shown = self.published_at is not None and self.published_at <= utcnow()
        self.state = "published"
        self.published_at = at or (self.published_at if was_shown else utcnow())
        self._tell(PUBLISHED)

    def unpublish(self) -> None:
        """Make it a draft again, which visitors do not see; its date is kept unless that is still to come."""
        self._refuse_trashed("withdraw")
        self.published_at = None if self.is_scheduled else self.published_at
        self.state = "draft"
        self._tell(WITHDRAWN)

    def trash(self) -> None:
        """Take it away, and free its address for another; `restore` brings it back as it was."""
        if self.state != "trashed":
            self.state_before, self.state = self.state, "trashed"
            self.path = f"?{self.id}"
            self._tell(TRASHED)

    def restore(self) -> None:
        """Bring it back out of the trash, to its old address or, if that is taken, to one next to it."""
        if self.state == "trashed":
            self.state, self.state_before = self.state_before or "draft", None
            self._settle()
            self._tell(RESTORED)

    def move_under(self, parent: Entry | None) -> None:
        """Put this page below `parent`, or at the root; raises `Refused` where it would lie below itself."""
        if parent and (self.kind != "page" or parent.kind != "page"):
            raise Refused("Only a page can lie below a page.")
        if parent and self.id in {parent.id, *(page.id for page in parent.ancestors())}:
            raise Refused(f"“{parent.title}” lies below “{self.title}”. Choose a page outside of it.")
        self.parent_id = parent.id if parent else None
        self._settle()

    def rename(self, slug: str) -> None:
        """Give it another slug; its old address, and those of the pages below it, lead to the new ones."""
        if addresses.slugify(slug) != self.slug:
            self.slug = addresses.slugify(slug)
            self._settle()

    def make_front(self) -> None:
        """Let this page answer at "/" instead of the one that does."""
        db.session.execute(update(Entry).where(Entry.is_front, Entry.id != self.id).values(is_front=False))
        self.is_front = True

    def file_under(self, topics: Iterable[Topic]) -> None:
        """Make `topics` the ones this entry is about."""
        self.topics = list(dict.fromkeys(topics))

    def ancestors(self) -> list[Entry]:
        """Return the pages above, the nearest first."""
        above: list[Entry] = []
        page: Entry | None = self
        while page and page.parent_id is not None and page.parent_id not in {a.id for a in above}:
            page = db.session.get(Entry, page.parent_id)
            if page:
                above.append(page)
        return above

    @property
    def has_made_summary(self) -> bool:
        """Whether its summary was made from the text, not written by hand."""
        return self.summary in ("", one_line(markup.excerpt(self.html or "", SUMMARY_WORDS)))

    @property
    def is_scheduled(self) -> bool:
        """Whether it is published at a time to come."""
        return self.state == "published" and self.published_at is not None and self.published_at > utcnow()

    @property
    def status(self) -> str:
        """Say its state as people see it: draft, scheduled, published or trashed."""
        return "scheduled" if self.is_scheduled else self.state

    @property
    def href(self) -> str:
        """Return the address on the site of its organisation."""
        return href(self.kind, self.path, self.is_front)

    def _tell(self, what: events.Kind) -> None:
        """Record what happened to it; what is still being written is told once it is there."""
        if self.id is not None:
            events.record(what, self.id, audience="may:content.edit")

    def _refuse_trashed(self, act: str) -> None:
        if self.state == "trashed":
            raise Refused(f"“{self.title}” is in the trash. Restore it first, then {act} it.")

    def _settle(self) -> None:
        """Bring its path, and those of the pages below, in line with slugs and parents; old paths lead here."""
        old = self.path
        self._take_address(self.slug)
        if self.path == old:
            return
        if self.state == "published" and not old.startswith("?"):
            db.session.merge(Redirect(path=href(self.kind, old)[1:], entry_id=self.id, topic_id=None))
        db.session.flush()
        below = select(Entry).where(Entry.parent_id == self.id, Entry.state != "trashed")
        for page in db.session.scalars(below).all():
            page._settle()

    def _take_address(self, wanted: str) -> None:
        above = "/".join(reversed([page.slug for page in self.ancestors()]))
        self.path = addresses.free_path(self.kind, above, wanted, self._is_taken)
        self.slug = self.path.rpartition("/")[2]
        Redirect.forget(href(self.kind, self.path)[1:])

    def _is_taken(self, path: str) -> bool:
        with db.session.no_autoflush:
            holder = db.session.scalar(select(Entry.id).where(Entry.kind == self.kind, Entry.path == path))
        return holder is not None and holder != self.id


def href(kind: str, path: str, is_front: bool = False) -> str:
    """Return the address of an entry of that kind and path, from the root of the site."""
    if is_front:
        return "/"
    return f"/posts/{path}" if kind == "post" else f"/{path}"


class Topic(TenantModel):
    """What an entry is about. Imported categories and tags both become topics."""

    __tablename__ = "topic"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]

    entries: Mapped[list[Entry]] = relationship(secondary="entry_topic", back_populates="topics")

    @classmethod
    def named(cls, name: str, slug: str = "") -> Topic:
        """Return the topic of that slug, else made from the name; it is added when there is none."""
        slug = addresses.slugify(slug or name) or "topic"
        topic = db.session.scalar(select(cls).where(cls.slug == slug))
        if topic is None:
            topic = cls(slug=slug, name=one_line(name) or slug)
            db.session.add(topic)
            db.session.flush()
        return topic

    @property
    def href(self) -> str:
        """Return the address of its list of posts."""
        return f"/posts/topics/{self.slug}"


class Redirect(TenantModel):
    """An old path that leads to where its entry or topic is now, so that no chain can form."""

    __tablename__ = "redirect"

    path: Mapped[str] = mapped_column(primary_key=True)  # without leading slash; "?p=12": a query on "/"
    entry_id: Mapped[int | None] = mapped_column(ForeignKey("entry.id", ondelete="CASCADE"), index=True)
    topic_id: Mapped[int | None] = mapped_column(ForeignKey("topic.id", ondelete="CASCADE"), index=True)

    @classmethod
    def forget(cls, path: str) -> None:
        """Let nothing lead away from `path` any more, as something answers there now."""
        old = db.session.get(cls, path)
        if old is not None:
            db.session.delete(old)
