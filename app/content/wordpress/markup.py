"""The HTML of an entry made fit for a site of ours: outdated elements renamed, what may not be shown taken out."""

from __future__ import annotations

import re
from html import escape

import nh3
from bs4 import BeautifulSoup, PageElement, Tag
from bs4.element import AttributeValueList

from app.content.wordpress.report import Findings
from app.content.wordpress.urls import split
from app.facilities import html as markup

_EXTRA_TAGS = frozenset(
    (
        *(
            "h1",
            "iframe",
            "embed",
            "object",
            "form",
            "input",
            "button",
            "audio",
            "video",
            "source",
            "center",
            "font",
            "big",
        ),
        *(
            "tt",
            "strike",
            "acronym",
            "main",
            "nav",
            "label",
            "fieldset",
            "legend",
            "picture",
            "map",
            "area",
            "hgroup",
            "menu",
        ),
    )
)
_ATTRIBUTES = {
    "*": {"align", "class", "dir", "id", "lang", "style", "title", "data-more", "data-page"},
    "a": {"href", "hreflang", "name"},
    "img": {"alt", "data-lazy-src", "data-orig-file", "data-src", "height", "src", "width"},
    "iframe": {"data-src", "src"},
    "embed": {"src"},
    "object": {"data"},
    "audio": {"src"},
    "video": {"src"},
    "source": {"src"},
    "ol": {"reversed", "start", "type"},
    "li": {"value"},
    "td": {"colspan", "headers", "rowspan"},
    "th": {"colspan", "headers", "rowspan", "scope"},
    "col": {"span"},
    "colgroup": {"span"},
    "time": {"datetime"},
    "details": {"open"},
    "blockquote": {"cite"},
    "q": {"cite"},
    "del": {"cite", "datetime"},
    "ins": {"cite", "datetime"},
    "data": {"value"},
}
_RENAMED = {"strike": "s", "tt": "code", "acronym": "abbr", "center": "div", "menu": "ul"}
_UNWRAPPED = ("font", "big", "main", "nav", "picture", "hgroup", "label")
_CLASSES = {
    "wp-block-columns": "columns",
    "wp-block-column": "column",
    "wp-block-cover": "cover",
    "wp-block-cover-image": "cover",
    "wp-block-media-text": "media-text",
    "wp-block-buttons": "buttons",
    "wp-block-button": "buttons",
    "wp-block-button__link": "button",
    "wp-block-verse": "verse",
    "wp-block-pullquote": "pullquote",
    "has-text-align-left": "text-left",
    "has-text-align-center": "text-center",
    "has-text-align-right": "text-right",
    "has-text-align-justify": "text-justify",
}
_TEXT_ALIGN = re.compile(r"text-align\s*:\s*(left|center|right|justify)", re.I)
_BACKGROUND = re.compile(r"background(?:-image)?\s*:[^;]{0,200}?url\(\s*[\"']?(https?://[^\s\"')]+)", re.I)
_ENDING_BREAKS = ("a", "cite", "dd", "figcaption", "h2", "h3", "h4", "h5", "h6", "li", "p", "td", "th")
_SITES = {
    "youtube.com": "YouTube", "youtu.be": "YouTube", "youtube-nocookie.com": "YouTube", "vimeo.com": "Vimeo",
    "twitter.com": "Twitter", "x.com": "X", "facebook.com": "Facebook", "instagram.com": "Instagram",
    "tiktok.com": "TikTok", "soundcloud.com": "SoundCloud", "spotify.com": "Spotify", "flickr.com": "Flickr",
    "wordpress.tv": "WordPress.tv", "dailymotion.com": "Dailymotion", "ted.com": "TED", "reddit.com": "Reddit",
    "google.com": "Google", "openstreetmap.org": "OpenStreetMap", "slideshare.net": "SlideShare", "issuu.com": "Issuu",
}  # fmt: skip
_SCRIPT = re.compile(r"<script\b", re.I)


def parse(html: str, findings: Findings, title: str) -> BeautifulSoup:
    """Return the HTML as a sound tree, without what runs by itself."""
    if scripts := len(_SCRIPT.findall(html)):
        findings.leave("script", title, "programs inside texts are not brought in", scripts)
    sound = nh3.clean(
        markup.bounded(html),
        tags=set(markup.TAGS | _EXTRA_TAGS),
        clean_content_tags={"script", "style", "svg", "math", "noscript", "template", "textarea", "select"},
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto", "tel", "data"},
        link_rel=None,
    )
    return BeautifulSoup(sound, "html.parser")


def modernise(soup: BeautifulSoup) -> None:
    """Say with today's elements and our classes what was said with outdated ones and with styles."""
    _shift_headings(soup)
    for tag in soup.find_all(True):
        words = [str(word) for word in tag.get_attribute_list("class") if word]
        if found := _BACKGROUND.search(str(tag.get("style") or "")):
            tag.insert(0, soup.new_tag("img", attrs={"src": found.group(1), "alt": ""}))
        if found := _TEXT_ALIGN.search(str(tag.get("style") or "")):
            words.append(f"text-{found.group(1).lower()}")
        if tag.name == "center" or (tag.name in ("p", "div", "td", "th") and tag.get("align") == "center"):
            words.append("text-center")
        words = list(dict.fromkeys(_CLASSES.get(word, word) for word in words))
        tag.name = _RENAMED.get(tag.name, tag.name)
        del tag["style"], tag["align"]
        if words:
            tag["class"] = AttributeValueList(words)
        if tag.name == "a" and tag.get("name") and not tag.get("id"):
            tag["id"] = tag["name"]
    for tag in soup.find_all(_UNWRAPPED):
        tag.unwrap()
    for holder in soup.select("figure.pullquote, figure.wp-block-table"):
        _open_holder(holder)
    for spacer in soup.select(".wp-block-spacer"):
        spacer.decompose()


def link_embeds(soup: BeautifulSoup, findings: Findings, title: str) -> None:
    """Turn what plays from elsewhere into a link to it; take forms and their fields out."""
    for tag in soup.select("iframe, embed, object, audio, video"):
        if tag.decomposed:
            continue
        within = tag.find(src=True)
        address = (
            tag.get("src")
            or tag.get("data-src")
            or tag.get("data")
            or (within.get("src") if isinstance(within, Tag) else "")
        )
        _replace(soup, tag, str(address or ""), findings, title)
    for holder in soup.select("figure.wp-block-embed, figure[class*=wp-block-embed-]"):
        if not holder.decomposed:
            link = holder.find("a")
            found = str(link.get("href")) if isinstance(link, Tag) else _bare_address(holder)
            _replace(soup, holder, found, findings, title)
    for paragraph in soup.find_all("p"):
        said = paragraph.get_text(strip=True)
        if said.startswith(("http://", "https://")) and " " not in said and _site(said) and not paragraph.find("img"):
            _replace(soup, paragraph, said, findings, title)
    for form in soup.find_all("form"):
        findings.leave("form", title, "forms are made anew here; the text around its fields is kept")
        form.unwrap()
    for tag in soup.find_all(("input", "button", "fieldset", "legend", "source", "map", "area")):
        tag.unwrap() if tag.name in ("fieldset", "legend", "button") else tag.decompose()


def tidy(soup: BeautifulSoup) -> None:
    """Take out what is left empty, and wrappers that say nothing."""
    for tag in soup.find_all(_ENDING_BREAKS):
        while isinstance(last := _last(tag), Tag) and last.name == "br":
            last.decompose()
    for tag in soup.find_all(("p", "figcaption", "h2", "h3", "h4", "h5", "h6", "a", "span", "div")):
        if not tag.decomposed and not tag.get("id") and _is_empty(tag):
            tag.decompose()
    for wrapper in soup.find_all(("div", "span")):
        if not _says_something(wrapper):
            wrapper.unwrap()


def _last(tag: Tag) -> PageElement | None:
    return next((child for child in reversed(tag.contents) if str(child).strip()), None)


def _is_empty(tag: Tag) -> bool:
    return not tag.get_text(strip=True) and not tag.find(("img", "hr", "figure"))


def _says_something(wrapper: Tag) -> bool:
    """Tell whether a wrapper has a mark of its own, or parts one line of text from the next."""
    kept = {str(word) for word in wrapper.get_attribute_list("class")} & markup.CLASSES
    if kept or any(wrapper.get(name) for name in ("id", "lang", "dir", "title")):
        return True
    return wrapper.name == "div" and any(
        str(child).strip() and not (isinstance(child, Tag) and child.name in markup.BLOCKS)
        for child in wrapper.contents
    )


def card(address: str, caption: str = "") -> str:
    """Return the link that stands for something played or shown from elsewhere; `caption` is HTML."""
    parts = split(address)
    shown = f"{(parts.hostname or '').removeprefix('www.')}{parts.path.rstrip('/')}"
    site = _site(address)
    label = escape(f"{site}: {shown}" if site else shown)
    said = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="embed"><a href="{escape(address)}">{label}</a>{said}</figure>'


def _replace(soup: BeautifulSoup, tag: Tag, address: str, findings: Findings, title: str) -> None:
    address = "https:" + address if address.startswith("//") else address
    if not address.startswith(("http://", "https://", "/")):
        findings.leave("embed", title, "it names no address")
        tag.decompose()
        return
    caption = tag.find("figcaption") or (
        tag.parent.find("figcaption") if tag.parent and tag.parent.name == "figure" else None
    )
    made = BeautifulSoup(
        card(address, caption.decode_contents().strip() if isinstance(caption, Tag) else ""), "html.parser"
    )
    holder = tag.parent if tag.parent is not None and tag.parent.name in ("figure", "p") else tag
    if holder.get_text(strip=True) not in (
        "",
        tag.get_text(strip=True),
        caption.get_text(strip=True) if caption else "",
    ):
        holder = tag
    findings.change("embed", title, f"shown from {split(address).hostname or 'a file'}; it is a link now")
    holder.replace_with(*list(made.contents))


def _bare_address(holder: Tag) -> str:
    found = re.search(r"https?://[^\s<>\"]+", holder.get_text(" "))
    return found.group() if found else ""


def _site(address: str) -> str:
    host = (split(address).hostname or "").lower()
    return next((name for known, name in _SITES.items() if host == known or host.endswith("." + known)), "")


def _shift_headings(soup: BeautifulSoup) -> None:
    if soup.find("h1"):
        for heading in soup.find_all(re.compile(r"^h[1-5]$")):
            heading.name = f"h{int(heading.name[1]) + 1}"


def _open_holder(holder: Tag) -> None:
    """Take the figure away around a quotation or a table, whose caption then follows it."""
    for inner in holder.find_all(("blockquote", "table"), limit=1):
        if inner.name == "blockquote":
            inner["class"] = AttributeValueList(["pullquote"])
    for caption in holder.find_all("figcaption"):
        caption.name, caption.attrs = "p", {}
    holder.unwrap()
