"""The picture that stands for an organisation: one that was given, or a monogram that is drawn here."""

from __future__ import annotations

import unicodedata
from typing import BinaryIO

from markupsafe import Markup
from PIL import Image

from app.branding.models import Look
from app.facilities import images

EDGE = 512  # pixels
MOST_BYTES = 5 << 20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
SMALL_WORDS = frozenset(("a", "an", "and", "de", "der", "die", "for", "la", "le", "of", "the", "und"))

MONOGRAM = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="96" height="96">'
    '<rect width="96" height="96" rx="22" fill="{brand}"/>'
    '<g fill="none" stroke="{ink}" stroke-opacity=".18" stroke-width="1.5">'
    '<circle cx="88" cy="104" r="34"/><circle cx="88" cy="104" r="46"/><circle cx="88" cy="104" r="58"/></g>'
    '<rect x="18" y="76" width="60" height="4" rx="2" fill="{accent}"/>'
    '<text x="48" y="48" dy=".32em" text-anchor="middle" '
    'font-family="Iowan Old Style, Palatino Linotype, Palatino, P052, Georgia, serif" '
    'font-weight="600" font-size="{size}" fill="{ink}">{initials}</text></svg>'
)


def monogram(look: Look) -> str:
    """Draw the initials of the site on its colour, as SVG."""
    colours, letters = look.palette.light, initials(look.name)
    size = 44 if len(letters) > 1 else 54
    return MONOGRAM.format(
        brand=colours["brand"], ink=colours["on-brand"], accent=colours["accent"], size=size, initials=letters
    )


def initials(name: str) -> str:
    """Return the first letters of the first two words that carry meaning, of the only one if there is one."""
    words = [word for word in name.split() if any(_counts(letter) for letter in word)]
    telling = [word for word in words if word.lower() not in SMALL_WORDS] or words
    return "".join(next(letter for letter in word if _counts(letter)).upper() for word in telling[:2]) or "·"


def prepared(source: BinaryIO) -> bytes:
    """Return a picture as a PNG of at most 512 pixels a side alone; raises `Refused` for what is no picture.

    This is slow: do it before the transaction, then `storage.put` it and `Site.set_logo`.
    """
    return images.remade(source, _small, formats=FORMATS, most=MOST_BYTES, enough=EDGE)


def _small(picture: Image.Image) -> bytes:
    picture.thumbnail((EDGE, EDGE))
    return images.written(picture.convert("RGBA"), "PNG", optimize=True)


def _counts(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LN"
