"""Fetching pictures and documents from where they were, on request."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from app.content.models import Media
from app.content.wordpress.pictures import Picture, file_href, file_name, original
from app.content.wordpress.plan import Plan, PlannedMedia
from app.content.wordpress.report import Findings
from app.facilities import storage
from app.facilities.fetch import FetchRefused, fetch
from app.tenancy import db

FILES = 5000  # fetched in one run
MISSES = 5  # of one host, after which it is asked no more


class Remote:
    """Brings files into storage, each in a transaction of its own that begins after its bytes are here."""

    def __init__(self, plan: Plan, findings: Findings, stamp: datetime) -> None:
        self._plan, self._findings, self._stamp = plan, findings, stamp
        self._tried: dict[str, Picture | None] = {}
        self._misses: dict[str, int] = {}

    def bring_known(self) -> None:
        """Fetch the files of the export's library that are not here."""
        for media in self._plan.media.values():
            if not media.href:
                self._fetch(media)

    def bring(self, url: str) -> Picture | None:
        """Fetch a picture that a text shows and return it; None when it is not to be had."""
        key = original(url)
        if key not in self._tried:
            media = PlannedMedia(f"address:{key}", 0, 0, 0, file_name(url), url, "", "", self._stamp, "")
            self._tried[key] = self._fetch(media)
        return self._tried[key]

    def _fetch(self, media: PlannedMedia) -> Picture | None:
        host = original(media.url).partition("/")[0]
        if self._misses.get(host, 0) >= MISSES or len(self._tried) >= FILES:
            self._findings.leave("file", media.name, f"{host} did not answer for others, so it was not asked again")
            return None
        try:
            fetched = fetch(media.url)
        except FetchRefused as refusal:
            self._misses[host] = self._misses.get(host, 0) + 1
            self._findings.leave("file", media.name, str(refusal))
            return None
        file = storage.put(fetched.data, fetched.mime)
        self._keep(media, file.name, file.mime)
        db.session.commit()
        media.href = file_href(file.name, media.name)
        self._plan.note_file(media)
        self._findings.came["files fetched"] += 1
        return Picture(media.url, media.href, media.alt, media.caption)

    def _keep(self, media: PlannedMedia, stored_name: str, mime: str) -> None:
        row = db.session.scalar(select(Media).where(Media.origin == media.origin))
        if row is None:
            row = Media(
                name=media.name, source_url=media.url, origin=media.origin, alt=media.alt, caption=media.caption
            )
            db.session.add(row)
        row.stored_name, row.mime = stored_name, mime
