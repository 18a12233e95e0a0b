"""People as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from flask import abort
from sqlalchemy import Select, select

from app.accounts import User
from app.api.answers import Page, page_of
from app.api.callers import caller
from app.api.parts import Part
from app.api.policy import scope
from app.tenancy import db

SEE, MANAGE = "people.see", "people.manage"

READ = scope("members.read", "Read who is here, by name", permission=SEE)
scope("members.details", "Read addresses, roles and last visits as well", permission=MANAGE)

part = Part("members", "The people of the organisation.")


@dataclass(frozen=True)
class Details:
    """What those who look after people know of one. `state` is `active`, or `closed` for who may not sign in at present."""

    email: str
    role: str
    state: str
    last_seen_at: datetime | None


@dataclass(frozen=True)
class Member:
    """A person of the organisation. `details` are for tokens with the scope `members.details`, null for others."""

    id: int
    name: str
    joined_at: datetime
    details: Details | None

    @classmethod
    def of(cls, user: User) -> Self:
        """Tell of a person what whoever asks may know."""
        details = Details(user.email, user.role, user.state, user.last_seen_at) if caller().may(MANAGE) else None
        return cls(user.id, user.name, user.created_at, details)


@part.get("/members", scope=READ)
def members() -> Page[Member]:
    """List the people who are here, those first who joined first."""
    return page_of(here(), Member.of, by=User.id)


@part.get("/members/<int:user_id>", scope=READ)
def member(user_id: int) -> Member:
    """Tell of one person."""
    return Member.of(db.session.scalar(here().where(User.id == user_id)) or abort(404))


def here() -> Select[tuple[User]]:
    """Select whom the program may see: all who may sign in and, where it knows details, those who may not at present."""
    states = ("active", "closed") if caller().may(MANAGE) else ("active",)
    return select(User).where(User.state.in_(states))
