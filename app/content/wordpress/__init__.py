"""Bringing in a WordPress export."""

from __future__ import annotations

from sqlalchemy import update
from werkzeug.datastructures import FileStorage

from app.content.models import Import
from app.content.wordpress.report import Findings
from app.content.wordpress.run import bring_in
from app.content.wordpress.source import ExportRefused
from app.facilities import queue, storage
from app.tenancy import db

__all__ = ["ExportRefused", "Findings", "begin_import", "bring_in", "carry_on"]

JOB = "content.import_wordpress"
NAME_LENGTH = 200


def begin_import(upload: FileStorage) -> Import:
    """Keep the upload sealed, make the row of its import, and have a worker bring it in.

    It commits, as the worker must find the row; raises `DiskFull`, and `QueueDown` with the import marked failed.
    """
    file = storage.put(upload.stream, "text/plain")  # type: ignore[arg-type]
    run = Import(name=(upload.filename or "export.xml")[:NAME_LENGTH], stored_name=file.name, state="waiting")
    db.session.add(run)
    db.session.commit()
    try:
        queue.enqueue(JOB, import_id=run.id)
    except queue.QueueDown:
        db.session.execute(update(Import).where(Import.id == run.id).values(state="failed"))
        db.session.commit()
        raise
    return run


def carry_on(import_id: int) -> Findings | None:
    """Bring in a stored upload, from the beginning or after an interruption; None when it is over or gone."""
    run = db.session.get(Import, import_id)
    if run is None or run.state == "done" or run.stored_name is None:
        return None
    name = run.stored_name

    return bring_in(lambda: storage.open_file(name), run)
