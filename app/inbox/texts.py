"""How letters are shown: as they were written, and their beginnings in lists. No backend: it works on the text alone."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt

from app.facilities.html import clean
from app.facilities.text import one_line

PREVIEW_LENGTH = 140  # characters
LONGEST_LINKED = 20_000  # characters
_ENDLESS_WORD = re.compile(r"\S{2049}")


def preview(text: str) -> str:
    """Return the beginning of `text` on one line."""
    beginning = one_line(text[: 4 * PREVIEW_LENGTH])
    return beginning if len(beginning) <= PREVIEW_LENGTH else beginning[: PREVIEW_LENGTH - 1].rstrip() + "…"


def as_html(text: str) -> str:
    """Show a plain text: its paragraphs, its lines, and its addresses as links. A letter is no Markdown."""
    # Finding bare links takes the square of the longest word, and the writer's file is locked meanwhile.
    has_links = len(text) <= LONGEST_LINKED and not _ENDLESS_WORD.search(text)
    return clean(_reader(linkify=has_links).render(text))


@cache
def _reader(*, linkify: bool) -> MarkdownIt:
    rules = ["newline", "linkify"] if linkify else ["newline"]
    return MarkdownIt("zero", {"html": False, "breaks": True, "linkify": linkify}).enable(rules)
