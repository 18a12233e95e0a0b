"""Content's work for later."""

from __future__ import annotations

from app.content import wordpress
from app.tenancy.jobs import job


@job("content.import_wordpress", timeout=3600, tries=3)
def import_wordpress(import_id: int) -> None:
    """Bring in an uploaded WordPress export; run again, it goes on where it was cut off."""
    try:
        wordpress.carry_on(import_id)
    except wordpress.ExportRefused:
        return  # The import's own report says why, and trying again would not mend the file.
