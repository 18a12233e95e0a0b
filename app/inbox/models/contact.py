"""A contact: somebody outside who writes to the organisation."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from app.facilities.text import one_line
from app.tenancy import TenantModel, Timestamp, db, utcnow

NAME_LENGTH, EMAIL_LENGTH = 120, 254  # characters


class Contact(TenantModel):
    """Somebody outside, known by an e-mail address. Nothing proves that a form was sent by its owner."""

    __tablename__ = "contact"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)  # casefolded
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @classmethod
    def at(cls, email: str, name: str = "") -> Contact:
        """Return the contact with this address, however it is written; added when there is none.

        The first name given stays: whoever knows an address must not be able to rename its owner.
        """
        address = one_line(email).casefold()[:EMAIL_LENGTH]
        contact = db.session.scalar(select(cls).where(cls.email == address))
        if contact is None:
            contact = cls(email=address, name=one_line(name)[:NAME_LENGTH])
            db.session.add(contact)
            db.session.flush()
        return contact

    @property
    def shown_name(self) -> str:
        """What to call them."""
        return self.name or self.email or "Somebody"
