"""A box: the address at which the organisation takes letters."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from app.tenancy import TenantModel, current_tenant, db


class Box(TenantModel):
    """An address at each of the tenant's domains, and what is put under the letters that leave from it."""

    __tablename__ = "box"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="Inbox")
    local_part: Mapped[str] = mapped_column(unique=True, default="inbox")  # what stands before the @
    signature: Mapped[str] = mapped_column(default="")  # plain text

    @classmethod
    def main(cls) -> Box:
        """Return the box that every tenant has, made where there is none yet."""
        box = db.session.scalar(select(cls).order_by(cls.id).limit(1))
        if box is None:
            box = cls()
            db.session.add(box)
            db.session.flush()
        return box

    @classmethod
    def main_address(cls) -> str:
        """Return the address of the box that every tenant has, without making it."""
        return (db.session.scalar(select(cls).order_by(cls.id).limit(1)) or cls(local_part="inbox")).address

    @property
    def address(self) -> str:
        """The address that letters carry and people write to."""
        return f"{self.local_part}@{current_tenant().primary_host}"
