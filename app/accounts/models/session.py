"""Where a person is signed in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from sqlalchemy import ForeignKey, bindparam, delete, select
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from app.accounts import stays
from app.accounts.models.device import Device
from app.accounts.models.factor import Factor, SignInRules
from app.facilities import audit
from app.tenancy import TenantModel, Timestamp, db, utcnow

if TYPE_CHECKING:
    from app.accounts.models.user import User

SEEN_EVERY = timedelta(minutes=5)
FRESH = timedelta(minutes=5)


class Session(TenantModel):
    """One browser in which a person is signed in, until `expires_at`: each sign of life moves that, up to `ends_at`."""

    __tablename__ = "session"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    proved_at: Mapped[datetime | None] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    ends_at: Mapped[datetime | None] = mapped_column(Timestamp)
    user_agent: Mapped[str] = mapped_column(default="")

    # These two come with the row: every page asks for them, and none asks the file once more.
    has_factor: Mapped[bool] = column_property(select(Factor.id).where(Factor.person_id == user_id).exists())
    rule: Mapped[str | None] = column_property(select(SignInRules.second_factor).scalar_subquery())

    user: Mapped[User] = relationship("User", lazy="joined", innerjoin=True)
    device: Mapped[Device | None] = relationship("Device", lazy="joined")

    @classmethod
    def find(cls, token_hash: str) -> Self | None:
        """Return the living session with this token's hash, with its person and device."""
        session = db.session.scalar(_LIVING, {"token_hash": token_hash, "now": utcnow()})
        return session if session and session.user.is_active else None

    @classmethod
    def sweep(cls) -> None:
        """Remove the sessions that have run out."""
        db.session.execute(delete(cls).where(cls.expires_at <= utcnow()))

    @property
    def is_due(self) -> bool:
        """Whether it is time to note that the person is here."""
        return utcnow() - self.last_seen_at >= SEEN_EVERY

    @property
    def is_fresh(self) -> bool:
        """Whether its person gave all their factors within the last five minutes."""
        return self.proved_at is not None and utcnow() - self.proved_at <= FRESH

    def touch(self) -> None:
        """Note that the person is here, at most every five minutes."""
        if not self.is_due:
            return
        now = utcnow()
        self.last_seen_at = self.user.last_seen_at = now
        self.expires_at = min(self.ends_at or self.expires_at, now + stays.of(self.user).idle)
        if self.device:
            self.device.last_seen_at = now

    def prove(self) -> None:
        """Note that its person has just given all their factors once more."""
        self.proved_at = utcnow()

    def end(self) -> None:
        """Sign this browser out."""
        audit.note("signed_out", actor=self.user.email, subject=self.user.email)
        db.session.delete(self)


# Built once: every page asks.
_LIVING = select(Session).where(
    Session.token_hash == bindparam("token_hash"), Session.expires_at > bindparam("now", type_=Timestamp)
)
