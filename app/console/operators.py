"""Those who run the platform: how they sign in, and what a request knows of them.

Their rows lie in the registry, whose tables belong to the tenancy core; what operators can do is here.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask_login import UserMixin
from sqlalchemy import Select, delete, func, select, update

from app.accounts import passwords
from app.accounts.addresses import normal_address
from app.accounts.browsers import browser_named
from app.accounts.cookies import PLATFORM, Token, fingerprint
from app.accounts.devices import is_navigation
from app.accounts.models import FRESH, SEEN_EVERY
from app.accounts.passwords import Hashed
from app.accounts.visits import server_session
from app.console.policy import ROLES
from app.tenancy import db, tenancy, utcnow
from app.tenancy.errors import Refused
from app.tenancy.registry import Operator, OperatorSession

IDLE = timedelta(minutes=30)  # after which an operator signs in again
LONGEST = timedelta(hours=12)  # that a session may last, however busy
LAST = "There would be no operator left who may do everything. Give somebody else that role first."


class OperatorUser(UserMixin):
    """An operator as Flask-Login knows a person."""

    def __init__(self, operator: Operator) -> None:
        self.id = operator.id
        self.email = operator.email
        self.name = operator.name or operator.email
        self.role = operator.role
        self.is_owner = False


class OperatorVisit:
    """The server session of an operator, in the shape in which visits know sessions."""

    def __init__(self, row: OperatorSession) -> None:
        self.row = row
        self.csrf = row.csrf
        self.token_hash = row.token_hash
        self.user = OperatorUser(row.operator)

    @property
    def mark(self) -> str:
        """What pages call it by, which opens nothing."""
        return fingerprint(self.token_hash)[:16]

    @property
    def browser(self) -> str:
        """What people call its browser."""
        return browser_named(self.row.user_agent)

    @property
    def is_fresh(self) -> bool:
        """Whether the operator gave all their factors within the last five minutes."""
        return self.row.proved_at is not None and utcnow() - self.row.proved_at <= FRESH

    def prove(self) -> None:
        """Note that the operator has just given all their factors once more."""
        self.row.proved_at = utcnow()

    @classmethod
    def find(cls, token_hash: str) -> OperatorVisit | None:
        """Return the living session with this token's hash."""
        row = db.session.scalar(_alive().where(OperatorSession.token_hash == token_hash))
        return cls(row) if row else None

    @classmethod
    def of(cls, operator_id: int) -> list[OperatorVisit]:
        """Return the living sessions of an operator, the one used last first."""
        theirs = _alive().where(OperatorSession.operator_id == operator_id)
        return [cls(row) for row in db.session.scalars(theirs.order_by(OperatorSession.last_seen_at.desc()))]

    def touch(self) -> None:
        """Note that the operator is here, at most every five minutes: the registry is to stay still."""
        if utcnow() - self.row.last_seen_at >= SEEN_EVERY:
            self.row.last_seen_at = utcnow()

    def renew(self) -> Token:
        """Go on under another token, which is returned; the visits that were begun here go on too."""
        token = Token.fresh(PLATFORM)
        self.row.token_hash, self.row.csrf = token.hash, secrets.token_urlsafe(32)
        return token

    def end(self) -> None:
        """Sign this browser out; the visits that were begun there end with it."""
        db.session.delete(self.row)


def by_email(email: str) -> Operator | None:
    """Return the operator with this address, however it is written."""
    return db.session.scalar(select(Operator).where(Operator.email == email.strip().casefold()))


def keep_awake() -> None:
    """Note that an operator went to a page, at most every five minutes and beside the request, which may only read itself."""
    visit = server_session()
    if visit and is_navigation() and utcnow() - visit.row.last_seen_at >= SEEN_EVERY:
        seen = update(OperatorSession).where(OperatorSession.token_hash == visit.row.token_hash)
        with tenancy.engines["registry"].begin() as registry:
            registry.execute(seen.values(last_seen_at=utcnow()))


def create(email: str, hashed: Hashed, name: str = "", role: str = "all") -> Operator:
    """Add an operator; raises `Refused` for an address that is unusable or taken, and for a role that there is not."""
    _refuse_unknown(role)
    address = normal_address(email)
    if by_email(address):
        raise Refused(f"{address} is an operator already. `freehold operators reset {address}` gives a new password.")
    operator = Operator(email=address, name=name.strip() or address.split("@")[0], password_hash=hashed, role=role)
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


def sign_in(operator: Operator, lifetime: timedelta, user_agent: str = "") -> Token:
    """Open a session and return its token, which only the browser keeps."""
    token = Token.fresh(PLATFORM)
    db.session.execute(delete(OperatorSession).where(OperatorSession.expires_at <= utcnow()))
    db.session.add(
        OperatorSession(
            token_hash=token.hash,
            operator_id=operator.id,
            csrf=secrets.token_urlsafe(32),
            expires_at=utcnow() + min(lifetime, LONGEST),
            user_agent=user_agent[:200],
        )
    )
    return token


def set_password(operator: Operator, hashed: Hashed) -> None:
    """Give an operator a new password, and end every session opened with the old one."""
    operator.password_hash = hashed
    end_sessions(operator)


def give_role(operator: Operator, role: str) -> None:
    """Change what an operator may do, and sign them out, of visits too; raises `Refused` for the last who may do everything."""
    _refuse_unknown(role)
    if role == operator.role:
        return
    _refuse_last(operator)
    operator.role = role
    end_sessions(operator)


def remove(operator: Operator) -> None:
    """Let an operator in no more; raises `Refused` for the last who may do everything."""
    _refuse_last(operator)
    end_sessions(operator)
    db.session.delete(operator)


def end_sessions(operator: Operator, but: str = "") -> None:
    """Sign an operator out everywhere, but for the session with this hash; the visits that they began end with it."""
    theirs = (OperatorSession.operator_id == operator.id, OperatorSession.token_hash != but)
    db.session.execute(delete(OperatorSession).where(*theirs))


def _alive() -> Select[OperatorSession]:
    awake = OperatorSession.last_seen_at > utcnow() - IDLE
    return select(OperatorSession).where(OperatorSession.expires_at > utcnow(), awake)


def _refuse_unknown(role: str) -> None:
    if role not in ROLES:
        raise Refused(f"There is no role {role!r}. The roles are: {', '.join(ROLES)}.")


def _refuse_last(operator: Operator) -> None:
    able = select(func.count()).select_from(Operator).where(Operator.role == "all", Operator.id != operator.id)
    if operator.role == "all" and not db.session.scalar(able):
        raise Refused(LAST)
