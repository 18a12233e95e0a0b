"""Bringing in a WordPress export."""

from __future__ import annotations

from werkzeug.datastructures import FileStorage

from app.content.models import Import
from app.content.wordpress.report import Findings
from app.content.wordpress.run import bring_in
from app.content.wordpress.source import ExportRefused
from app.facilities import storage
from app.tenancy import db, jobs

__all__ = ["ExportRefused", "Findings", "begin_import", "bring_in", "carry_on"]

JOB = "content.import_wordpress"
NAME_LENGTH = 200


def begin_import(upload: FileStorage) -> Import:
    """Keep the upload sealed, make the row of its import, and have a worker bring it in.

    It commits; raises `DiskFull` with nothing kept.
    """
    file = storage.put(upload.stream, "text/plain")  # type: ignore[arg-type]
    run = Import(name=(upload.filename or "export.xml")[:NAME_LENGTH], stored_name=file.name, state="waiting")
    db.session.add(run)
    db.session.flush()
    jobs.later(JOB, import_id=run.id)
    db.session.commit()
    return run


def carry_on(import_id: int) -> Findings | None:
    """Bring in a stored upload, from the beginning or after an interruption; None when it is over or gone."""
    run = db.session.get(Import, import_id)
    if run is None or run.state == "done" or run.stored_name is None:
        return None
    name = run.stored_name

    return bring_in(lambda: storage.open_file(name), run)
