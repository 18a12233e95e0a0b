"""Where everything of an export will be on this site, worked out before anything is written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qs, unquote

from app.content.addresses import free_path, slugify
from app.content.models import href
from app.content.wordpress.pictures import Picture, file_href, file_name, original
from app.content.wordpress.reader import Channel, Export, ExportBroken, Item, Term, number
from app.content.wordpress.report import Findings
from app.content.wordpress.urls import split
from app.facilities import html as markup
from app.facilities.text import one_line
from app.tenancy import utcnow

UNTITLED = "(untitled)"
_ENTRIES = frozenset(("post", "page"))
_STATES = frozenset(("publish", "future", "draft", "pending", "private"))
_KNOWN_TAXONOMIES = frozenset(("category", "post_tag"))
_UNSAID = {
    "revision": "older versions are not brought in",
    "trash": "it was in the trash",
    "auto-draft": "it was never saved",
}


@dataclass(slots=True)
class PlannedEntry:
    """A page or post: its place here. `was` are its old addresses, without leading slash."""

    origin: str
    kind: str
    wp_id: int
    title: str
    wanted: str
    parent: int
    position: int
    state: str
    visibility: str
    published_at: datetime | None
    link: str
    guid: str
    terms: list[tuple[str, str]]
    path: str = ""
    was: list[str] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether anybody may read it now."""
        shown = self.published_at is not None and self.published_at <= utcnow()
        return self.state == "published" and self.visibility == "public" and shown


@dataclass(slots=True)
class PlannedMedia:
    """A picture or document: what is known of it, and `href` once its bytes are here."""

    origin: str
    wp_id: int
    parent: int
    order: int
    name: str
    url: str
    alt: str
    caption: str
    created_at: datetime | None
    link: str
    href: str = ""


@dataclass(slots=True)
class PlannedTopic:
    """A topic, for one or more terms of the export."""

    slug: str
    name: str
    used: bool = False
    shown: bool = False
    was: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PlannedLine:
    """A line of a menu of the export."""

    origin: str
    wp_id: int
    parent: int
    position: int
    label: str
    kind: str
    object: str
    object_id: int
    url: str


@dataclass(frozen=True, slots=True)
class Here:
    """What the site already has: addresses that are taken, and where an earlier import put things."""

    taken: frozenset[tuple[str, str]] = frozenset()
    entries: dict[str, Known] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)  # slug: name
    media: dict[str, str] = field(default_factory=dict)  # origin: href of the stored file, "" without one


@dataclass(frozen=True, slots=True)
class Known:
    """An entry that an earlier import made. `is_kept` tells that it was edited here since."""

    path: str
    is_kept: bool
    is_open: bool


class Plan:
    """The places of all entries, media, topics and menus of an export."""

    def __init__(self, export: Export, here: Here, findings: Findings) -> None:
        self.entries: dict[int, PlannedEntry] = {}
        self.media: dict[int, PlannedMedia] = {}
        self.topics: dict[tuple[str, str], PlannedTopic] = {}
        self.menus: dict[str, list[PlannedLine]] = {}
        self.menu_names: dict[str, str] = {}
        self.total = 0
        self.attached: dict[int, list[PlannedMedia]] = {}
        self._here, self._findings = here, findings
        self._by_file: dict[str, PlannedMedia] = {}
        self._read(export)
        self.channel = export.channel
        self._site()
        self._place_entries()
        self._name_topics()
        self._note_addresses()

    def picture(self, url: str) -> Picture | None:
        """Return what is known of the picture at `url`."""
        media = self._by_file.get(original(url))
        return Picture(url, media.href, media.alt, media.caption) if media else None

    def is_own(self, host: str) -> bool:
        """Tell whether `host` is the site's that was exported."""
        return host.lower().removeprefix("www.") in self.hosts

    def href(self, entry: PlannedEntry) -> str:
        """Return the address of an entry here."""
        return href(entry.kind, entry.path)

    def topic(self, taxonomy: str, slug: str) -> PlannedTopic | None:
        """Return the topic that stands for a term."""
        return self.topics.get((taxonomy, _decoded(slug)))

    def note_file(self, media: PlannedMedia) -> None:
        """Let addresses of this file lead to it."""
        self._by_file[original(media.url)] = media

    def _read(self, export: Export) -> None:
        try:
            for item in export.items():
                self.total += 1
                self._take(item, export.channel)
        except ExportBroken as broken:
            if not self.total:
                raise
            self._findings.problems.append(f"{broken} {self.total} items before that were sound and were taken.")
        if export.mended:
            self._findings.problems.append(
                f"{export.mended} bytes were not the text that the file says it is; they were read as Windows-1252."
            )

    def _take(self, item: Item, channel: Channel) -> None:
        base = channel.base or channel.link
        title = clean_title(item.title)
        if item.kind == "attachment":
            self._take_media(item, base, title)
        elif item.kind == "nav_menu_item":
            self._take_line(item, base)
        elif item.kind not in _ENTRIES:
            why = _UNSAID.get(item.kind, "this kind of content has no place here yet")
            self._findings.leave(item.kind, title, why)
        elif item.status not in _STATES:
            self._findings.leave(item.kind, title, _UNSAID.get(item.status, f"its state was “{item.status}”"))
        elif item.id in self.entries or not item.id:
            self._findings.leave(
                item.kind, title, "it is in the file twice" if item.id else "it has no number of its own"
            )
        else:
            self._take_entry(item, base, title)

    def _take_entry(self, item: Item, base: str, title: str) -> None:
        is_draft = item.status in ("draft", "pending")
        if item.is_locked:
            self._findings.change(item.kind, title, "it asked for a password; now members alone may read it")
        elif item.status == "private":
            self._findings.change(item.kind, title, "it was private; now members alone may read it")
        elif item.status == "pending":
            self._findings.change(item.kind, title, "it waited for review; now it is a draft")
        if item.comments:
            self._findings.leave("comment", title, "the site has no comments", item.comments)
        if not title:
            self._findings.change(item.kind, item.slug or f"No. {item.id}", f"it had no title; now it is {UNTITLED}")
        self.entries[item.id] = PlannedEntry(
            origin=f"wordpress:{base.rstrip('/')}#{item.kind}-{item.id}",
            kind=item.kind,
            wp_id=item.id,
            title=title or UNTITLED,
            wanted=_decoded(item.slug) or title or f"{item.kind}-{item.id}",
            parent=item.parent if item.kind == "page" else 0,
            position=item.order,
            state="draft" if is_draft else "published",
            visibility="members" if item.is_locked or item.status == "private" else "public",
            published_at=item.date or (None if is_draft else utcnow()),
            link=item.link,
            guid=item.guid,
            terms=[(term.taxonomy, _decoded(term.slug)) for term in item.terms if term.taxonomy in _KNOWN_TAXONOMIES],
        )
        for term in item.terms:
            self._take_term(term, title)
        self._findings.came[f"{item.kind}s"] += 1

    def _take_term(self, term: Term, title: str) -> None:
        if term.taxonomy in _KNOWN_TAXONOMIES:
            self._topic_for(term).used = True
        elif term.taxonomy == "post_format":
            self._findings.leave("post format", title, "posts here all look alike")
        elif term.taxonomy != "nav_menu":
            self._findings.leave("label", title, f"labels of the kind “{term.taxonomy}” have no place here")

    def _topic_for(self, term: Term) -> PlannedTopic:
        key = (term.taxonomy, _decoded(term.slug) or slugify(term.name))
        if key not in self.topics:
            self.topics[key] = PlannedTopic("", clean_title(term.name) or key[1])
        return self.topics[key]

    def _take_media(self, item: Item, base: str, title: str) -> None:
        url = item.file_url
        media = PlannedMedia(
            origin=f"wordpress:{base.rstrip('/')}#attachment-{item.id}",
            wp_id=item.id,
            parent=item.parent,
            order=item.order,
            name=file_name(url),
            url=url,
            alt=one_line(item.meta.get("_wp_attachment_image_alt", "")) or title,
            caption=one_line(markup.plain_text(item.excerpt)),
            created_at=item.date,
            link=item.link,
        )
        if item.id in self.media:
            self._findings.leave("file", media.name, "it is in the file twice")
            return
        media.href = self._here.media.get(media.origin, "")
        self.media[item.id] = media
        self.attached.setdefault(item.parent, []).append(media)
        self.note_file(media)
        self._findings.came["media"] += 1

    def _take_line(self, item: Item, base: str) -> None:
        menu = next((term for term in item.terms if term.taxonomy == "nav_menu"), Term("nav_menu", "menu", "Menu"))
        self.menu_names[menu.slug] = clean_title(menu.name) or menu.slug
        given = {name.removeprefix("_menu_item_"): value.strip() for name, value in item.meta.items()}
        self.menus.setdefault(menu.slug, []).append(
            PlannedLine(
                origin=f"wordpress:{base.rstrip('/')}#menu-{menu.slug}-{item.id}",
                wp_id=item.id,
                parent=number(given.get("menu_item_parent", "")),
                position=item.order,
                label=clean_title(item.title),
                kind=given.get("type", ""),
                object=given.get("object", ""),
                object_id=number(given.get("object_id", "")),
                url=given.get("url", ""),
            )
        )

    def _site(self) -> None:
        addresses = (self.channel.base, self.channel.link)
        found = (split(address).hostname or "" for address in addresses)
        self.hosts = {host.removeprefix("www.") for host in found if host}
        self.base_path = normal_path(split(self.channel.base or self.channel.link).path)

    def _place_entries(self) -> None:
        taken = set(self._here.taken)
        for entry in self._parents_first():
            known = self._here.entries.get(entry.origin)
            if known is not None:
                entry.path = known.path
                continue
            above = self.entries[entry.parent].path if entry.parent in self.entries else ""
            entry.path = free_path(entry.kind, above, entry.wanted, lambda path, kind=entry.kind: (kind, path) in taken)
            taken.add((entry.kind, entry.path))
            if entry.path.rpartition("/")[2] != slugify(entry.wanted):
                self._findings.change(entry.kind, entry.title, f"its address was taken; now it is {self.href(entry)}")

    def _parents_first(self) -> Iterator[PlannedEntry]:
        under: dict[int, list[PlannedEntry]] = {}
        for entry in self.entries.values():
            if self._is_circular(entry) or entry.parent not in self.entries:
                if entry.parent:
                    self._findings.change(
                        entry.kind, entry.title, "the page above it did not come; now it is at the root"
                    )
                entry.parent = 0
            under.setdefault(entry.parent, []).append(entry)
        waiting = list(reversed(under.get(0, [])))
        while waiting:
            entry = waiting.pop()
            yield entry
            waiting.extend(reversed(under.get(entry.wp_id, [])))

    def _is_circular(self, entry: PlannedEntry) -> bool:
        seen = {entry.wp_id}
        above = self.entries.get(entry.parent)
        while above is not None:
            if above.wp_id in seen or above.kind != "page" or len(seen) > 30:
                return True
            seen.add(above.wp_id)
            above = self.entries.get(above.parent)
        return False

    def _name_topics(self) -> None:
        for term in self.channel.labels:
            if term.taxonomy in _KNOWN_TAXONOMIES:
                self._topic_for(term)
        named = dict(self._here.topics)
        for (taxonomy, slug), topic in self.topics.items():
            topic.slug = _free_topic(slugify(slug) or "topic", topic.name, named)
            if topic.used:
                named[topic.slug] = topic.name
            if topic.slug != slugify(slug):
                self._findings.change(
                    "topic", topic.name, f"its address was taken; now it is /posts/topics/{topic.slug}"
                )
            topic.was = list(self._old_topic_addresses(taxonomy, slug))
        for entry in self.entries.values():
            for key in entry.terms:
                if key in self.topics and entry.kind == "post" and self.opens(entry):
                    self.topics[key].shown = True
        shown = {topic.slug for topic in self.topics.values() if topic.shown}
        for topic in self.topics.values():
            topic.shown = topic.shown or (topic.used and topic.slug in shown)
            if not topic.used:
                self._findings.leave("topic", topic.name, "nothing is filed under it")

    def opens(self, entry: PlannedEntry) -> bool:
        """Tell whether a visitor finds the entry here, as it was planned or as it was edited since."""
        known = self._here.entries.get(entry.origin)
        return known.is_open if known is not None and known.is_kept else entry.is_open

    def keeps(self, entry: PlannedEntry) -> bool:
        """Tell whether the entry was edited here since the last import, and so is left alone."""
        known = self._here.entries.get(entry.origin)
        return known is not None and known.is_kept

    def _old_topic_addresses(self, taxonomy: str, slug: str) -> Iterable[str]:
        first, query = ("category", "cat") if taxonomy == "category" else ("tag", "tag")
        below = [slug]
        parents = {term.slug: term.parent for term in self.channel.labels if term.taxonomy == taxonomy}
        while (parent := parents.get(below[0], "")) and len(below) < 10 and parent not in below:
            below.insert(0, parent)
        yield f"{first}/{'/'.join(below)}"
        if len(below) > 1:
            yield f"{first}/{slug}"
        if query == "tag":
            yield f"?tag={slug}"
        for number_, term in self.channel.terms.items():
            if query == "cat" and term.taxonomy == taxonomy and _decoded(term.slug) == slug:
                yield f"?cat={number_}"

    def _note_addresses(self) -> None:
        for entry in self.entries.values():
            old = self.own_path(entry.link)
            query = "page_id" if entry.kind == "page" else "p"
            entry.was = [f"?{query}={entry.wp_id}", *([f"?p={entry.wp_id}"] if query == "page_id" else [])]
            if old and old != self.href(entry).lstrip("/"):
                entry.was.append(old)

    def own_path(self, address: str) -> str:
        """Return the path of an address of the exported site, below its base; "" for its root, or for a query."""
        path = normal_path(split(address).path)
        if self.base_path and (path == self.base_path or path.startswith(self.base_path + "/")):
            path = path[len(self.base_path) :].lstrip("/")
        return path


def clean_title(title: str) -> str:
    """Return a title as text on one line: no markup, no entities."""
    return one_line(markup.plain_text(title))


def normal_path(path: str) -> str:
    """Return a path for comparison: decoded, NFC, without slashes at its ends or doubled."""
    return unicodedata.normalize("NFC", "/".join(part for part in unquote(path).split("/") if part))


def query_number(address: str, name: str) -> int:
    """Return the number that the query of `address` gives for `name`, else 0."""
    return number(parse_qs(split(address).query).get(name, ["0"])[0])


def stored(stored_name: str | None, name: str) -> str:
    """Return the address of a stored file, "" when its bytes are not here."""
    return file_href(stored_name, name) if stored_name else ""


def _decoded(slug: str) -> str:
    return unicodedata.normalize("NFC", unquote(slug))


def _free_topic(slug: str, name: str, named: dict[str, str]) -> str:
    tried, count = slug, 1
    while tried in named and named[tried].casefold() != name.casefold():
        count += 1
        tried = f"{slug}-{count}"
    return tried
