"""Pages and posts brought back from a preview.

One that is missing here, or lies in the trash with the same text, comes back as a draft: at its old address or, where that is
taken, one next to it, under the same topics, with its pictures; the menu stays as it is. One whose text is another today keeps
today's: what it said then comes as a draft of its own beside it, called after the moment. Visitors see nothing of either until
somebody publishes it.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import and_, select

from app.accounts import User
from app.backups.returns import CHANGED, MISSING, SAME, TRASHED, AlreadyHere, Bringing, Found, Person, Returnable
from app.branding import current_site
from app.content.files import MENTIONED
from app.content.forms import TITLE_LENGTH
from app.content.models import Entry, Media, Topic
from app.facilities import clock, events
from app.tenancy import db, utcnow

RETURNED = events.kind("PageReturned", "A page or post was brought back from a backup, as a draft.", subject="entry")
CARRIED = (
    "id", "kind", "title", "source", "source_format", "summary", "slug", "visibility", "is_sticky", "author_name", "origin",
)  # fmt: skip
CARRIED_OF_MEDIA = ("name", "mime", "alt", "caption", "source_url")


def listed(asker: Person, search: str, most: int) -> list[Found]:
    """Return the pages and posts that were not in the trash, last changed first."""
    kept = select(Entry).where(Entry.state != "trashed", Entry.title.icontains(search, autoescape=True))
    found = db.session.scalars(kept.order_by(Entry.updated_at.desc(), Entry.id.desc()).limit(most))
    return [_found(entry) for entry in found]


def known(found: Found, bringing: Bringing) -> str:
    """Say how a page or post of the preview stands here."""
    mark, _, origin = found.mark.partition(" ")
    entry = _here(found.id, found.born, origin)
    if entry is None:
        return MISSING
    if entry.state == "trashed":
        return TRASHED
    return SAME if _mark(entry) == mark else CHANGED


def take(entry_id: int, asker: Person) -> dict[str, Any] | None:
    """Return a page or post as plain data, None when there is none or it was in the trash."""
    entry = db.session.get(Entry, entry_id)
    if entry is None or entry.state == "trashed":
        return None
    author = db.session.get(User, entry.author_id) if entry.author_id else None
    return {
        **{name: getattr(entry, name) for name in CARRIED},
        "born": entry.created_at.isoformat(),
        "published_at": entry.published_at.isoformat() if entry.published_at else "",
        "author": Person.of(author) if author else None,
        "above": "".join(page.path for page in entry.ancestors()[:1]),
        "topics": [[topic.name, topic.slug] for topic in entry.topics],
        "files": _files(entry.source),
    }


def bring(taken: dict[str, Any], bringing: Bringing) -> str:
    """Put a page or post back as a draft, and return the address of its editor."""
    born = datetime.fromisoformat(taken["born"])
    entry = _here(taken["id"], born, taken["origin"] or "")
    then = _written(taken, bringing)
    if entry is None:
        number = taken["id"] if db.session.get(Entry, taken["id"]) is None else None
        entry = _write(then, taken, id=number, created_at=born, origin=taken["origin"])
    elif (entry.title, entry.source) != (then.title, then.source):
        entry = _beside(entry, then, taken, bringing.moment)
    else:
        _take_out_of_the_trash(entry)
    db.session.flush()
    events.record(RETURNED, entry.id, audience="may:content.edit", by=bringing.by.id)
    return _desk(entry)


class Written(NamedTuple):
    """What an entry said, the addresses of its pictures being those of today."""

    title: str
    source: str


def _written(taken: dict[str, Any], bringing: Bringing) -> Written:
    """Return what it said, its pictures and documents being here."""
    source: str = taken["source"]
    for name, facts in taken["files"].items():
        here = bringing.file(name)
        source = source.replace(f"/files/{name}/", f"/files/{here}/")
        if db.session.scalar(select(Media.id).where(Media.stored_name == here).limit(1)) is None:
            db.session.add(Media(stored_name=here, **facts))
            db.session.flush()
    return Written(taken["title"], source)


def _take_out_of_the_trash(entry: Entry) -> None:
    if entry.state != "trashed":
        raise AlreadyHere(entry.title, _desk(entry))
    entry.restore()
    entry.unpublish()


def _beside(entry: Entry, then: Written, taken: dict[str, Any], moment: datetime) -> Entry:
    """Write what it said then as an entry of its own, once: as long as that stands as it came it is not written again."""
    origin = f"backup:{entry.id}:{_digest(*then)}"
    before = db.session.scalar(select(Entry).where(Entry.origin == origin))
    if before is not None and before.state != "trashed" and before.source == then.source:
        raise AlreadyHere(before.title, _desk(before))
    if before is not None:
        before.origin = None
        db.session.flush()
    ending = f" (from {clock.local(moment, current_site().time_zone):%-d %B, %H:%M})"
    return _write(then._replace(title=then.title[: TITLE_LENGTH - len(ending)] + ending), taken, origin=origin)


def _write(then: Written, taken: dict[str, Any], **given: Any) -> Entry:
    author = Person(*taken["author"]).here() if taken["author"] else None
    entry = Entry.write(
        taken["kind"],
        *then,
        **{
            name: taken[name] for name in ("slug", "source_format", "summary", "visibility", "is_sticky", "author_name")
        },
        parent=_page_at(taken["above"]),
        author_id=author.id if author else None,
        published_at=_past(taken["published_at"]),
        **given,
    )
    entry.file_under([Topic.named(name, slug) for name, slug in taken["topics"]])
    return entry


def _here(entry_id: int, born: datetime, origin: str) -> Entry | None:
    """Return the entry that is the same as the preview's: its number may have passed on to another since."""
    same = Entry.origin == origin if origin else and_(Entry.created_at == born, Entry.origin.is_(None))
    return db.session.scalar(select(Entry).where(same).order_by((Entry.id == entry_id).desc()).limit(1))


def _page_at(path: str) -> Entry | None:
    pages = select(Entry).where(Entry.kind == "page", Entry.path == path, Entry.state != "trashed")
    return db.session.scalar(pages) if path else None


def _files(source: str) -> dict[str, dict[str, Any]]:
    """Return what is known of the pictures and documents that a text shows, by the name under which each is stored."""
    shown = select(Media).where(Media.stored_name.in_(set(MENTIONED.findall(source))))
    found = db.session.scalars(shown.order_by(Media.id.desc()))
    return {str(each.stored_name): {name: getattr(each, name) for name in CARRIED_OF_MEDIA} for each in found}


def _past(moment: str) -> datetime | None:
    """Return when it was published, None for what was still to come: it would appear by itself."""
    at = datetime.fromisoformat(moment) if moment else None
    return at if at and at <= utcnow() else None


def _found(entry: Entry) -> Found:
    detail = f"{entry.kind.capitalize()} at {entry.href}, {entry.status}"
    mark = f"{_mark(entry)} {entry.origin or ''}"
    return Found(entry.id, entry.created_at, entry.title, detail, entry.updated_at, mark)


def _mark(entry: Entry) -> str:
    return _digest(entry.title, entry.source)


def _digest(title: str, source: str) -> str:
    return sha256(f"{title}\0{source}".encode()).hexdigest()[:32]


def _desk(entry: Entry) -> str:
    return f"/desk/content/entries/{entry.id}"


PAGE = Returnable(
    "page", "page or post", "pages and posts", listed, known, take, bring, "as a draft", "Publish it when it is right."
)
