"""Short-lived tokens that a program exchanges its own for: signed JSON (RFC 7519, RFC 9068), good for a quarter of an hour.

One algorithm, and a key of the tenant: the header's `kid` names the tenant and the version of its key, nothing else in the header
is looked at, and only the version in use is believed. What they say holds as long as their token's row says the same.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Any

import jwt
from flask import current_app

from app.api.errors import ForeignToken, MixedToken, TokenExpired, TokenRefused
from app.api.models import Token
from app.tenancy import current_tenant, tenancy, utcnow
from app.tenancy.errors import DatabaseUnreadable

ALGORITHM, TYPE = "HS256", "at+jwt"
LIFETIME = timedelta(minutes=15)
CLAIMS = ("iss", "aud", "sub", "iat", "exp", "jti", "client_id", "tenant_id", "roles", "scopes")

_KID = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,5})")


def issue(token: Token) -> tuple[str, timedelta]:
    """Return a signed text that stands for a token of the current tenant, and for how long it does."""
    now, tenant = utcnow(), current_tenant()
    ends = min(now + LIFETIME, token.expires_at)
    claims = {
        **told(token),
        "iss": issuer(),
        "aud": tenant.id,
        "tenant_id": tenant.id,
        "iat": now,
        "exp": ends,
        "jti": secrets.token_hex(16),
    }
    version = tenancy.keys.version(tenant.id)
    header = {"kid": f"{tenant.id}.{version}", "typ": TYPE}
    return jwt.encode(claims, _key(tenant.id, version), ALGORITHM, header), ends - now


def told(token: Token) -> dict[str, Any]:
    """Return the claims that must be as the token's row and person have them, at every use."""
    person = token.user
    return {
        "sub": f"person:{person.id}" if person else f"service:{token.handle}",
        "client_id": token.handle,
        "user_id": person.id if person else None,
        "roles": [person.role] if person else [],
        "scopes": token.scopes,
    }


def read(text: str) -> dict[str, Any]:
    """Return what a text of ours claims; raises `TokenExpired`, `ForeignToken`, `MixedToken`, else `TokenRefused`."""
    tenant_id, version = _named(text)
    try:
        claims = _verified(text, tenant_id, version)
    except TokenExpired:
        refuse_foreign(tenant_id)
        raise
    names = (tenant_id, claims["tenant_id"], claims["aud"])
    for named in names:
        refuse_foreign(named, ForeignToken if all(each == tenant_id for each in names) else MixedToken)
    if _key(tenant_id, version) != _key(tenant_id):
        raise TokenExpired("The organisation has another key now.")
    return claims


def refuse_foreign(named: object, refusal: type[MixedToken] = ForeignToken) -> None:
    """Raise `refusal` when a text that we wrote names another tenant than the current one."""
    if named == current_tenant().id:
        return
    tenant = tenancy.registry.by_id(named) if isinstance(named, str) else None
    raise refusal(tenant) if tenant else TokenRefused("It names no tenant.")


def issuer() -> str:
    """Return who signs: the platform, by its address."""
    config = current_app.config["FREEHOLD"]
    return config.address(config.platform_host)


def _named(text: str) -> tuple[str, int]:
    """Return whose key the text says it is signed with, and its version."""
    try:
        header = jwt.get_unverified_header(text)
    except jwt.InvalidTokenError:
        raise TokenRefused("It is no signed JSON.") from None
    found = _KID.fullmatch(str(header.get("kid")))
    if found is None or header.get("typ") != TYPE:
        raise TokenRefused("Its header is not one of ours.")
    return found[1], int(found[2])


def _verified(text: str, tenant_id: str, version: int) -> dict[str, Any]:
    # Whom it is for is compared by `read`, which has to tell another tenant's from none.
    options: Any = {"require": list(CLAIMS), "verify_aud": False}
    try:
        return jwt.decode(text, _key(tenant_id, version), [ALGORITHM], options, issuer=issuer())
    except jwt.ExpiredSignatureError:
        raise TokenExpired("Its time is over.") from None
    except (jwt.InvalidTokenError, DatabaseUnreadable):
        raise TokenRefused("It is not signed by us, or does not say what ours do.") from None


def _key(tenant_id: str, version: int | None = None) -> bytes:
    return tenancy.keys.tenant_subkey(tenant_id, "api", version)
