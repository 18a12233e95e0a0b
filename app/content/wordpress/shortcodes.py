"""Shortcodes: WordPress' own become HTML, those of plugins are taken out, brackets that people wrote stay."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from app.content.wordpress.paragraphs import set_aside
from app.content.wordpress.report import Findings

_CODE = re.compile(r"\[(?P<escaped>\[)?(?P<end>/)?(?P<name>[A-Za-z][\w-]{1,40})(?P<given>(?:\s[^\[\]]{0,2000})?)\]")
_GIVEN = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"']+))|\"([^\"]*)\"|(\S+)")
_QUOTES = str.maketrans({"“": '"', "”": '"', "″": '"', "‘": "'", "’": "'"})
_LITERAL = re.compile(r"<(pre|code|script|style)\b[^<>]*>", re.I)
_WITH_END = frozenset(("caption", "wp_caption", "embed", "audio", "video", "playlist"))
_ALONE = frozenset(("gallery", "audio", "video", "embed", "playlist"))
_FILES = ("src", "mp3", "m4a", "ogg", "wav", "flac", "wma", "mp4", "m4v", "webm", "ogv", "mov", "wmv", "flv")

Given = dict[str, str]
Gallery = Callable[[Given], str]


def expand(text: str, gallery: Gallery, findings: Findings, title: str) -> str:
    """Return `text` with its shortcodes turned into HTML or taken out; `gallery` answers for [gallery]."""
    text, kept = set_aside(text.replace("\ue000", "").replace("\ue001", ""), _LITERAL, "\ue000{}\ue001")
    text = _Expander(text, gallery, findings, title).result()
    return re.sub("\ue000(\\d+)\ue001", lambda found: kept[int(found.group(1))], text)


class _Expander:
    def __init__(self, text: str, gallery: Gallery, findings: Findings, title: str) -> None:
        self._text, self._gallery, self._findings, self._title = text, gallery, findings, title
        self._codes = list(_CODE.finditer(text))
        self._ended = {code["name"].lower() for code in self._codes if code["end"]}

    def result(self) -> str:
        parts, at = [], 0
        for position, code in enumerate(self._codes):
            if code.start() < at:
                continue
            parts.append(self._text[at : code.start()])
            said, at = self._one(position, code)
            parts.append(said)
        return "".join([*parts, self._text[at:]])

    def _one(self, position: int, code: re.Match[str]) -> tuple[str, int]:
        """Return what stands for the shortcode, and where the text goes on."""
        name, given = code["name"].lower(), _given(code["given"])
        if code["escaped"]:
            return code.group()[1:], code.end() + (self._text[code.end() : code.end() + 1] == "]")
        if name in _WITH_END and not code["end"] and (end := self._end(position, name)):
            return self._own(name, given, self._text[code.end() : end.start()]), end.end()
        if name in _ALONE and not code["end"]:
            return self._own(name, given, ""), code.end()
        if not (code["end"] or given.get("=") or name in self._ended or "_" in name or "-" in name):
            return code.group(), code.end()
        if not code["end"]:
            self._findings.leave("shortcode", self._title, f"[{name}] belongs to a plugin that is not here")
        return "", code.end()

    def _end(self, position: int, name: str) -> re.Match[str] | None:
        for code in self._codes[position + 1 : position + 200]:
            if code["name"].lower() == name:
                return code if code["end"] else None
        return None

    def _own(self, name: str, given: Given, inner: str) -> str:
        if name in ("caption", "wp_caption"):
            return _captioned(given, inner)
        if name == "gallery":
            return f"\n\n{self._gallery(given)}\n\n"
        if name == "playlist":
            self._findings.leave("shortcode", self._title, "[playlist] has no counterpart here")
            return ""
        address = next((given[key] for key in _FILES if given.get(key)), "") or inner.strip() or given.get("0", "")
        return f'\n\n<figure class="wp-block-embed"><a href="{escape(address)}">{escape(address)}</a></figure>\n\n'


def _captioned(given: Given, inner: str) -> str:
    picture, caption = inner.strip(), given.get("caption", "")
    if not caption:
        found = re.match(r"\s*(?:<a\b[^>]*>\s*)?<img\b[^>]*>(?:\s*</a>)?", picture, re.I)
        cut = found.end() if found else picture.find(">", picture.find("<img")) + 1
        picture, caption = picture[:cut], picture[cut:]
    align = given.get("align", "")
    said = " ".join(caption.split())
    return f'\n\n<figure class="{escape(align)}">{picture}<figcaption>{said}</figcaption></figure>\n\n'


def _given(text: str) -> Given:
    """Return the attributes by name, bare ones by their place; "=" tells that one had a name."""
    given: Given = {}
    for found in _GIVEN.finditer(text.translate(_QUOTES)):
        name, double, single, bare, quoted, alone = found.groups()
        if name:
            given[name.lower()] = double or single or bare or ""
            given["="] = "yes"
        else:
            given[str(len(given))] = quoted or alone or ""
    return given
