"""The pictures that stand for people: made small and square from what they send, and shown to people of the organisation."""

from __future__ import annotations

from typing import BinaryIO

from flask import Blueprint, Response, abort, request
from PIL import Image, ImageOps

from app.accounts.models import User
from app.accounts.policy import may, member_required
from app.facilities import images, storage
from app.facilities.rates import Rate
from app.tenancy import db

EDGE = 256  # pixels
MOST_BYTES = 10 << 20  # as phones make them
FORMATS = ("JPEG", "PNG", "WEBP")
# The copies keep each one, whatever is removed later.
A_DAY = Rate("pictures", 20, 24 * 3600, "You have changed your picture very often today.")
KEPT = "private, max-age=31536000, immutable"

blueprint = Blueprint("pictures", __name__, url_prefix="/desk/people")


@blueprint.get("/<int:user_id>/picture-<mark>")
@member_required
def picture(user_id: int, mark: str) -> Response:
    """Give the picture of a person, to be kept by the browser for good when it is the one that was asked for.

    Whoever may not see who is here needs its address, as the rooms print it.
    """
    person = db.session.get(User, user_id)
    is_current = person is not None and request.path == person.picture
    if person is None or person.picture_name is None or not (is_current or may("people.see")):
        abort(404)
    response = Response(storage.read(person.picture_name), mimetype="image/webp")
    response.headers["Cache-Control"] = KEPT if is_current else "private, no-store"
    return response


def prepared(source: BinaryIO) -> bytes:
    """Return the middle of a picture as a WebP of 256 pixels a side; raises `Refused` for what is no picture.

    This is slow: do it before the transaction, then `storage.put` it and `User.show_picture`.
    """
    return images.remade(source, _square, formats=FORMATS, most=MOST_BYTES, enough=EDGE)


def _square(picture: Image.Image) -> bytes:
    picture.draft("RGB", (2 * EDGE, 2 * EDGE))  # a JPEG is then read at a fraction of its size
    upright = ImageOps.exif_transpose(picture).convert("RGBA")
    return images.written(ImageOps.fit(upright, (EDGE, EDGE)), "WEBP", quality=82)
