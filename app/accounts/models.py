"""The people of one organisation, where they are signed in, and the link with which one first comes in."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Self

from flask_login import UserMixin
from sqlalchemy import ForeignKey, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts import passwords
from app.accounts.addresses import normal_address
from app.accounts.cookies import Token, fingerprint
from app.accounts.passwords import Hashed
from app.tenancy import TenantModel, Timestamp, current_tenant, db, utcnow
from app.tenancy.errors import QuotaExceeded, Refused

SEEN_EVERY = timedelta(minutes=5)
LINK_LIFETIME = timedelta(days=7)


class User(UserMixin, TenantModel):
    """A person inside one organisation."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # casefolded
    name: Mapped[str]
    password_hash: Mapped[str | None]  # none until the set-up link was used
    role: Mapped[str] = mapped_column(default="member")  # owner, member
    state: Mapped[str] = mapped_column(default="active")  # active, closed
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @classmethod
    def join(cls, email: str, name: str, role: str = "member", hashed: Hashed | None = None) -> Self:
        """Add a person; raises `Refused` for an address that is unusable or here already."""
        address = normal_address(email)
        if cls.by_email(address):
            raise Refused(f"{address} is here already.")
        cls.require_room()
        user = cls(email=address, name=name.strip() or address, role=role, password_hash=hashed)
        db.session.add(user)
        return user

    @classmethod
    def by_email(cls, email: str) -> Self | None:
        """Return the person with this address, however it is written."""
        return db.session.scalar(select(cls).where(cls.email == email.strip().casefold()))

    @classmethod
    def count(cls) -> int:
        """Return how many people may sign in."""
        return db.session.scalar(select(func.count()).select_from(cls).where(cls.state == "active")) or 0

    @classmethod
    def require_room(cls) -> None:
        """Raise `QuotaExceeded` when the plan allows no further person."""
        limit = current_tenant().max_users
        if limit is not None and cls.count() >= limit:
            raise QuotaExceeded("users", limit, cls.count())

    @classmethod
    def authenticate(cls, email: str, password: str) -> Self | None:
        """Return the person with this address and password. No transaction is open while it hashes."""
        found = cls.by_email(email)
        user_id, stored = (found.id, found.password_hash) if found else (0, None)
        db.session.rollback()
        if not passwords.matches(stored, password):
            return None
        user = db.session.get(cls, user_id)
        return user if user and user.is_active and user.password_hash == stored else None

    @property
    def is_active(self) -> bool:
        """Whether this person may sign in."""
        return self.state == "active"

    @property
    def is_owner(self) -> bool:
        """Whether this person decides about the organisation."""
        return self.role == "owner"

    def sign_in(self, lifetime: timedelta, user_agent: str = "") -> Token:
        """Open a session and return its token, which only the browser keeps."""
        token = Token.fresh(current_tenant().id)
        Session.sweep()
        db.session.add(
            Session(
                token_hash=token.hash,
                user_id=self.id,
                csrf=secrets.token_urlsafe(32),
                expires_at=utcnow() + lifetime,
                user_agent=user_agent[:200],
            )
        )
        return token

    def set_password(self, hashed: Hashed) -> None:
        """Give this person a new password, and end every session opened with the old one."""
        self.password_hash = hashed
        db.session.execute(delete(Session).where(Session.user_id == self.id))


class Session(TenantModel):
    """One browser in which a person is signed in."""

    __tablename__ = "session"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    user_agent: Mapped[str] = mapped_column(default="")

    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    @classmethod
    def find(cls, token_hash: str) -> Self | None:
        """Return the living session with this token's hash, with its person."""
        session = db.session.scalar(select(cls).where(cls.token_hash == token_hash, cls.expires_at > utcnow()))
        return session if session and session.user.is_active else None

    @classmethod
    def sweep(cls) -> None:
        """Remove the sessions that have run out."""
        db.session.execute(delete(cls).where(cls.expires_at <= utcnow()))

    def touch(self) -> None:
        """Note that the person is here, at most every five minutes."""
        if utcnow() - self.last_seen_at >= SEEN_EVERY:
            self.last_seen_at = utcnow()

    def end(self) -> None:
        """Sign this browser out."""
        db.session.delete(self)


class SetUpLink(TenantModel):
    """A link that lets its holder choose a first password, once."""

    __tablename__ = "set_up_link"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)

    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    @classmethod
    def issue(cls, user: User) -> str:
        """Make a link for `user` and return its token, which is stored nowhere."""
        token = secrets.token_urlsafe(32)
        db.session.add(cls(token_hash=fingerprint(token), user=user, expires_at=utcnow() + LINK_LIFETIME))
        return token

    @classmethod
    def find(cls, token: str) -> Self | None:
        """Return the link with this token while it can still be used."""
        unused = select(cls).where(
            cls.token_hash == fingerprint(token), cls.used_at.is_(None), cls.expires_at > utcnow()
        )
        return db.session.scalar(unused)

    def use(self, hashed: Hashed, name: str = "") -> User:
        """Give the person their password, and the name they want to go by, and spend the link."""
        self.used_at = utcnow()
        self.user.name = name or self.user.name
        self.user.set_password(hashed)
        return self.user
