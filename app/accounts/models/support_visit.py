"""A visit of an operator: a session of its own, for a reason and a time, and the owners' rule of what it may change."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Self

from flask_login import UserMixin
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts.cookies import Token, fingerprint
from app.accounts.models.user import User
from app.facilities import audit
from app.tenancy import TenantModel, Timestamp, current_tenant, db, tenancy, utcnow
from app.tenancy.registry import Leave

LINK_LIFETIME = timedelta(minutes=5)
ALLOWED = {False: "only look", True: "change things"}


class Guest(UserMixin):
    """An operator on a visit, in the shape in which pages know people. No row stands for them, so they have no `id`."""

    # What they may see; the doors that are open to a visit at all are listed in `support`.
    PERMISSIONS = frozenset({"content.edit", "settings.manage", "people.see", "audit.read"})

    id = None
    is_owner = False
    has_name = True

    def __init__(self, email: str, name: str) -> None:
        self.email = email
        self.name = name

    def may(self, permission: str) -> bool:
        """Tell whether a visit holds a permission."""
        return permission in self.PERMISSIONS


class SupportVisit(TenantModel):
    """One visit. It lives as long as this row says so, and as the registry still knows of the operator's leave (`mark`)."""

    __tablename__ = "support_visit"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    mark: Mapped[str] = mapped_column(unique=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    csrf: Mapped[str]
    email: Mapped[str]
    name: Mapped[str]
    reason: Mapped[str]
    wants_change: Mapped[bool]
    began_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_by: Mapped[str] = mapped_column(default="")

    is_fresh = False  # A visit never counts as one who has just given their factors.

    @classmethod
    def invited(cls, link: str) -> Leave | None:
        """Return the leave whose one-time link this is, while nobody has come in by it."""
        leave = tenancy.registry.leave(current_tenant().id, fingerprint(link))
        if leave is None or leave.created_at + LINK_LIFETIME <= utcnow():
            return None
        return None if db.session.scalar(select(cls.id).where(cls.mark == leave.id)) else leave

    @classmethod
    def begin(cls, leave: Leave) -> Token:
        """Let an operator in, and return the token that their browser keeps; the owners hear of it by letter.

        The caller commits.
        """
        token = Token.fresh(current_tenant().id)
        visit = cls(
            mark=leave.id,
            token_hash=token.hash,
            csrf=secrets.token_urlsafe(32),
            email=leave.email,
            name=leave.name,
            reason=leave.reason,
            wants_change=leave.wants_change,
            expires_at=leave.expires_at,
        )
        db.session.add(visit)
        db.session.flush()
        for owner in User.owners():
            owner.hear_of_visit(visit.id)
        told = {"reason": leave.reason, "until": leave.expires_at.isoformat(timespec="seconds")}
        audit.note("support_visit_began", actor=leave.email, subject=leave.email, **told)
        return token

    @classmethod
    def find(cls, token_hash: str) -> Self | None:
        """Return the living visit with this token's hash."""
        visit = db.session.scalar(select(cls).where(cls.token_hash == token_hash))
        return visit if visit and visit.is_open else None

    @property
    def is_open(self) -> bool:
        """Whether it goes on: neither side has ended it, and its time has not run out."""
        if self.ended_at is not None or self.expires_at <= utcnow():
            return False
        return tenancy.registry.leave(current_tenant().id, self.mark) is not None

    @property
    def may_change(self) -> bool:
        """Whether it may change what a visit can change, which the owners may take back while it lasts."""
        return self.wants_change and SupportRule.current().may_change

    @property
    def user(self) -> Guest:
        """Who visits."""
        return Guest(self.email, self.name)

    def touch(self) -> None:
        """Do nothing: a visit has a fixed end, however busy it is."""

    def end(self, by: User | None = None) -> None:
        """End it at once, in every process; by default its operator does."""
        self.ended_at, self.ended_by = utcnow(), by.email if by else self.email
        audit.note("support_visit_ended", actor=self.ended_by, subject=self.email)


class SupportRule(TenantModel):
    """What the owners let visits do: to look, unless they say otherwise."""

    __tablename__ = "support_rule"

    id: Mapped[int] = mapped_column(primary_key=True)
    may_change: Mapped[bool] = mapped_column(default=False)

    @classmethod
    def current(cls) -> Self:
        """Return the rule, that of the beginning where nobody has chosen."""
        return db.session.scalar(select(cls)) or cls(may_change=False)

    def choose(self, may_change: bool, *, by: User) -> None:
        """Let visits change things, or only look."""
        if may_change != self.may_change:
            before, after = {"visits": ALLOWED[self.may_change]}, {"visits": ALLOWED[may_change]}
            audit.note("support_rule_changed", actor=by.email, rule=after["visits"], before=before, after=after)
        self.may_change = may_change
        db.session.add(self)
