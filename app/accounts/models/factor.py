"""What proves a person beside their password, and what they have begun in order to come in.

The columns stand apart from the tables, because operators have the same in the registry.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import ForeignKey, delete, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.cookies import fingerprint
from app.tenancy import TenantModel, Timestamp, db, utcnow

if TYPE_CHECKING:
    from app.accounts.models.user import User

BY_LETTER_LIFETIME = timedelta(minutes=15)
# Of whom a second factor is asked, the fewest first.
ASKED_OF = {
    "": "Nobody",
    "owners": "Owners",
    "managers": "Owners and admins, and whoever else may manage people",
    "everybody": "Everybody",
}


class FactorColumns:
    """A second factor: an authenticator app, whose secret must be read again, or a passkey, whose host alone it serves."""

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int]
    kind: Mapped[str]  # app, passkey
    name: Mapped[str] = mapped_column(default="")
    secret: Mapped[str] = mapped_column(default="")  # base32
    last_step: Mapped[int] = mapped_column(default=0)  # of 30 seconds since 1970: the one whose code was given last
    host: Mapped[str] = mapped_column(default="")
    credential: Mapped[str | None] = mapped_column(unique=True)  # base64url, as the two below
    public_key: Mapped[str] = mapped_column(default="")
    signatures: Mapped[int] = mapped_column(default=0)  # that the passkey says it has made
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class CodeColumns:
    """A recovery code that was not used yet."""

    hash: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int]


class AttemptColumns:
    """What one browser has begun and not finished: to come in, or to add a factor. `seed` is what that factor grows from."""

    token_hash: Mapped[str] = mapped_column(primary_key=True)  # of the attempt's own cookie, or of the session's
    person_id: Mapped[int]
    seed: Mapped[str]
    challenge: Mapped[str] = mapped_column(default="")  # for a passkey, to be answered once
    target: Mapped[str] = mapped_column(default="")  # the page to go to afterwards
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class Factor(FactorColumns, TenantModel):
    """A second factor of a person."""

    __tablename__ = "factor"

    person_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)

    @classmethod
    def forget(cls, user_id: int) -> None:
        """Take all factors from a person, and their recovery codes."""
        for table in (cls, RecoveryCode):
            db.session.execute(delete(table).where(table.person_id == user_id))


class RecoveryCode(CodeColumns, TenantModel):
    """A recovery code of a person."""

    __tablename__ = "recovery_code"

    person_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)


class Attempt(AttemptColumns, TenantModel):
    """An attempt of a person."""

    __tablename__ = "attempt"

    person_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)

    person: Mapped[User] = relationship("User", lazy="joined", innerjoin=True)

    @classmethod
    def sweep(cls) -> None:
        """Remove the attempts whose time is over."""
        db.session.execute(delete(cls).where(cls.expires_at <= utcnow()))

    @classmethod
    def void(cls, user_id: int) -> None:
        """Let no attempt of a person go on."""
        db.session.execute(delete(cls).where(cls.person_id == user_id))


class SignInLink(TenantModel):
    """A link that came by letter and stands for the password, once."""

    __tablename__ = "sign_in_link"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)

    person: Mapped[User] = relationship("User", lazy="joined", innerjoin=True)

    @classmethod
    def issue(cls, user: User) -> str:
        """Make a link for `user` and return its token, which is stored nowhere; the one before works no more."""
        cls.void(user.id)
        token = secrets.token_urlsafe(32)
        db.session.add(cls(token_hash=fingerprint(token), person=user, expires_at=utcnow() + BY_LETTER_LIFETIME))
        return token

    @classmethod
    def find(cls, token: str) -> Self | None:
        """Return the link with this token while it can still be used, by one who may sign in."""
        link = db.session.scalar(select(cls).where(cls.token_hash == fingerprint(token), cls.expires_at > utcnow()))
        return link if link and link.person.is_active else None

    @classmethod
    def sweep(cls) -> None:
        """Remove the links whose time is over."""
        db.session.execute(delete(cls).where(cls.expires_at <= utcnow()))

    @classmethod
    def void(cls, user_id: int) -> None:
        """Let no link of a person be used any more."""
        db.session.execute(delete(cls).where(cls.person_id == user_id))

    def use(self) -> User:
        """Return the person; the link is spent by it."""
        db.session.delete(self)
        return self.person


class SignInRules(TenantModel):
    """How people sign in, as the organisation has decided it."""

    __tablename__ = "sign_in_rules"

    id: Mapped[int] = mapped_column(primary_key=True)
    second_factor: Mapped[str] = mapped_column(default="")  # of whom it is asked: one of ASKED_OF
    by_letter: Mapped[bool] = mapped_column(default=False)  # whether a link by letter may stand for the password

    @classmethod
    def mine(cls) -> Self:
        """Return the organisation's rules, or those that hold where nothing was decided."""
        return db.session.get(cls, 1) or cls(id=1, second_factor="", by_letter=False)

    def told(self) -> dict[str, Any]:
        """Return them as the audit tells them."""
        return {"second_factor": ASKED_OF[self.second_factor], "by_letter": self.by_letter}

    @classmethod
    def decide(cls, second_factor: str, by_letter: bool) -> None:
        """Let these rules hold from now on; the caller commits."""
        db.session.merge(cls(id=1, second_factor=second_factor, by_letter=by_letter))
