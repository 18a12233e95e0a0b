"""Stored pictures and documents, for those who may read a page that shows them."""

from __future__ import annotations

import re
from itertools import chain
from typing import NamedTuple

from flask import Flask, abort, current_app, request
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.content.frame import Frame, current_frame
from app.content.keeping import PRIVATE, PUBLIC
from app.content.models import Entry, Media
from app.content.policy import is_editor, is_member, visible_entries
from app.content.site import blueprint
from app.facilities import storage
from app.facilities.cache import Shelf
from app.tenancy import db

PICTURES = frozenset(("image/avif", "image/gif", "image/jpeg", "image/png", "image/webp"))
NOTHING_RUNS = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
MENTIONED = re.compile(r"/files/([0-9a-f]{64})/")
KEPT_BYTES = 4 << 20


class Shown(NamedTuple):
    """The names of the files on the pages that visitors, or members, may read, in one edition of the site."""

    edition: str
    names: frozenset[str]


def init_app(app: Flask) -> None:
    """Give `app` a place to keep which files pages show."""
    app.extensions["freehold.shown_files"] = Shelf[Shown](KEPT_BYTES)


@blueprint.get("/files/<name>/<filename>", provide_automatic_options=False)
def file(name: str, filename: str) -> Response:
    """Give a file to those who edit, and to others when a page that they may read shows it."""
    media = db.session.scalar(select(Media).where(Media.stored_name == name).limit(1))
    member = is_member()
    if media is None or not (is_editor() or name in _shown_names(member)):
        abort(404)
    response = _answer(name, media.name)
    response.headers["Cache-Control"] = PRIVATE if member else PUBLIC
    return response if member else response.make_conditional(request)


def _answer(name: str, filename: str) -> Response:
    stored, pieces = storage.find(name) or abort(404), storage.chunks(name)
    # The first piece is opened before the answer begins, so that a damaged file is a refusal and not half a picture.
    response = Response(chain([next(pieces, b"")], pieces), mimetype=stored.mime)
    response.content_length = stored.size
    response.set_etag(name)
    response.headers["Content-Security-Policy"] = NOTHING_RUNS
    response.headers["X-Content-Type-Options"] = "nosniff"
    disposition = "inline" if stored.mime in PICTURES else "attachment"
    response.headers.set("Content-Disposition", disposition, filename=filename)
    return response


def _shown_names(member: bool) -> frozenset[str]:
    frame: Frame = current_frame(member)
    shelf: Shelf[Shown] = current_app.extensions["freehold.shown_files"]
    shown = shelf.get((frame.tenant.id, member))
    if shown is None or shown.edition != frame.edition:
        pages = db.session.scalars(visible_entries(member=member).with_only_columns(Entry.html))
        shown = Shown(frame.edition, frozenset(name for html in pages for name in MENTIONED.findall(html)))
        shelf.put((frame.tenant.id, member), shown, 256 + 128 * len(shown.names), seconds=3600)
    return shown.names
