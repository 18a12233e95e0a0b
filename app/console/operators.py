"""Those who run the platform: how they sign in, and what a request knows of them.

Their rows lie in the registry, whose tables belong to the tenancy core; what operators can do is here.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask_login import UserMixin
from sqlalchemy import delete, select

from app.accounts import passwords
from app.accounts.addresses import normal_address
from app.accounts.cookies import PLATFORM, Token
from app.accounts.models import SEEN_EVERY
from app.accounts.passwords import Hashed
from app.tenancy import db, utcnow
from app.tenancy.errors import Refused
from app.tenancy.registry import Operator, OperatorSession


class OperatorUser(UserMixin):
    """An operator as Flask-Login knows a person."""

    def __init__(self, operator: Operator) -> None:
        self.id = operator.id
        self.email = operator.email
        self.name = operator.name or operator.email
        self.is_owner = False


class OperatorVisit:
    """The server session of an operator, in the shape in which visits know sessions."""

    def __init__(self, row: OperatorSession) -> None:
        self.row = row
        self.csrf = row.csrf
        self.user = OperatorUser(row.operator)

    @classmethod
    def find(cls, token_hash: str) -> OperatorVisit | None:
        """Return the living session with this token's hash."""
        alive = select(OperatorSession).where(
            OperatorSession.token_hash == token_hash, OperatorSession.expires_at > utcnow()
        )
        row = db.session.scalar(alive)
        return cls(row) if row else None

    def touch(self) -> None:
        """Note that the operator is here, at most every five minutes: the registry is to stay still."""
        if utcnow() - self.row.last_seen_at >= SEEN_EVERY:
            self.row.last_seen_at = utcnow()

    def end(self) -> None:
        """Sign this browser out."""
        db.session.delete(self.row)


def by_email(email: str) -> Operator | None:
    """Return the operator with this address, however it is written."""
    return db.session.scalar(select(Operator).where(Operator.email == email.strip().casefold()))


def create(email: str, hashed: Hashed, name: str = "") -> Operator:
    """Add an operator; raises `Refused` for an address that is unusable or taken."""
    address = normal_address(email)
    if by_email(address):
        raise Refused(f"{address} is an operator already. `freehold operators reset {address}` gives a new password.")
    operator = Operator(email=address, name=name.strip() or address.split("@")[0], password_hash=hashed)
    db.session.add(operator)
    return operator


def authenticate(email: str, password: str) -> Operator | None:
    """Return the operator with this address and password. Ends the look-up's transaction before it hashes."""
    found = by_email(email)
    operator_id, stored = (found.id, found.password_hash) if found else (0, None)
    db.session.rollback()
    if not passwords.matches(stored, password):
        return None
    operator = db.session.get(Operator, operator_id)
    return operator if operator and operator.password_hash == stored else None


def sign_in(operator: Operator, lifetime: timedelta) -> Token:
    """Open a session and return its token, which only the browser keeps."""
    token = Token.fresh(PLATFORM)
    db.session.execute(delete(OperatorSession).where(OperatorSession.expires_at <= utcnow()))
    db.session.add(
        OperatorSession(
            token_hash=token.hash,
            operator_id=operator.id,
            csrf=secrets.token_urlsafe(32),
            expires_at=utcnow() + lifetime,
        )
    )
    return token


def set_password(operator: Operator, hashed: Hashed) -> None:
    """Give an operator a new password, and end every session opened with the old one."""
    operator.password_hash = hashed
    db.session.execute(delete(OperatorSession).where(OperatorSession.operator_id == operator.id))
