"""Links inside the texts: to where their targets are now, or, when these did not come, no link at all."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, urljoin

from bs4 import BeautifulSoup

from app.content.wordpress.plan import Plan, PlannedEntry, normal_path, query_number
from app.content.wordpress.report import Findings
from app.content.wordpress.urls import split

_TAIL = re.compile(r"(?:^|/)(?:feed(?:/(?:rss2?|atom|rdf))?|trackback|embed|amp|(?:comment-)?page[/-]\d+|\d{1,3})$")
_DATE = re.compile(r"\d{4}(?:/\d{1,2}){0,2}(?:/page/\d+)?$")
_FORMS = re.compile(r"(?:wp-login\.php|wp-admin|wp-signup\.php|xmlrpc\.php|wp-json|wp-comments-post\.php)(?:/|$)")
_UPLOADS = re.compile(r"(?:wp-content/|files/\d{4}/)")
_FILE = re.compile(r"\.(?!html?$|php$)[A-Za-z0-9]{2,5}$")
ARCHIVE = "/posts/"


class Links:
    """The old site's addresses, each with what it leads to here."""

    def __init__(self, plan: Plan, findings: Findings) -> None:
        self._plan, self._findings = plan, findings
        self._entries: dict[str, PlannedEntry] = {}
        self._by_slug: dict[str, list[PlannedEntry]] = {}
        self._attached: dict[str, int] = {}
        for entry in plan.entries.values():
            self._entries.setdefault(plan.own_path(entry.link), entry)
            self._entries.setdefault(entry.guid, entry)
            self._by_slug.setdefault(normal_path(entry.wanted).casefold(), []).append(entry)
        for media in plan.media.values():
            self._attached.setdefault(plan.own_path(media.link), media.wp_id)
        self._entries.pop("", None)
        self._attached.pop("", None)
        self._topics = {old: topic for topic in plan.topics.values() for old in topic.was}

    def rewrite(self, soup: BeautifulSoup, source: PlannedEntry) -> None:
        """Let every link of `source` lead to something that answers, or turn it into its text."""
        for link in soup.find_all("a"):
            given = str(link.get("href") or "").strip()
            if not given or given.startswith(("#", "mailto:", "tel:", "/files/")):
                continue
            target = self.target(given, source)
            if target:
                link["href"] = target
                continue
            label = link.get_text(" ", strip=True)[:60] or given
            self._findings.leave("link", source.title, f"“{label}” led to {given[:120]}, {self._why(given, source)}")
            del link["href"]
            link.unwrap()

    def forget_picture_pages(self, soup: BeautifulSoup) -> None:
        """Take away links from pictures to pages that showed nothing but the picture."""
        for link in soup.find_all("a"):
            path = self._plan.own_path(self._whole(str(link.get("href") or ""), None))
            if path in self._attached and link.find("img"):
                link.unwrap()

    def target(self, given: str, source: PlannedEntry | None) -> str:
        """Return the address here of what `given` leads to; "" when nothing here answers for it."""
        if given.startswith("/files/"):
            return given
        address = self._whole(given, source)
        parts = split(address)
        if address in self._entries:
            return self._entry(self._entries[address], "", source)
        media = self._plan.picture(address)
        if media is not None and media.href:
            return media.href
        if not self._plan.is_own(parts.hostname or ""):
            return given if parts.scheme in ("http", "https", "mailto", "tel") else ""
        path = self._plan.own_path(address)
        return self._by_query(address, path, source) if parts.query else self._by_path(path, parts.fragment, source)

    def _whole(self, given: str, source: PlannedEntry | None) -> str:
        base = (source.link if source else "") or self._plan.channel.base or self._plan.channel.link
        try:
            return urljoin(base, given.replace("\\", "/"))
        except ValueError:
            return ""

    def _by_query(self, address: str, path: str, source: PlannedEntry | None) -> str:
        query = parse_qs(split(address).query)
        for name in ("p", "page_id", "attachment_id"):
            if name in query:
                return self._by_id(query_number(address, name), source)
        for name in ("cat", "tag"):
            if name in query:
                topic = self._topics.get(f"?{name}={query[name][0]}")
                return f"/posts/topics/{quote(topic.slug)}" if topic and topic.shown else ""
        if "author" in query or "m" in query:
            return self._archive(address)
        return "" if {"s", "replytocom"} & set(query) else self._by_path(path, "", source)

    def _by_id(self, wp_id: int, source: PlannedEntry | None) -> str:
        if wp_id in self._plan.entries:
            return self._entry(self._plan.entries[wp_id], "", source)
        return self._attachment(wp_id, source)

    def _by_path(self, path: str, fragment: str, source: PlannedEntry | None) -> str:
        if not path or path in ("home", "index.php"):
            return "/"
        if path in ("feed", "feed/atom", "feed/rss2", "feed/rss"):
            return "/feed.xml"
        if path in self._entries:
            return self._entry(self._entries[path], fragment, source)
        if path in self._attached:
            return self._attachment(self._attached[path], source)
        topic = self._topics.get(path)
        if topic is not None:
            return f"/posts/topics/{quote(topic.slug)}" if topic.shown else ""
        if _FORMS.match(path) or _UPLOADS.match(path) or _FILE.search(path):
            return ""
        if _DATE.match(path) or path.startswith("author/") or re.fullmatch(r"page/\d+", path):
            return self._archive(path)
        shorter = _TAIL.sub("", path)
        if shorter != path:
            return self._by_path(shorter, "", source)
        # As WordPress does: an address with a mistaken date or parent still leads to the only entry of its name.
        alike = self._by_slug.get(path.rpartition("/")[2].casefold(), [])
        return self._entry(alike[0], fragment, source) if len(alike) == 1 else ""

    def _entry(self, entry: PlannedEntry, fragment: str, source: PlannedEntry | None) -> str:
        for_members = source is not None and source.visibility == "members"
        if not self._plan.opens(entry) and not (for_members and entry.visibility == "members"):
            return ""
        comments = fragment.startswith(("comment", "respond"))
        return quote(self._plan.href(entry)) + (f"#at-{fragment}" if fragment and not comments else "")

    def _attachment(self, wp_id: int, source: PlannedEntry | None) -> str:
        """Return the file itself when it is here, else the entry that it is shown in."""
        media = self._plan.media.get(wp_id)
        if media is None or media.href:
            return media.href if media else ""
        holder = self._plan.entries.get(media.parent)
        return self._entry(holder, "", source) if holder else ""

    def _archive(self, address: str) -> str:
        self._findings.change("link", address[:80], "lists by date or author are one list of all posts here")
        return ARCHIVE

    def _why(self, given: str, source: PlannedEntry) -> str:
        address = self._whole(given, source)
        path = self._plan.own_path(address)
        entry = self._entries.get(address) or self._entries.get(path)
        if entry is not None:
            return "which visitors may not read"
        if _FORMS.match(path):
            return "which is part of WordPress"
        if _UPLOADS.match(path) or _FILE.search(path):
            return "a file that is not here"
        return "which is not in the export"
