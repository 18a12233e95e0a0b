"""Pictures and documents."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy import TenantModel, Timestamp, utcnow


class Media(TenantModel):
    """A picture or document. Until its bytes are here (`stored_name`), pages show a captioned placeholder."""

    __tablename__ = "media"
    __table_args__ = (UniqueConstraint("origin"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # file name shown and offered for download
    mime: Mapped[str] = mapped_column(default="application/octet-stream")
    alt: Mapped[str] = mapped_column(default="")
    caption: Mapped[str] = mapped_column(default="")
    source_url: Mapped[str | None]
    stored_name: Mapped[str | None] = mapped_column(ForeignKey("stored_file.name"), index=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    origin: Mapped[str | None]
