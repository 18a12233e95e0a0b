"""Pictures that people send: opened only when they are what they say and not too large. No backend that could be down."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from flask import current_app, has_app_context
from PIL import Image

from app.tenancy.database import waiting
from app.tenancy.errors import Refused
from app.tenancy.locks import file_lock_if_free

MOST_PIXELS = 40_000_000
PATIENCE, GLANCE = 5.0, 0.05  # seconds that a picture waits for its turn, and between two looks


def remade(
    source: BinaryIO, make: Callable[[Image.Image], bytes], *, formats: tuple[str, ...], most: int, enough: int
) -> bytes:
    """Return what `make` makes of the picture in `source`, of one of `formats` and at most `most` bytes.

    Raises `Refused` for what is none, or has more than 40 million pixels; it then says that `enough` pixels a side will do.
    This is slow: do it before the transaction. Where one thread serves many, another one waits for it. One picture is made at
    a time on the whole machine; where many are, `Refused` says so.
    """
    advice = f"{enough} pixels a side are enough: save it smaller."
    data = source.read(most + 1)
    if len(data) > most:
        raise Refused(f"This picture has more than {most >> 20} MB. {advice}")
    try:
        with _turn(), Image.open(io.BytesIO(data), formats=formats) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Refused(f"This picture has too many pixels. {advice}")
            made: bytes = waiting.aside(lambda: make(picture))
            return made
    except Refused:
        raise
    except Exception as error:  # a file made for it has Pillow stumble in many ways
        raise Refused(f"This is not a picture that can be read. Use a {_spoken(formats)} file.") from error


def written(picture: Image.Image, form: str, **how: int | bool) -> bytes:
    """Return a picture as the bytes of a file that says nothing besides, such as where it was taken."""
    bare, file = Image.new(picture.mode, picture.size), io.BytesIO()
    bare.paste(picture)
    bare.save(file, form, **how)
    return file.getvalue()


@contextmanager
def _turn() -> Iterator[None]:
    """Hold the machine's one place for this, as a small file may take hundreds of megabytes. Without an app nobody waits."""
    if not has_app_context():
        yield
        return
    place, until = current_app.config["FREEHOLD"].instance / "locks" / "picture", time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with file_lock_if_free(place) as is_held:
            if is_held:
                yield
                return
        time.sleep(GLANCE)
    raise Refused("Many pictures are being made right now. Please send yours again in a minute.")


def _spoken(formats: tuple[str, ...]) -> str:
    names = [{"WEBP": "WebP"}.get(name, name) for name in formats]
    return f"{', '.join(names[:-1])} or {names[-1]}"
