"""One run of bringing in an export: plan, convert, write, report.

Reading and converting happen outside of any transaction; a batch of whole entries is one. Every step finds what
an earlier run wrote, so a run that is killed is mended by running it again.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy import update

from app.content.models import Import
from app.content.wordpress.body import Body, Texts
from app.content.wordpress.links import Links
from app.content.wordpress.menus import Menus
from app.content.wordpress.plan import Plan, PlannedEntry
from app.content.wordpress.reader import Export, ExportBroken
from app.content.wordpress.remote import Remote
from app.content.wordpress.report import Findings
from app.content.wordpress.source import ExportRefused
from app.content.wordpress.writer import AUTHOR_LENGTH, Writer, look_around
from app.tenancy import current_tenant, db, tenancy, utcnow
from app.tenancy.errors import FreeholdError, Refused

BATCH = 25  # entries in one transaction

Progress = Callable[[int, int], None]
Converted = tuple[PlannedEntry, Body, dict[str, Any]]


def _say_nothing(done: int, total: int) -> None:
    """Let work go on unseen."""


def bring_in(
    open_file: Callable[[], BinaryIO],
    run: Import | None,
    *,
    fetch_images: bool = False,
    on_progress: Progress = _say_nothing,
) -> Findings:
    """Bring the export into the current tenant's site and return the report; without a `run` nothing is written.

    Raises `ExportRefused` before anything is written, and `Refused` while another import is running.
    """
    findings = Findings()
    if run is None:
        _Run(open_file, findings, on_progress, None, fetch_images=False).rehearse()
        return findings
    stamp, run_id = run.created_at, run.id
    with _alone():
        try:
            _begin(run_id)
            _Run(open_file, findings, on_progress, (run_id, stamp), fetch_images=fetch_images).perform()
        except BaseException as error:
            _end(run_id, findings, "failed", error)
            raise
        _end(run_id, findings, "done", None)
    return findings


class _Run:
    def __init__(
        self,
        open_file: Callable[[], BinaryIO],
        findings: Findings,
        on_progress: Progress,
        run: tuple[int, datetime] | None,
        *,
        fetch_images: bool,
    ) -> None:
        self._findings, self._on_progress, self._run = findings, on_progress, run
        self._export = Export(open_file)
        here = look_around()
        db.session.commit()
        try:
            self._plan = Plan(self._export, here, findings)
        except ExportBroken as broken:
            raise ExportRefused(f"{broken} Nothing before that is whole. Export it again.") from None
        self._links = Links(self._plan, findings)
        self._remote = Remote(self._plan, findings, run[1]) if run and fetch_images else None
        self._texts = Texts(self._plan, self._links, findings, self._remote.bring if self._remote else None)

    def rehearse(self) -> None:
        for done, _ in enumerate(self._converted(), 1):
            self._on_progress(done, len(self._plan.entries))
        list(Menus(self._plan, self._links, self._findings).lines())
        self._note_topics()

    def perform(self) -> None:
        assert self._run is not None
        run_id, stamp = self._run
        writer = Writer(self._plan, self._findings, stamp)
        media = iter(self._plan.media.values())
        while batch := list(islice(media, BATCH * 4)):
            writer.write_media(batch)
            db.session.commit()
        if self._remote is not None:
            self._remote.bring_known()
        total, done = len(self._plan.entries), 0
        converted = self._converted()
        while entries := list(islice(converted, BATCH)):
            done += len(entries)
            writer.write_entries(entries)
            db.session.execute(update(Import).where(Import.id == run_id).values(done=done, total=total))
            db.session.commit()
            db.session.expunge_all()
            self._on_progress(done, total)
        lines = list(Menus(self._plan, self._links, self._findings).lines())
        writer.arrange()
        writer.write_menu(lines)
        db.session.commit()
        self._note_topics()

    def _converted(self) -> Iterator[Converted]:
        """Yield the entries of the export, their texts converted; a broken end was reported by the plan."""
        seen: set[int] = set()
        try:
            for item in self._export.items():
                entry = self._plan.entries.get(item.id)
                if entry is None or item.kind != entry.kind or item.id in seen:
                    continue
                seen.add(item.id)
                author = self._plan.channel.authors.get(item.creator) or item.creator
                given = {"is_sticky": item.is_sticky, "author_name": author[:AUTHOR_LENGTH]}
                yield entry, self._texts.body(item, entry), given
        except ExportBroken:
            return

    def _note_topics(self) -> None:
        self._findings.came["topics"] = len({topic.slug for topic in self._plan.topics.values() if topic.used})


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the tenant's lock for imports, which goes with the process that holds it."""
    path = tenancy.placements.folder(current_tenant().id) / "import.lock"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("Another import is running for this site. Wait until it is over.") from None
        yield


def _begin(run_id: int) -> None:
    db.session.execute(update(Import).where(Import.id == run_id).values(state="running", done=0, finished_at=None))
    db.session.commit()


def _end(run_id: int, findings: Findings, state: str, error: BaseException | None) -> None:
    report = findings.as_dict()
    if error is not None:
        report["problems"] = [*report["problems"], _said(error)]
    db.session.rollback()
    change = update(Import).where(Import.id == run_id)
    db.session.execute(change.values(state=state, report=json.dumps(report), finished_at=utcnow()))
    db.session.commit()


def _said(error: BaseException) -> str:
    if isinstance(error, FreeholdError):
        return str(error) or error.advice
    return "The import was cut off. Run it again: what has come stays, and nothing comes twice."


def opener(data: bytes) -> Callable[[], BinaryIO]:
    """Return what opens `data` anew each time."""
    return lambda: io.BytesIO(data)
