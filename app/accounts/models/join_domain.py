"""A mail domain whose people may join by themselves, once a letter has proved that an address there is theirs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from app.facilities import audit
from app.tenancy import TenantModel, Timestamp, db, names, utcnow
from app.tenancy.errors import FreeholdError, Refused

if TYPE_CHECKING:
    from app.accounts.models.user import User

# Where anybody can have an address, so that an approval would let in the whole world.
OPEN_TO_ALL = frozenset(
    "aol.com fastmail.com gmail.com gmx.de gmx.net googlemail.com hotmail.com icloud.com live.com mail.com mail.ru me.com "
    "msn.com outlook.com proton.me protonmail.com qq.com web.de yahoo.com yandex.ru ymail.com zoho.com".split()
)


class JoinDomain(TenantModel):
    """One approved domain: exactly what stands behind the @, and nothing under it."""

    __tablename__ = "join_domain"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @classmethod
    def approve(cls, typed: str, *, by: User) -> Self:
        """Let people of a domain join; raises `Refused` for what is none, is approved, or is open to all the world."""
        try:
            name = names.host(typed.strip().lstrip("@"))
        except FreeholdError:
            raise Refused(f"“{typed}” is no domain. Give what stands behind the @, such as club.example.org.") from None
        if name in OPEN_TO_ALL:
            raise Refused(f"Anybody in the world can have an address at {name}. Invite people one by one instead.")
        if cls.holds(f"@{name}"):
            raise Refused(f"{name} is approved already.")
        domain = cls(name=name)
        db.session.add(domain)
        audit.note("join_domain_approved", actor=by.email, subject=name)
        return domain

    @classmethod
    def every(cls) -> list[Self]:
        """Return all approved domains, by name."""
        return list(db.session.scalars(select(cls).order_by(cls.name)))

    @classmethod
    def holds(cls, address: str) -> bool:
        """Tell whether whoever has this address may join by themselves."""
        try:
            domain = names.host(address.rpartition("@")[2])
        except FreeholdError:
            return False
        return db.session.scalar(select(cls.id).where(cls.name == domain)) is not None

    def remove(self, *, by: User) -> None:
        """Let nobody join by it any more, not by a link that is under way either; who has joined stays."""
        audit.note("join_domain_removed", actor=by.email, subject=self.name)
        db.session.delete(self)
