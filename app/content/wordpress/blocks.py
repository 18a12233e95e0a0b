"""The block editor's comments: what they say is in the HTML between them, or is made anew for each visit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from app.content.wordpress.paragraphs import paragraphs
from app.content.wordpress.report import Findings

_BLOCK = re.compile(r"\s*(?P<end>/)?wp:(?P<name>[a-z][a-z0-9_/-]*)\s*(?P<given>\{.*\})?\s*(?P<alone>/)?\s*$", re.S)
_URL = re.compile(r'"url"\s*:\s*"((?:[^"\\]|\\.)*)"')
_MADE_ON_DEMAND = frozenset(
    (
        *(
            "archives",
            "calendar",
            "categories",
            "latest-comments",
            "latest-posts",
            "loginout",
            "page-list",
            "rss",
            "search",
        ),
        *(
            "tag-cloud",
            "query",
            "navigation",
            "social-links",
            "comments",
            "post-comments",
            "site-title",
            "avatar",
            "block",
        ),
    )
)
MORE, PAGE = "<hr data-more>", "<hr data-page>"


def is_blocks(text: str) -> bool:
    """Tell whether the block editor wrote `text`."""
    return "<!-- wp:" in text


def unwrap(text: str, findings: Findings, title: str) -> str:
    """Return the HTML of all blocks; classic text between blocks gets its paragraphs."""
    parts: list[str] = []
    depth = at = 0
    for begin, end in _comments(text):
        parts.append(_between(text[at:begin], depth))
        at, comment = end, text[begin + 4 : end - 3]
        block = _BLOCK.match(comment)
        if block is None:
            parts.append(_marker(comment))
        elif block["end"]:
            depth = max(0, depth - 1)
        elif block["alone"]:
            parts.append(_empty_block(block, findings, title))
        else:
            depth += 1
    return "".join([*parts, _between(text[at:], depth)])


def strip_comments(text: str) -> str:
    """Return classic text without its comments, its more and page marks as elements."""
    parts: list[str] = []
    at = 0
    for begin, end in _comments(text):
        parts += [text[at:begin], _marker(text[begin + 4 : end - 3])]
        at = end
    return "".join([*parts, text[at:]])


def _comments(text: str) -> Iterator[tuple[int, int]]:
    begin = text.find("<!--")
    while begin >= 0 and (end := text.find("-->", begin + 4)) >= 0:
        yield begin, end + 3
        begin = text.find("<!--", end + 3)


def _between(text: str, depth: int) -> str:
    return text if depth or not text.strip() else paragraphs(text)


def _marker(comment: str) -> str:
    said = comment.strip().lower()
    if said.startswith("more"):
        return f"\n\n{MORE}\n\n"
    return f"\n\n{PAGE}\n\n" if said == "nextpage" else ""


def _empty_block(block: re.Match[str], findings: Findings, title: str) -> str:
    name = block["name"].removeprefix("core/")
    address = _URL.search(block["given"] or "")
    if "embed" in name and address:
        url = escape(address.group(1).replace("\\u0026", "&").replace("\\/", "/"))
        return f'<figure class="wp-block-embed"><a href="{url}">{url}</a></figure>'
    if name in _MADE_ON_DEMAND:
        findings.leave("block", title, f"“{name}” lists what WordPress has at the moment; the site has its own lists")
    elif name not in ("separator", "spacer", "paragraph"):
        findings.leave("block", title, f"“{name}” has no content in the export")
    return ""
