"""Writing what was converted: whole entries, a batch a commit, so that a run cut off can simply be run again."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, select, update

from app.content.models import Entry, Import, Media, MenuItem, Redirect, Topic, href
from app.content.wordpress.body import Body
from app.content.wordpress.menus import Line
from app.content.wordpress.plan import Here, Known, Plan, PlannedEntry, PlannedMedia, stored
from app.content.wordpress.report import Findings
from app.tenancy import db, utcnow

AUTHOR_LENGTH = 200


def look_around() -> Here:
    """Return what the site already has. An entry whose last change is not an import's was edited by somebody."""
    imports = set(db.session.scalars(select(Import.created_at)))
    columns = (
        Entry.kind,
        Entry.path,
        Entry.origin,
        Entry.updated_at,
        Entry.state,
        Entry.visibility,
        Entry.published_at,
    )
    rows = db.session.execute(select(*columns)).all()
    now = utcnow()
    return Here(
        taken=frozenset((row.kind, row.path) for row in rows),
        entries={
            row.origin: Known(
                path=row.path,
                is_kept=row.updated_at not in imports,
                is_open=row.state == "published"
                and row.visibility == "public"
                and row.published_at is not None
                and row.published_at <= now,
            )
            for row in rows
            if row.origin
        },
        topics=_pairs(select(Topic.slug, Topic.name)),
        media={
            row.origin: stored(row.stored_name, row.name)
            for row in db.session.execute(select(Media.origin, Media.stored_name, Media.name))
            if row.origin
        },
    )


class Writer:
    """Puts converted things into the tenant's file. It never commits; `stamp` is the time of this import."""

    def __init__(self, plan: Plan, findings: Findings, stamp: datetime) -> None:
        self._plan, self._findings, self._stamp = plan, findings, stamp

    def write_media(self, media: Iterable[PlannedMedia]) -> None:
        """Add the pictures and documents that are not here yet; what people wrote about the others stays."""
        wanted = {one.origin: one for one in media}
        here = set(db.session.scalars(select(Media.origin).where(Media.origin.in_(wanted))))
        for origin, one in wanted.items():
            if origin not in here:
                mime = mimetypes.guess_type(one.name)[0] or "application/octet-stream"
                db.session.add(
                    Media(
                        name=one.name,
                        mime=mime,
                        alt=one.alt,
                        caption=one.caption,
                        source_url=one.url,
                        created_at=one.created_at or self._stamp,
                        origin=origin,
                    )
                )
            self._findings.outcome["unchanged" if origin in here else "created"] += 1

    def write_entries(self, batch: Iterable[tuple[PlannedEntry, Body, dict[str, Any]]]) -> None:
        """Add entries or bring them up to date."""
        for planned, body, given in batch:
            self._write_entry(planned, body, given)

    def arrange(self) -> None:
        """Put pages under their pages, and let old addresses lead to what they were of."""
        ids = _pairs(select(Entry.origin, Entry.id).where(Entry.origin.is_not(None)))
        above = _pairs(select(Entry.id, Entry.parent_id))
        paths = {href(kind, path)[1:] for kind, path in db.session.execute(select(Entry.kind, Entry.path))}
        redirects = set(db.session.scalars(select(Redirect.path)))
        for planned in self._plan.entries.values():
            parent = self._plan.entries.get(planned.parent)
            parent_id = ids[parent.origin] if parent else None
            entry_id = ids[planned.origin]
            if above[entry_id] != parent_id and not self._plan.keeps(planned):
                change = update(Entry).where(Entry.id == entry_id)
                db.session.execute(change.values(parent_id=parent_id, updated_at=self._stamp))
            for path in planned.was:
                self._redirect(path, paths, redirects, entry_id=entry_id)
        topics = _pairs(select(Topic.slug, Topic.id))
        for topic in self._plan.topics.values():
            for path in topic.was if topic.used else ():
                self._redirect(path, paths, redirects, topic_id=topics[topic.slug])

    def write_menu(self, lines: Iterable[Line]) -> None:
        """Add the lines of the menu that are not here yet, behind those that are."""
        entries = _pairs(select(Entry.origin, Entry.id).where(Entry.origin.is_not(None)))
        topics = _pairs(select(Topic.slug, Topic.id))
        here = _pairs(select(MenuItem.origin, MenuItem.id).where(MenuItem.origin.is_not(None)))
        last = max([0, *db.session.scalars(select(MenuItem.position).where(MenuItem.parent_id.is_(None)))])
        for place, line in enumerate(lines, 1):
            self._findings.outcome["unchanged" if line.origin in here else "created"] += 1
            if line.origin in here:
                continue
            item = MenuItem(
                parent_id=here.get(line.above),
                position=place if line.above else last + place,
                label=line.label,
                entry_id=entries.get(line.entry),
                topic_id=topics.get(line.topic),
                url=line.url or None,
                origin=line.origin,
            )
            db.session.add(item)
            db.session.flush()
            here[line.origin] = item.id

    def _write_entry(self, planned: PlannedEntry, body: Body, given: dict[str, Any]) -> None:
        entry = db.session.scalar(select(Entry).where(Entry.origin == planned.origin))
        if entry is not None and self._was_edited(entry):
            self._findings.outcome["kept"] += 1
            self._findings.leave(
                planned.kind, planned.title, "it was edited here since the last import and stays as it is"
            )
            return
        values = self._values(planned, body, given)
        topics = self._topics(planned)
        if entry is not None and _is_same(entry, values, topics):
            self._findings.outcome["unchanged"] += 1
            return
        self._findings.outcome["updated" if entry else "created"] += 1
        if entry is None:
            entry = Entry(origin=planned.origin, created_at=planned.published_at or self._stamp)
            db.session.add(entry)
        for name, value in {**values, "updated_at": self._stamp}.items():
            setattr(entry, name, value)
        entry.topics = topics
        Redirect.forget(href(entry.kind, entry.path)[1:])
        db.session.flush()

    def _was_edited(self, entry: Entry) -> bool:
        return db.session.scalar(select(Import.id).where(Import.created_at == entry.updated_at)) is None

    def _values(self, planned: PlannedEntry, body: Body, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": planned.kind,
            "slug": planned.path.rpartition("/")[2],
            "path": planned.path,
            "position": planned.position,
            "title": planned.title,
            "summary": body.summary,
            "source_format": body.source_format,
            "source": body.source,
            "html": body.html,
            "state": planned.state,
            "visibility": planned.visibility,
            "published_at": planned.published_at,
            **given,
        }

    def _topics(self, planned: PlannedEntry) -> list[Topic]:
        found = {key: self._plan.topics[key] for key in planned.terms if key in self._plan.topics}
        return list({topic.slug: Topic.named(topic.name, topic.slug) for topic in found.values()}.values())

    def _redirect(self, path: str, paths: set[str], known: set[str], **leads_to: int) -> None:
        """Let `path` lead somewhere, unless something answers there or it leads somewhere already."""
        if path not in paths and path not in known:
            known.add(path)
            db.session.add(Redirect(path=path, **leads_to))
            self._findings.came["redirects"] += 1


def _is_same(entry: Entry, values: dict[str, Any], topics: list[Topic]) -> bool:
    filed = {topic.id for topic in entry.topics} == {topic.id for topic in topics}
    return filed and all(getattr(entry, name) == value for name, value in values.items())


def _pairs(rows: Executable) -> dict[Any, Any]:
    return {row[0]: row[1] for row in db.session.execute(rows)}
