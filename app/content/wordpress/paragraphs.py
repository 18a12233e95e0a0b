"""Paragraphs of the classic editor, which stores them as blank lines."""

from __future__ import annotations

import re

_HOLDER_NAMES = "article|aside|blockquote|center|details|div|fieldset|footer|form|header|main|nav|section"
_HOLDERS = frozenset(_HOLDER_NAMES.split("|"))
_NAMES = (
    f"{_HOLDER_NAMES}|address|area|caption|colgroup|col|dd|dl|dt|figcaption|figure|h[1-6]|hgroup|hr|legend|li|map"
    "|menu|ol|pre|p|style|summary|table|tbody|td|tfoot|thead|th|tr|ul"
)
_OPEN = re.compile(rf"<(?:{_NAMES})(?=[\s/>])[^<>]*>", re.I)
_CLOSE = re.compile(rf"</(?:{_NAMES})\s*>|<hr(?=[\s/>])[^<>]*>", re.I)
_LEADING = re.compile(rf"(?:\s*</?(?:{_NAMES})(?=[\s/>])[^<>]*>)+", re.I)
_LAST_OPENED = re.compile(r"<(\w+)[^<>]*>\s*$")
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<br\s{0,9}/?>$", re.I)
_LITERAL = re.compile(r"<(pre|textarea)\b[^<>]*>", re.I)


def paragraphs(text: str) -> str:
    """Return classic content as HTML: blank lines part paragraphs, single line ends are line breaks."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, kept = set_aside(text, _LITERAL, "\n\n<pre data-kept={}></pre>\n\n")
    text = _TAG.sub(lambda found: found.group().replace("\n", " "), text)
    text = _OPEN.sub(lambda found: "\n\n" + found.group(), text)
    text = _CLOSE.sub(lambda found: found.group() + "\n\n", text)
    html = "\n".join(_chunk(chunk.strip()) for chunk in re.split(r"\n\s*\n", text) if chunk.strip())
    return re.sub(r"<pre data-kept=(\d+)></pre>", lambda found: kept[int(found.group(1))], html)


def set_aside(text: str, begins: re.Pattern[str], mark: str) -> tuple[str, list[str]]:
    """Put `mark`, with a number, where elements that `begins` opens stand; return the text and the elements."""
    parts: list[str] = []
    kept: list[str] = []
    lower, at, unended = text.lower(), 0, set()
    for found in begins.finditer(text):
        ending = f"</{found.group(1).lower()}>"
        if found.start() < at or ending in unended:
            continue
        end = lower.find(ending, found.end())
        if end < 0:
            # Looking again for an end that is not there would take the square of the text's length.
            unended.add(ending)
            continue
        parts += [text[at : found.start()], mark.format(len(kept))]
        at = end + len(ending)
        kept.append(text[found.start() : at])
    return "".join([*parts, text[at:]]), kept


def _chunk(chunk: str) -> str:
    """Wrap what stands in `chunk` between the block tags at its ends, where a paragraph may stand there."""
    leading = found.group() if (found := _LEADING.match(chunk)) else ""
    middle, trailing = _without_ends(chunk[len(leading) :])
    if not middle or "data-kept" in leading:
        return chunk
    lines = [line.strip() for line in middle.split("\n")]
    text = "\n".join([*(_BREAK.sub("", line) + "<br>" for line in lines[:-1]), lines[-1]])
    if not leading and trailing.lower().startswith("</p>"):
        return f"<p>{text}{trailing}"
    return leading + (f"<p>{text}</p>" if _may_hold(leading, trailing) else text) + trailing


def _without_ends(text: str) -> tuple[str, str]:
    """Return `text` without the closing block tags at its end, and these."""
    text, trailing = text.strip(), ""
    while text.endswith(">") and _CLOSE.fullmatch(text, begin := max(text.rfind("<"), 0)):
        text, trailing = text[:begin].rstrip(), text[begin:] + trailing
    return text, trailing


def _may_hold(leading: str, trailing: str) -> bool:
    opened = found.group(1).lower() if (found := _LAST_OPENED.search(leading)) else ""
    if not opened:
        return not trailing.lower().startswith(("</h", "</li", "</t", "</d"))
    return opened == "blockquote" or (opened in _HOLDERS and not trailing)
