"""Which program is asking: the token in the `Authorization` header, and nothing else. No cookie counts here, and no address."""

from __future__ import annotations

from dataclasses import dataclass

from flask import abort, request
from sqlalchemy import update

from app.accounts import User, may
from app.accounts.devices import at_once
from app.accounts.visits import UNSAFE
from app.api import jwts
from app.api.errors import MixedToken, ScopeMissing, TokenNeeded, TokenOver, TokenRefused
from app.api.keys import Key
from app.api.models import USED_EVERY, Token
from app.api.policy import Scope, scopes
from app.facilities import audit, rates
from app.facilities.rates import Rate, Try
from app.tenancy import current_tenant, db, tenancy, utcnow

PER_TOKEN = Rate("token", 600, 60, "This token has asked very often.")
HERE = Rate("organisation", 6000, 60, "Programs ask this organisation very often at the moment.")

_CALLER = "freehold.caller"
_COUNTED = "freehold.counted"


@dataclass(frozen=True)
class Caller:
    """A program: the token it came with, itself or as the signed JSON that it was exchanged for."""

    token: Token
    is_exchanged: bool = False

    @property
    def person(self) -> User | None:
        """In whose name it asks, None for a service."""
        return self.token.user

    def may(self, permission: str) -> bool:
        """Tell whether a scope that it has stands for this permission and, for a person's token, the person holds it now."""
        is_granted = any(each.permission == permission and each.name in self.token.scopes for each in scopes())
        return is_granted and (self.person is None or may(permission, self.person))


def identify() -> None:
    """Know who asks, before anything else; what is refused is noted here, and where it comes from."""
    given = request.authorization
    if given is None or given.type != "bearer" or not given.token:
        raise TokenNeeded
    try:
        found = _by_jwt(given.token) if "." in given.token else _by_key(given.token)
    except TokenRefused as refusal:
        _tell(refusal, Key.read(given.token))
        raise
    request.environ[_CALLER] = found
    _note_use(found.token)


def caller() -> Caller:
    """Return the program that asks."""
    return request.environ[_CALLER]


def counted() -> Try | None:
    """Return under what this request was counted, None when it was refused before that."""
    return request.environ.get(_COUNTED)


def require(scope: Scope) -> None:
    """Raise `ScopeMissing` for a token that is not good for it; a person who may no longer do it themselves finds nothing."""
    if scope.name not in caller().token.scopes:
        raise ScopeMissing(scope.name)
    if not caller().may(scope.permission):
        abort(404)


def _by_key(text: str) -> Caller:
    key = Key.read(text)
    if key is None:
        raise TokenRefused("It is not written by us.")
    jwts.refuse_foreign(key.tenant_id)
    _count(key.handle)
    token = Token.by_handle(key.handle)
    if token is None or not token.opens_with(key):
        raise TokenOver("It is over, or was never in this file.")
    return Caller(token)


def _by_jwt(text: str) -> Caller:
    claims = jwts.read(text)
    _count(claims["client_id"])
    token = Token.by_handle(claims["client_id"])
    if token is None or not jwts.told(token).items() <= claims.items():
        raise TokenOver("Its token, person or role is another now.")
    return Caller(token, is_exchanged=True)


def _count(handle: str) -> None:
    """Count the request before any file is opened; raises `LimitReached`."""
    here = current_tenant().id
    each = request.environ[_COUNTED] = Try(PER_TOKEN, here, handle)
    rates.take(each, Try(HERE, here))


def _tell(refusal: TokenRefused, key: Key | None) -> None:
    """Note a refused token once a minute: in the ledger, in this tenant's audit, and in that of whose it is, by its handle."""
    db.session.rollback()  # looking it up for a write has locked the file
    here, other = current_tenant(), refusal.tenant if isinstance(refusal, MixedToken) else None
    handle = key.handle if key else "an exchanged one"
    if tenancy.ledger.record_meeting(refusal.kind, here.id, other.id if other else ""):
        audit.note_in(here, refusal.kind, **({"handle": handle} if isinstance(refusal, TokenOver) else {}))
        if other:
            audit.note_in(other, "token_abroad", handle=handle)


def _note_use(token: Token) -> None:
    """Note, at most every five minutes, that the token is in use: beside this request where it only reads."""
    if token.last_used_at and utcnow() - token.last_used_at < USED_EVERY:
        return
    if request.method in UNSAFE:
        token.last_used_at = utcnow()
    else:
        used = update(Token).where(Token.id == token.id).values(last_used_at=utcnow())
        at_once(lambda: db.session.execute(used))
