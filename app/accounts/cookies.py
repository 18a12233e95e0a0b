"""The cookies: who is signed in, which browser this is, and a line to show on the next page. Nothing else is kept there.

The cookies of sessions and devices read `<owner>.<random>.<MAC>`. The owner is a tenant's id, or "platform" for
operators. Only the SHA-256 of the random part is stored, in the owner's own file, so a cookie carried to another house
finds nothing there.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from flask import Request, current_app
from werkzeug.wrappers import Response

from app.tenancy import tenancy

PLATFORM = "platform"
SESSION, DEVICE = "session-cookie", "device-cookie"  # what a token is for; one for the other means nothing
COOKIES = {SESSION: "freehold", DEVICE: "freehold-device"}


@dataclass(frozen=True)
class Token:
    """The secret half of a session or a device, bound to the house it was made for."""

    owner: str
    secret: str
    purpose: str = SESSION

    @classmethod
    def fresh(cls, owner: str, purpose: str = SESSION, *, family: str = "") -> Token:
        """Make a token with 256 random bits, behind the name of its family where it has one."""
        return cls(owner, family + secrets.token_urlsafe(32), purpose)

    @classmethod
    def read(cls, value: str, purpose: str = SESSION) -> Token | None:
        """Return the token in a cookie's value, or None when its MAC is not ours."""
        owner, _, rest = value.partition(".")
        secret, _, mac = rest.partition(".")
        good = hmac.compare_digest(sign(purpose, f"{owner}.{secret}").encode(), mac.encode())
        return cls(owner, secret, purpose) if good else None

    @property
    def hash(self) -> str:
        """What is stored of it."""
        return fingerprint(self.secret)

    def __str__(self) -> str:
        return f"{self.owner}.{self.secret}.{sign(self.purpose, f'{self.owner}.{self.secret}')}"


def fingerprint(secret: str) -> str:
    """Return the SHA-256 of a random secret, in hex. Random secrets need no slow hash."""
    return sha256(secret.encode()).hexdigest()


def sign(purpose: str, text: str) -> str:
    """Return the MAC of `text` in hex, under the platform's sub-key for `purpose`."""
    return hmac.new(tenancy.keys.subkey(purpose), text.encode(), sha256).hexdigest()


def cookie_name(name: str = "freehold") -> str:
    """Return the name under which a cookie travels; by https no other host can set or shadow it."""
    return f"__Host-{name}" if is_secure() else name


def is_secure() -> bool:
    """Tell whether visitors come by https."""
    return bool(current_app.config["FREEHOLD"].secure)


def sent_by(request: Request, purpose: str = SESSION) -> Token | None:
    """Return the session's or the device's token that came with a request, whoever it belongs to."""
    # Most visitors have no cookie at all, and every page asks.
    value = request.cookies.get(cookie_name(COOKIES[purpose])) if "HTTP_COOKIE" in request.environ else None
    return Token.read(value, purpose) if value else None


def give(response: Response, name: str, value: str, lifetime: timedelta) -> None:
    """Set a cookie that scripts and other sites cannot read."""
    response.set_cookie(
        cookie_name(name),
        value,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=is_secure(),
        httponly=True,
        samesite="Lax",
    )


def take_back(response: Response, name: str = "freehold") -> None:
    """Have the browser forget a cookie."""
    response.delete_cookie(cookie_name(name), path="/", secure=is_secure(), httponly=True, samesite="Lax")
