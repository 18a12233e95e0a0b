"""Addresses of entries: slugs that people can read, in any script, and what the platform keeps for itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import count

SLUG_LENGTH = 80  # characters
RESERVED = frozenset(
    {
        "desk", "live", "api", "files", "static", "sign-in", "sign-out", "set-up", "invitation", "posts", "feed.xml",
        "sitemap.xml", "robots.txt", "_theme", "healthz", "readyz", "metrics", ".well-known", "favicon.ico",
        "contact/thanks",
    }
)  # fmt: skip


def slugify(text: str) -> str:
    """Return `text` as a slug: lower case, letters, marks and digits of any script, single hyphens between.

    It is in Unicode's NFC, at most `SLUG_LENGTH` characters, and "" when nothing of `text` can stand in it.
    """
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else "-" for c in tidy(text) if c not in "'’")
    return "-".join(part for part in kept.split("-") if part)[:SLUG_LENGTH].rstrip("-")


def free_path(kind: str, above: str, wanted: str, is_taken: Callable[[str], bool]) -> str:
    """Return the path below `above` for `wanted`, numbered while it is reserved or `is_taken`."""
    slug = slugify(wanted) or kind
    for number in count(1):
        ending = f"-{number}" if number > 1 else ""
        tried = slug[: SLUG_LENGTH - len(ending)] + ending
        path = f"{above}/{tried}" if above else tried
        if not is_reserved(kind, path) and not is_taken(path):
            break
    return path


def tidy(path: str) -> str:
    """Return a path as ours are written: lower case, and in Unicode's NFC."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_reserved(kind: str, path: str) -> bool:
    """Tell whether the platform itself answers where an entry of that kind and path would."""
    return path in RESERVED if kind == "page" else path == "topics"
