"""WordPress' export format (WXR 1.0 to 1.2, an RSS feed with additions), read item by item.

Nothing is expanded, nothing is fetched, and no more than one item is in memory. A file that breaks off yields
the items before the break and then raises `ExportBroken`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from app.content.wordpress.source import ExportRefused, Text

ITEM_LETTERS = 8 * 1024 * 1024
SHORT = 10_000  # letters of a field that is kept even when its item is too long
ITEMS = 200_000
DEPTH = 24
NO_EXPORT = "The file is not an export of WordPress (Tools, Export, All content)."
TERMS = 50_000
SILENT_LETTERS = 16 * 1024 * 1024  # fed without one element beginning or ending
_NAMESPACES = (
    (re.compile(r"https?://(www\.)?wordpress\.org/export/[\d.]+/excerpt/$"), "excerpt"),
    (re.compile(r"https?://(www\.)?wordpress\.org/export/[\d.]+/$"), "wp"),
    (re.compile(r"http://purl\.org/rss/1\.0/modules/content/$"), "content"),
    (re.compile(r"http://purl\.org/dc/elements/1\.1/$"), "dc"),
)
_PARTS = frozenset(("wp:author", "wp:category", "wp:tag", "wp:term"))


class ExportBroken(Exception):
    """The export ends, or stops being XML, before it should; what came before is sound."""


@dataclass(frozen=True, slots=True)
class Term:
    """A category, a tag, a menu, or another kind of label."""

    taxonomy: str
    slug: str
    name: str
    parent: str = ""


@dataclass(slots=True)
class Channel:
    """What the export says of the site as a whole."""

    title: str = ""
    link: str = ""
    base: str = ""
    version: str = ""
    authors: dict[str, str] = field(default_factory=dict)
    terms: dict[int, Term] = field(default_factory=dict)
    labels: list[Term] = field(default_factory=list)


@dataclass(slots=True)
class Item:
    """One thing of the export. `oversize` tells that its text was too long to keep."""

    fields: dict[str, str] = field(default_factory=dict)
    terms: list[Term] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)
    comments: int = 0
    letters: int = 0
    oversize: bool = False

    @property
    def kind(self) -> str:
        return self._field("wp:post_type") or "post"

    @property
    def id(self) -> int:
        return number(self._field("wp:post_id"))

    @property
    def parent(self) -> int:
        return number(self._field("wp:post_parent"))

    @property
    def order(self) -> int:
        return number(self._field("wp:menu_order"))

    @property
    def status(self) -> str:
        return self._field("wp:status") or "publish"

    @property
    def slug(self) -> str:
        return self._field("wp:post_name")

    @property
    def title(self) -> str:
        return self._field("title")

    @property
    def link(self) -> str:
        return self._field("link")

    @property
    def guid(self) -> str:
        return self._field("guid")

    @property
    def creator(self) -> str:
        return self._field("dc:creator")

    @property
    def file_url(self) -> str:
        return self._field("wp:attachment_url") or self.guid

    @property
    def content(self) -> str:
        return self.fields.get("content:encoded", "")

    @property
    def excerpt(self) -> str:
        return self._field("excerpt:encoded")

    @property
    def is_sticky(self) -> bool:
        return self._field("wp:is_sticky") == "1"

    @property
    def is_locked(self) -> bool:
        return bool(self._field("wp:post_password"))

    @property
    def date(self) -> datetime | None:
        return moment(self._field("wp:post_date_gmt")) or moment(self._field("wp:post_date"))

    def _field(self, name: str) -> str:
        return self.fields.get(name, "").strip()


class Export:
    """An export that can be read more than once; `open_file` gives its bytes from the beginning."""

    def __init__(self, open_file: Callable[[], BinaryIO]) -> None:
        self._open_file = open_file
        self.channel = Channel()
        self.mended = 0

    def items(self) -> Iterator[Item]:
        """Yield the items in their order; raises `ExportRefused` or, after the sound ones, `ExportBroken`."""
        handler = _Handler(self.channel)
        parser = DefusedXMLParser(target=handler, forbid_dtd=True)
        with self._open_file() as file:
            text = Text(file)
            try:
                for piece in text.pieces():
                    handler.fed(len(piece))
                    parser.feed(piece)
                    yield from handler.taken()
                parser.close()
            except DefusedXmlException:
                raise ExportRefused(
                    "The file defines entities of its own, which no export does. It is not opened."
                ) from None
            except ParseError as error:
                yield from handler.taken()
                if not handler.is_export:
                    raise ExportRefused(NO_EXPORT) from error
                raise ExportBroken(f"The file stops being readable at line {error.position[0]}.") from error
            finally:
                self.mended = text.mended
        if not handler.is_export:
            raise ExportRefused(NO_EXPORT)


class _Handler:
    """What the parser tells, gathered into items."""

    def __init__(self, channel: Channel) -> None:
        self.is_export = False
        self._channel = channel
        self._stack: list[str] = []
        self._text: list[str] = []
        self._item: Item | None = None
        self._attributes: dict[str, str] = {}
        self._part: dict[str, str] = {}
        self._ready: list[Item] = []
        self._silent = 0
        self._length = 0
        self._count = 0

    def fed(self, letters: int) -> None:
        self._silent += letters
        if self._silent > SILENT_LETTERS:
            raise ExportRefused("The file holds one piece that is far too long for an export of WordPress.")

    def taken(self) -> list[Item]:
        ready, self._ready = self._ready, []
        return ready

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _short(tag)
        if not self._stack and name not in ("rss", "RDF"):
            raise ExportRefused(NO_EXPORT)
        self._stack.append(name)
        if len(self._stack) > DEPTH:
            raise ExportRefused("The file is nested far deeper than an export of WordPress.")
        self._silent, self._length, self._text = 0, 0, []
        if name == "item":
            self._item = Item()
        elif name == "category":
            self._attributes = dict(attributes)
        elif name in _PARTS or name == "wp:postmeta":
            self._part = {}
        self.is_export = self.is_export or name.startswith("wp:")

    def data(self, data: str) -> None:
        self._silent = 0
        self._length += len(data)
        if self._item is not None:
            self._item.letters += len(data)
            self._item.oversize = self._item.oversize or self._item.letters > ITEM_LETTERS
        is_full = self._item is None or self._item.oversize
        if is_full and self._length > SHORT:
            self._text = []
        else:
            self._text.append(data)

    def end(self, tag: str) -> None:
        name = self._stack.pop()
        above = self._stack[-1] if self._stack else ""
        text, self._text, self._silent = "".join(self._text), [], 0
        if self._item is not None:
            self._end_in_item(self._item, name, above, text)
        elif above in _PARTS:
            self._part[name] = text.strip()
        elif name in _PARTS:
            self._note_part(name)
        elif above == "channel":
            self._note_channel(name, text.strip())

    def close(self) -> None:
        """End the document, as the parser asks of every target."""

    def _end_in_item(self, item: Item, name: str, above: str, text: str) -> None:
        if name == "item":
            self._count += 1
            if self._count > ITEMS:
                raise ExportRefused(f"The file holds more than {ITEMS} items. Export it in parts.")
            self._ready.append(item)
            self._item = None
        elif name == "category" and above == "item" and self._attributes.get("domain"):
            given = self._attributes
            item.terms.append(Term(_taxonomy(given["domain"]), given.get("nicename", ""), text.strip()))
        elif name == "wp:comment":
            item.comments += 1
        elif name == "wp:postmeta":
            item.meta[self._part.get("wp:meta_key", "").strip()] = self._part.get("wp:meta_value", "")
        elif above == "wp:postmeta":
            self._part[name] = text
        elif above == "item":
            item.fields[name] = text

    def _note_channel(self, name: str, text: str) -> None:
        known = {"title": "title", "link": "link", "wp:base_blog_url": "base", "wp:wxr_version": "version"}
        if name in known:
            setattr(self._channel, known[name], text)

    def _note_part(self, name: str) -> None:
        part, channel = self._part, self._channel
        if len(channel.terms) > TERMS or len(channel.authors) > TERMS:
            return
        if name == "wp:author":
            channel.authors[part.get("wp:author_login", "")] = part.get("wp:author_display_name", "")
            return
        term = _term(name, part)
        channel.labels.append(term)
        if number(part.get("wp:term_id", "")):
            channel.terms[number(part["wp:term_id"])] = term


def number(text: str) -> int:
    """Return the whole number that `text` is, else 0."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def moment(text: str) -> datetime | None:
    """Return the UTC time that `text` gives as WordPress writes it; None for its zero date."""
    try:
        found = datetime.strptime(text.strip()[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found.year >= 1970 else None


def _term(name: str, part: dict[str, str]) -> Term:
    if name == "wp:category":
        parent = part.get("wp:category_parent", "")
        return Term("category", part.get("wp:category_nicename", ""), part.get("wp:cat_name", ""), parent)
    if name == "wp:tag":
        return Term("post_tag", part.get("wp:tag_slug", ""), part.get("wp:tag_name", ""))
    taxonomy = _taxonomy(part.get("wp:term_taxonomy", ""))
    return Term(taxonomy, part.get("wp:term_slug", ""), part.get("wp:term_name", ""), part.get("wp:term_parent", ""))


def _taxonomy(name: str) -> str:
    return "post_tag" if name == "tag" else name


def _short(tag: str) -> str:
    namespace, _, name = tag.rpartition("}")
    for pattern, prefix in _NAMESPACES:
        if namespace and pattern.match(namespace[1:]):
            return f"{prefix}:{name}"
    return name if not namespace else f"?:{name}"
