"""HTML that may be shown, and the way to and from Markdown.

Nothing here has a backend: it works on the text alone, whatever else is down. The time it takes grows with
the length of the text, so bound the length before calling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from typing import Any

import nh3
from bs4 import Tag
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdownify import MarkdownConverter
from mdit_py_plugins.footnote import footnote_plugin


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TAGS = _words(
    """
    a abbr address article aside b bdi bdo blockquote br caption cite code col colgroup data dd del
    details dfn div dl dt em figcaption figure footer h2 h3 h4 h5 h6 header hr i img ins kbd li mark ol
    p pre q rp rt ruby s samp section small span strong sub summary sup table tbody td tfoot th thead
    time tr u ul var wbr
    """
)
CLASSES = _words(
    """
    aligncenter alignfull alignleft alignright alignwide button buttons column columns cover embed
    footnote-backref footnote-item footnote-ref footnotes footnotes-list footnotes-sep gallery
    media-text placeholder pullquote text-center text-justify text-left text-right verse
    """
)
_ATTRIBUTES = {
    "*": {"class", "dir", "id", "lang", "title"},
    "a": {"href", "hreflang"},
    "blockquote": {"cite"},
    "col": {"span"},
    "colgroup": {"span"},
    "data": {"value"},
    "del": {"cite", "datetime"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ins": {"cite", "datetime"},
    "li": {"value"},
    "ol": {"reversed", "start", "type"},
    "q": {"cite"},
    "td": {"colspan", "headers", "rowspan"},
    "th": {"colspan", "headers", "rowspan", "scope"},
    "time": {"datetime"},
}
_DROPPED_WHOLE = _words(
    """
    script style template noscript textarea select title svg math
    """
)
_LOCAL = re.compile(r"/(?![/\\])[^\t\r\n]*\Z")  # browsers drop tabs and line ends: "/\t/host" is another host
_ID = re.compile(r"[\w.:-]{1,80}")
_ID_PREFIX = "at-"
_ANY_TAG = re.compile(r"<(/)?(?!(?:area|br|col|hr|img|input|li|p|source|td|tr|wbr)\b)[a-z]", re.I)
NESTED = 1000  # elements within one another that are still parsed
DEEPEST = 60  # elements within one another that are worth a try in Markdown
_ENDLESS_WORD = re.compile(r"\S{2049}")
_ENDLESS_ROW = re.compile(r"^(?:[^\n|]*\|){101}", re.MULTILINE)
SWELLING, ALWAYS_PRINTED = 20, 10_000  # how many times longer than the text, and how long (characters), HTML may become
_LANGUAGE = re.compile(r"language-[\w+#-]{1,30}")
BLOCKS = _words(
    """
    address article aside blockquote caption col colgroup dd details div dl dt figcaption figure footer
    h2 h3 h4 h5 h6 header hr li ol p pre section summary table tbody td tfoot th thead tr ul
    """
)
_BLOCK_TAG = re.compile(rf"</?(?:{'|'.join(sorted(BLOCKS, key=len, reverse=True))}|br)\b[^>]*>")


def render_markdown(text: str) -> str:
    """Render Markdown (CommonMark, tables, strikethrough, footnotes, bare links) as HTML to show.

    HTML in the text is shown as text. The page's title is its only h1, so headings begin at h2.
    """
    # Finding bare links takes the square of the longest word; a table fills up every row to its widest.
    parser = _markdown(linkify=not _ENDLESS_WORD.search(text), tables=not _ENDLESS_ROW.search(text))
    environment: dict[str, Any] = {}
    tokens = parser.parse(text, environment)
    if _weight(tokens) > SWELLING * len(text) + ALWAYS_PRINTED:
        return f"<pre><code>{escape(text, quote=False)}</code></pre>"
    return clean(parser.renderer.render(tokens, parser.options, environment))


def _weight(tokens: Sequence[Token]) -> int:
    """Return, in characters, about how much HTML `tokens` become: a link named once is printed at each of its uses."""
    addresses = (str(address) for token in tokens for address in token.attrs.values())
    inner = sum(_weight(token.children) for token in tokens if token.children)
    return inner + sum(map(len, addresses)) + 8 * len(tokens)


def clean(html: str) -> str:
    """Keep what an article needs; drop scripts, styles, forms, frames, unknown classes, remote pictures.

    Cleaning twice changes nothing. Ids get a prefix, so that none can stand for one of the site's own.
    """
    return _cleaner().clean(bounded(html))


def bounded(html: str) -> str:
    """Return `html`, or its text alone when its elements lie deeper in one another than anybody writes.

    Parsing HTML by its standard takes the square of the depth.
    """
    depth = 0
    for found in _ANY_TAG.finditer(html):
        depth = max(0, depth - 1) if found.group(1) else depth + 1
        if depth > NESTED:
            return escape(re.sub(r"<[^<>]*>", " ", html), quote=False)
    return html


def to_markdown(html: str) -> str | None:
    """Say clean HTML in Markdown, or return None when Markdown would lose structure or text."""
    html = clean(html)
    shape, depth = _shape(html)
    if depth > DEEPEST:
        return None
    text: str = _Converter(
        heading_style="ATX", bullets="-", escape_misc=True, newline_style="backslash", wrap=False
    ).convert(html)
    return text if _shape(render_markdown(text))[0] == shape else None


def plain_text(html: str) -> str:
    """Return the text alone: a line for each block, no markup."""
    spaced = _BLOCK_TAG.sub("\n", clean(html))
    text = unescape(nh3.clean(spaced, tags=set(), strip_comments=True))
    return "\n".join(line for line in (" ".join(part.split()) for part in text.split("\n")) if line)


def excerpt(html: str, words: int) -> str:
    """Return the first `words` words of the text, with an ellipsis when there are more."""
    found = plain_text(html).split()
    return " ".join(found[:words]) + ("…" if len(found) > words else "")


@cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(TAGS),
        clean_content_tags=set(_DROPPED_WHOLE),
        attributes=_ATTRIBUTES,
        attribute_filter=_keep_attribute,
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel=None,
    )


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        known = (word for word in value.split() if word in CLASSES or _LANGUAGE.fullmatch(word))
        return " ".join(known) or None
    if name == "id":
        return _prefixed(value) if _ID.fullmatch(value) else None
    if name == "href" and value.startswith("#") and len(value) > 1:
        return "#" + _prefixed(value[1:])
    if name == "src":
        return value if _LOCAL.match(value) else None
    return value


def _prefixed(name: str) -> str:
    return name if name.startswith(_ID_PREFIX) else _ID_PREFIX + name


@cache
def _markdown(*, linkify: bool, tables: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": linkify})
    parser.enable(["strikethrough", "linkify", *(["table"] if tables else [])]).use(footnote_plugin)
    for rule in (_begin_headings_at_two, _align_cells_by_class, _link_remote_pictures):
        parser.core.ruler.push(rule.__name__, rule)
    return parser


def _begin_headings_at_two(state: StateCore) -> None:
    headings = [token for token in state.tokens if token.type in ("heading_open", "heading_close")]
    if any(token.tag == "h1" for token in headings):
        for token in headings:
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"


def _align_cells_by_class(state: StateCore) -> None:
    for token in state.tokens:
        style = str(token.attrs.pop("style", ""))
        if style.startswith("text-align:"):
            token.attrSet("class", "text-" + style.removeprefix("text-align:"))


def _link_remote_pictures(state: StateCore) -> None:
    for token in state.tokens:
        if token.children:
            token.children = list(_without_remote_pictures(token.children))


def _without_remote_pictures(tokens: list[Token]) -> Iterator[Token]:
    linked = 0
    for token in tokens:
        linked += token.nesting if token.type in ("link_open", "link_close") else 0
        source = str(token.attrGet("src") or "")
        if token.type != "image" or _LOCAL.match(source):
            yield token
            continue
        label = Token("text", "", 0, content=token.content or source)
        if linked:
            yield label
        else:
            yield from (Token("link_open", "a", 1, {"href": source}), label, Token("link_close", "a", -1))


class _Converter(MarkdownConverter):
    """markdownify, with the name of a code block's language kept."""

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        code = el.find("code")
        content = el.get_text().strip("\n")
        language = _language(code) if code else ""
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
        return f"\n\n{fence}{language}\n{content}\n{fence}\n\n"


def _language(code: Tag) -> str:
    words = [str(word) for word in code.get_attribute_list("class") if word]
    return next((word.removeprefix("language-") for word in words if word.startswith("language-")), "")


def _shape(html: str) -> tuple[list[str], int]:
    """Return what a reader would notice: elements, attributes, text without spaces; and how deep it goes."""
    reader = _Shape()
    reader.feed(html)
    reader.close()
    return reader.finished(), reader.deepest


class _Shape(HTMLParser):
    _same = {"b": "strong", "i": "em", "del": "s"}
    _unseen = frozenset(("thead", "tbody"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._text = ""
        self._open: list[str] = []
        self.deepest = 0

    def finished(self) -> list[str]:
        self._flush()
        return self._parts

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = "".join(f" {name}={value}" for name, value in sorted(attrs))
        self._mark(tag, f"<{self._same.get(tag, tag)}{said}")
        if tag not in ("br", "hr", "img", "wbr", "col"):
            self._open.append(tag)
            self.deepest = max(self.deepest, len(self._open))

    def handle_endtag(self, tag: str) -> None:
        self._flush()
        self._open.pop()
        if tag == "a" and self._says_its_address():
            address = self._parts.pop()
            self._parts.pop()
            self._text = address.removeprefix("=")
        else:
            self._mark(tag, "/" + self._same.get(tag, tag))

    def handle_data(self, data: str) -> None:
        self._text += data if "pre" in self._open else re.sub(r"[ \t\r\n]+", "", data)

    def _mark(self, tag: str, mark: str) -> None:
        # Markdown makes paragraphs of items by the blank lines between them: nothing but space to a reader.
        if tag in self._unseen or (tag == "p" and self._open[-1:] == ["li"]):
            return
        self._flush()
        self._parts.append(mark)

    def _says_its_address(self) -> bool:
        return self._parts[-2:-1] == [f"<a href={self._parts[-1].removeprefix('=')}"]

    def _flush(self) -> None:
        text = self._text.strip("\n")
        self._text = ""
        if text and self._parts and self._parts[-1].startswith("="):
            self._parts[-1] += text
        elif text:
            self._parts.append("=" + text)
