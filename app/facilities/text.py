"""Plain text as people type or paste it, made fit to be stored, shown, sent and put into XML. It works on the text alone."""

from __future__ import annotations

import re

# Control characters but tab and line end, halves of surrogate pairs, and what XML 1.0 section 2.2 leaves out.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def one_line(text: str) -> str:
    """Return `text` on one line, as a title, a list or a header has room for, without control characters."""
    return " ".join(filter(None, (UNPRINTABLE.sub("", word) for word in text.split())))


def lines(text: str) -> str:
    """Return `text` with its lines as they are, without control characters and the space around it."""
    return UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
