"""One entry's text, from how WordPress stored it to what is shown here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from bs4 import BeautifulSoup

from app.content.wordpress import blocks, markup, pictures, shortcodes
from app.content.wordpress.links import Links
from app.content.wordpress.paragraphs import paragraphs
from app.content.wordpress.pictures import Picture
from app.content.wordpress.plan import Plan, PlannedEntry, PlannedMedia
from app.content.wordpress.reader import Item, number
from app.content.wordpress.report import Findings
from app.facilities import html as clean_html

LETTERS = 1_000_000  # of one text that is worked on; what is longer is brought in as plain text
SUMMARY_WORDS = 55
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".svg", ".tif", ".tiff")

PLACEHOLDER = "it is elsewhere; a note with its name stands in its place"

Bring = Callable[[str], Picture | None]


@dataclass(frozen=True, slots=True)
class Body:
    """What an entry shows, and what it is edited from."""

    html: str
    source: str
    source_format: str
    summary: str


class Texts:
    """Turns the texts of one export into ours; `bring` may fetch a picture."""

    def __init__(self, plan: Plan, links: Links, findings: Findings, bring: Bring | None = None) -> None:
        self._plan, self._links, self._findings = plan, links, findings
        self._bring = bring

    def body(self, item: Item, entry: PlannedEntry) -> Body:
        """Return the body of `entry`."""
        if item.oversize or len(item.content) > LETTERS:
            self._findings.change(entry.kind, entry.title, "its text is too long to work on; it is plain text now")
            return self._plain(item.content[: 2 * LETTERS])
        soup = markup.parse(self._html(item, entry), self._findings, entry.title)
        self._feature(soup, item)
        markup.modernise(soup)
        markup.link_embeds(soup, self._findings, entry.title)
        self._links.forget_picture_pages(soup)
        if missing := pictures.place(soup, self._picture):
            self._findings.change("picture", entry.title, PLACEHOLDER, missing)
        self._links.rewrite(soup, entry)
        lead = self._lead(soup, entry)
        markup.tidy(soup)
        return self._said(clean_html.clean(str(soup)).strip(), item, lead)

    def _html(self, item: Item, entry: PlannedEntry) -> str:
        text = item.content.replace("\r\n", "\n")
        text = shortcodes.expand(text, lambda given: self._gallery(given, entry), self._findings, entry.title)
        if blocks.is_blocks(text):
            return blocks.unwrap(text, self._findings, entry.title)
        return paragraphs(blocks.strip_comments(text))

    def _gallery(self, given: dict[str, str], entry: PlannedEntry) -> str:
        chosen = given.get("ids") or given.get("include") or ""
        if chosen:
            found = [self._plan.media.get(number(part)) for part in chosen.split(",")]
            shown = [media for media in found if media is not None]
        else:
            shown = sorted(self._plan.attached.get(entry.wp_id, []), key=lambda media: (media.order, media.wp_id))
            shown = [media for media in shown if media.name.lower().endswith(_PICTURES)]
        if not shown:
            self._findings.leave("gallery", entry.title, "none of its pictures is in the export")
            return ""
        return f'<div class="gallery">{"".join(_figure(media) for media in shown)}</div>'

    def _feature(self, soup: BeautifulSoup, item: Item) -> None:
        """Put the picture that stood above the text there, unless the text shows it."""
        media = self._plan.media.get(number(item.meta.get("_thumbnail_id", "")))
        if media is None or any(
            pictures.original(str(image.get("src") or "")) == pictures.original(media.url)
            for image in soup.find_all("img")
        ):
            return
        above = BeautifulSoup(_figure(media), "html.parser")
        for element in reversed(list(above.contents)):
            soup.insert(0, element.extract())

    def _picture(self, url: str) -> Picture | None:
        known = self._plan.picture(url)
        if self._bring is not None and (known is None or not known.href):
            return self._bring(url) or known
        return known

    def _lead(self, soup: BeautifulSoup, entry: PlannedEntry) -> str:
        """Return the HTML before the "more" mark; page marks become rules."""
        lead = ""
        for mark in soup.find_all("hr", attrs={"data-more": True}):
            lead = lead or "".join(str(before) for before in reversed(list(mark.previous_siblings)))
            mark.decompose()
        for mark in soup.find_all("hr", attrs={"data-page": True}):
            self._findings.change(entry.kind, entry.title, "it was on several pages; now it is on one")
            del mark["data-page"]
        return lead

    def _said(self, html: str, item: Item, lead: str) -> Body:
        text = clean_html.to_markdown(html)
        summary = clean_html.plain_text(item.excerpt).replace("\n", " ")[:1000]
        summary = summary or clean_html.excerpt(clean_html.clean(lead), SUMMARY_WORDS)
        if text is None:
            return Body(html, html, "html", summary or clean_html.excerpt(html, SUMMARY_WORDS))
        shown = clean_html.render_markdown(text)
        return Body(shown, text, "markdown", summary or clean_html.excerpt(shown, SUMMARY_WORDS))

    def _plain(self, text: str) -> Body:
        said = clean_html.plain_text(text)
        html = "".join(f"<p>{escape(line)}</p>" for line in said.split("\n") if line)
        return Body(html, html, "html", clean_html.excerpt(html, SUMMARY_WORDS))


def _figure(media: PlannedMedia) -> str:
    caption = f"<figcaption>{escape(media.caption)}</figcaption>" if media.caption else ""
    return f'<figure><img src="{escape(media.url)}" alt="{escape(media.alt)}">{caption}</figure>'
