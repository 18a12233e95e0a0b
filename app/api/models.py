"""Tokens: what a program shows in place of a person's cookie."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import JSON, ColumnElement, ForeignKey, and_, delete, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts import User
from app.api import acts  # noqa: F401  what the verbs note is declared before they are called
from app.api.keys import Key
from app.facilities import audit, limits
from app.tenancy import TenantModel, Timestamp, current_tenant, db, utcnow

NAME_LENGTH = 80
USED_EVERY = timedelta(minutes=5)
KEPT = timedelta(days=30)  # that the row of a token which is over can still be looked at


class Token(TenantModel):
    """A token of a person, who may do with it what they may do themselves and it is good for; or of a service, of nobody."""

    __tablename__ = "token"

    id: Mapped[int] = mapped_column(primary_key=True)
    handle: Mapped[str] = mapped_column(unique=True)
    secret_hash: Mapped[str]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    maker: Mapped[str]  # the name of whoever made it
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)  # to five minutes
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)

    user: Mapped[User | None] = relationship("User", lazy="joined")

    @classmethod
    def make(
        cls, name: str, scopes: Collection[str], lifetime: timedelta, *, by: User, is_service: bool = False
    ) -> tuple[Self, Key]:
        """Make a token and return it with its key, which is stored nowhere; raises `QuotaExceeded` for no room."""
        limits.require("api_keys")
        key = Key.fresh(current_tenant().id)
        token = cls(
            handle=key.handle,
            secret_hash=key.hash,
            user_id=None if is_service else by.id,
            name=name,
            scopes=sorted(scopes),
            maker=by.name,
            expires_at=utcnow() + lifetime,
        )
        db.session.add(token)
        audit.note("token_made", actor=by.email, subject=name, scopes=", ".join(token.scopes), handle=token.handle)
        return token, key

    @classmethod
    def by_handle(cls, handle: str) -> Self | None:
        """Return the token of that handle with its person, while it is good."""
        token = db.session.scalar(select(cls).where(cls.handle == handle, cls._is_open()))
        return token if token and (token.user is None or token.user.is_active) else None

    @classmethod
    def count_open(cls) -> int:
        """Return how many have neither run out nor been ended."""
        return db.session.scalar(select(func.count()).select_from(cls).where(cls._is_open())) or 0

    @classmethod
    def end_all_of(cls, user_id: int) -> None:
        """End every token of a person."""
        db.session.execute(update(cls).where(cls.user_id == user_id, cls.ended_at.is_(None)).values(ended_at=utcnow()))

    @classmethod
    def sweep(cls) -> None:
        """Remove what has long been over."""
        long_ago = utcnow() - KEPT
        db.session.execute(delete(cls).where(or_(cls.expires_at < long_ago, cls.ended_at < long_ago)))

    @property
    def is_over(self) -> bool:
        """Whether it has run out or been ended."""
        return self.ended_at is not None or self.expires_at <= utcnow()

    def opens_with(self, key: Key) -> bool:
        """Tell whether `key` is this token's."""
        return hmac.compare_digest(self.secret_hash, key.hash)

    def end(self, *, by: User) -> None:
        """Let it be good for nothing any more, nor what it was exchanged for; one that is over stays so."""
        if not self.is_over:
            self.ended_at = utcnow()
            audit.note("token_ended", actor=by.email, subject=self.name, handle=self.handle)

    @classmethod
    def _is_open(cls) -> ColumnElement[bool]:
        return and_(cls.ended_at.is_(None), cls.expires_at > utcnow())


limits.meter("api_keys", unit="tokens", label="Tokens for programs", used=Token.count_open)
