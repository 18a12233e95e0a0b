"""Believable content for the three demo organisations, so that a newcomer sees a site and not an empty frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select

from app.branding import PRESETS, Site
from app.content.models import Entry, MenuItem, Topic
from app.tenancy import current_tenant, db, tenancy, tenant_context, utcnow
from app.tenancy.errors import UnknownHost

TEXTS = Path(__file__).parent / "demo_texts"
# Where a paragraph is folded in the file; an editor would show it.
FOLD = re.compile(r"(?<=[^\n|])\n *(?=\w)(?!\d+\. )")
HEADING = re.compile(r"^%% (\w+) ?(\S*)$", re.MULTILINE)


@dataclass(frozen=True)
class Text:
    """One text of an organisation: a page, a post, or what is to be said of its site."""

    kind: str
    slug: str
    facts: dict[str, str]
    body: str

    @property
    def origin(self) -> str:
        """A name by which a second run finds it again."""
        return f"demo:{self.kind}/{self.slug}"


def fill(slug: str) -> None:
    """Furnish the demo tenant of that slug; what is there already stays as it is."""
    tenant = tenancy.registry.by_slug(slug)
    if tenant is None:
        raise UnknownHost(slug)
    site, *texts = read(slug)
    with tenant_context(tenant):
        if not _is_here(texts[0]):
            _present(site)
            _clear_menu()
        for text in texts:
            if not _is_here(text):
                _write(text)
        db.session.commit()


def read(slug: str) -> Iterator[Text]:
    """Return the texts of an organisation in the order of their file, what is said of the site first."""
    _, *parts = HEADING.split((TEXTS / f"{slug}.md").read_text())
    for kind, name, content in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        head, _, body = content.strip().partition("\n\n")
        facts = dict(line.split(": ", 1) for line in head.splitlines())
        yield Text(kind, name, facts, FOLD.sub(" ", body))


def _is_here(text: Text) -> bool:
    return db.session.scalar(select(Entry.id).where(Entry.origin == text.origin)) is not None


def _present(text: Text) -> None:
    site = Site.mine()
    site.rename(current_tenant().name, text.facts["tagline"])
    site.speak("en", text.facts["zone"])
    preset = PRESETS.get(text.facts["preset"]) or PRESETS["river"]
    site.recolour(preset.brand, preset.accent)


def _clear_menu() -> None:
    """Make room for a menu of their own; the page that every new tenant starts with goes to the trash."""
    db.session.execute(delete(MenuItem))
    for entry in db.session.scalars(select(Entry).where(Entry.is_front)).all():
        entry.trash()
    db.session.flush()


def _write(text: Text) -> None:
    facts = text.facts
    above = db.session.scalar(select(Entry).where(Entry.origin == f"demo:page/{facts.get('under')}"))
    entry = Entry.write(
        text.kind,
        facts["title"],
        text.body,
        slug=text.slug,
        parent=above,
        visibility=facts.get("visibility", "public"),
        author_name=facts.get("author", ""),
        origin=text.origin,
        is_sticky="sticky" in facts,
    )
    if "topics" in facts:
        entry.file_under(Topic.named(name) for name in facts["topics"].split(", "))
    if "front" in facts:
        entry.make_front()
    if "draft" not in facts:
        entry.publish(at=utcnow() + timedelta(days=int(facts.get("at", "-90"))))
    if "menu" in facts:
        _list(entry, facts["menu"])


def _list(entry: Entry, label: str) -> None:
    """Put it into the menu, under its parent's line where it has one, and the news after the front page."""
    above = db.session.scalar(select(MenuItem).where(MenuItem.entry_id == entry.parent_id)) if entry.parent_id else None
    line = MenuItem.add(label, entry_id=entry.id)
    if above:
        line.put_under(above)
    if entry.is_front:
        MenuItem.add("News", url="/posts/")
