"""Pictures that people send: opened only when they are what they say and not too large. No backend that could be down."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from app.tenancy.database import waiting
from app.tenancy.errors import Refused

MOST_PIXELS = 40_000_000
DAMAGE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def remade(
    source: BinaryIO, make: Callable[[Image.Image], bytes], *, formats: tuple[str, ...], most: int, enough: int
) -> bytes:
    """Return what `make` makes of the picture in `source`, of one of `formats` and at most `most` bytes.

    Raises `Refused` for what is none, or has more than 40 million pixels; it then says that `enough` pixels a side will do.
    This is slow: do it before the transaction. Where one thread serves many, another one waits for it.
    """
    advice = f"{enough} pixels a side are enough: save it smaller."
    data = source.read(most + 1)
    if len(data) > most:
        raise Refused(f"This picture has more than {most >> 20} MB. {advice}")
    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Refused(f"This picture has too many pixels. {advice}")
            made: bytes = waiting.aside(lambda: make(picture))
            return made
    except DAMAGE as error:
        raise Refused(f"This is not a picture that can be read. Use a {_spoken(formats)} file.") from error


def written(picture: Image.Image, form: str, **how: int | bool) -> bytes:
    """Return a picture as the bytes of a file that says nothing besides, such as where it was taken."""
    bare, file = Image.new(picture.mode, picture.size), io.BytesIO()
    bare.paste(picture)
    bare.save(file, form, **how)
    return file.getvalue()


def _spoken(formats: tuple[str, ...]) -> str:
    names = [{"WEBP": "WebP"}.get(name, name) for name in formats]
    return f"{', '.join(names[:-1])} or {names[-1]}"
