"""The one-time link with which a person chooses a password: the first one, or a new one for one that was forgotten."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from sqlalchemy import ColumnElement, ForeignKey, delete, func, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.cookies import fingerprint
from app.accounts.passwords import Hashed
from app.facilities import audit
from app.tenancy import TenantModel, Timestamp, db, utcnow

if TYPE_CHECKING:
    from app.accounts.models.user import User

LINK_LIFETIME = timedelta(days=7)
HELP_LIFETIME = timedelta(hours=1)  # of a link for a forgotten password
KEPT_AFTER = timedelta(days=30)
MOST_OPEN = 3  # such links of one person, so that nobody's letter box is filled


class SetUpLink(TenantModel):
    """A link that lets its holder choose a password, once."""

    __tablename__ = "set_up_link"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)

    user: Mapped[User] = relationship("User", lazy="joined", innerjoin=True)

    @classmethod
    def issue(cls, user: User, lifetime: timedelta = LINK_LIFETIME) -> str:
        """Make a link for `user` and return its token, which is stored nowhere."""
        token = secrets.token_urlsafe(32)
        db.session.add(cls(token_hash=fingerprint(token), user=user, expires_at=utcnow() + lifetime))
        return token

    @classmethod
    def help(cls, user: User) -> str | None:
        """Make a link for one who forgot their password; None when they have had several within the hour."""
        soon = cls.expires_at <= utcnow() + HELP_LIFETIME
        waiting = select(func.count()).select_from(cls).where(cls.user_id == user.id, cls._is_open(), soon)
        if (db.session.scalar(waiting) or 0) >= MOST_OPEN:
            return None
        audit.note("password_help_sent", subject=user.email)
        return cls.issue(user, HELP_LIFETIME)

    @classmethod
    def find(cls, token: str) -> Self | None:
        """Return the link with this token while it can still be used, by one who may sign in."""
        link = db.session.scalar(select(cls).where(cls.token_hash == fingerprint(token), cls._is_open()))
        return link if link and link.user.is_active else None

    @classmethod
    def take_back(cls, token: str) -> None:
        """Remove a link whose letter did not leave, so that it is not one of the few that may be open."""
        db.session.execute(delete(cls).where(cls.token_hash == fingerprint(token)))

    @classmethod
    def void(cls, user_id: int) -> None:
        """Let no open link of a person be used any more."""
        db.session.execute(update(cls).where(cls.user_id == user_id, cls.used_at.is_(None)).values(used_at=utcnow()))

    @classmethod
    def sweep(cls) -> None:
        """Remove the links that ran out a month ago."""
        db.session.execute(delete(cls).where(cls.expires_at <= utcnow() - KEPT_AFTER))

    def use(self, hashed: Hashed, name: str = "") -> User:
        """Give the person their password, and the name they want to go by; every link they have is spent by it."""
        self.user.name = name or self.user.name
        audit.note("set_up_link_used", actor=self.user.email, subject=self.user.email)
        self.user.set_password(hashed)
        return self.user

    @classmethod
    def _is_open(cls) -> ColumnElement[bool]:
        return cls.used_at.is_(None) & (cls.expires_at > utcnow())
