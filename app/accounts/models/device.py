"""A browser that a person has signed in with, known again by a cookie whose value changes."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from sqlalchemy import ForeignKey, delete, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.browsers import browser_named
from app.accounts.cookies import DEVICE, Token, fingerprint
from app.facilities import audit
from app.tenancy import TenantModel, Timestamp, current_tenant, db, utcnow

if TYPE_CHECKING:
    from app.accounts.models.user import User

ROTATE_EVERY = timedelta(days=1)
GRACE = timedelta(seconds=60)
DEVICE_LIFETIME = timedelta(days=180)  # without a sign of life
FAMILY = 22  # letters of a token that name its family


class Device(TenantModel):
    """One browser of one person.

    Its cookie's value is a family, which stays, and a secret, which is another after each sign-in and each day. Whoever
    shows an earlier one has a copy, or the person's own browser has been left behind by one that had: the device is
    forgotten, and its sessions end with it. The value just before is good for a minute, and until the browser has shown
    the new one: pages that open side by side, and an answer that was lost, are no theft.
    """

    __tablename__ = "device"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    family: Mapped[str] = mapped_column(unique=True)  # a hash, as the next two are
    token_hash: Mapped[str]
    previous_hash: Mapped[str | None]
    rotated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    is_taken_up: Mapped[bool] = mapped_column(default=True)  # whether the browser has shown its present value
    user_agent: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    user: Mapped[User] = relationship("User")

    @classmethod
    def add(cls, user: User, user_agent: str) -> tuple[Self, Token]:
        """Get to know a browser; returns it with the token that it keeps. Its person hears of it by letter."""
        family = secrets.token_urlsafe(16)
        token = Token.fresh(current_tenant().id, DEVICE, family=family)
        device = cls(user=user, family=fingerprint(family), token_hash=token.hash, user_agent=user_agent[:200])
        db.session.add(device)
        audit.note("device_added", actor=user.email, subject=user.email, browser=device.name)
        if user.last_seen_at:  # nobody is warned of their very first sign-in
            device.warn("new_device")
        return device, token

    @classmethod
    def of(cls, token: Token | None) -> Self | None:
        """Return the device of which `token` is, or once was, the value."""
        if token is None:
            return None
        return db.session.scalar(select(cls).where(cls.family == fingerprint(token.secret[:FAMILY])))

    @classmethod
    def sweep(cls) -> None:
        """Forget the devices that nobody has used for half a year."""
        db.session.execute(delete(cls).where(cls.last_seen_at <= utcnow() - DEVICE_LIFETIME))

    @property
    def name(self) -> str:
        """What people call it."""
        return browser_named(self.user_agent)

    def is_of(self, token: Token) -> bool:
        """Whether `token` is a value of this device, of today or of before."""
        return self.family == fingerprint(token.secret[:FAMILY])

    def knows(self, token: Token) -> bool:
        """Whether `token` is its present value, or the one before while that is good."""
        if token.hash == self.token_hash:
            return True
        return token.hash == self.previous_hash and (not self.is_taken_up or self._is_just_rotated)

    def is_due(self, token: Token) -> bool:
        """Whether there is something to note or to change now that the browser has shown `token`."""
        if token.hash == self.token_hash:
            return not self.is_taken_up or utcnow() - self.rotated_at >= ROTATE_EVERY
        return not self._is_just_rotated

    def take_up(self, token: Token) -> Token | None:
        """Note that the browser has shown `token`; returns the next value when it is time for one."""
        if token.hash != self.token_hash:
            return None if self._is_just_rotated else self.rotate(token)
        self.is_taken_up = True
        return self.rotate(token) if utcnow() - self.rotated_at >= ROTATE_EVERY else None

    def rotate(self, token: Token) -> Token | None:
        """Change the value and return the new one; None where a page opened beside this one has just been given it."""
        if token.hash != self.token_hash and self._is_just_rotated:
            return None
        fresh = Token.fresh(token.owner, DEVICE, family=token.secret[:FAMILY])
        self.previous_hash, self.token_hash = token.hash, fresh.hash
        self.rotated_at, self.is_taken_up = utcnow(), False
        return fresh

    def revoke(self) -> None:
        """Forget this browser at its person's wish; it is signed out."""
        audit.note("device_revoked", actor=self.user.email, subject=self.user.email, browser=self.name)
        db.session.delete(self)

    def end_family(self) -> None:
        """Forget this browser since an earlier value of its cookie was shown; it is signed out, and its person warned."""
        audit.note("device_reused", subject=self.user.email, browser=self.name)
        self.warn("device_reused")
        db.session.delete(self)

    def warn(self, letter: str) -> None:
        """Have a letter tell its person what happened to it."""
        self.user.warn(letter, self.name)

    @property
    def _is_just_rotated(self) -> bool:
        return utcnow() - self.rotated_at <= GRACE
