"""A preview shows an organisation as it was: to its owners and to operators alone, with nothing sent and nothing kept.

It is a tenant of its own beside the living one. Whoever asked for it comes in by a link that holds for five minutes and
works once; its address is signed under a key of the preview, so that it opens no other house.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Self

from flask import Flask, Response, abort, current_app, request
from flask_login import current_user
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response as AnyResponse

from app.accounts.cookies import fingerprint
from app.accounts.models import SetUpLink, User
from app.accounts.policy import ask_to_sign_in
from app.accounts.visits import UNSAFE
from app.tenancy import ResolvedTenant, current_scope, current_tenant, db, tenancy, tenant_context, utcnow
from app.tenancy.errors import FreeholdError

LINK_LIFETIME = timedelta(minutes=5)
OPEN = frozenset({"sign-in", "sign-out", "look", "static", "_theme", "healthz", "readyz"})  # first segments of a path
UNLISTED = frozenset({"/feed.xml", "/sitemap.xml"})
NO_ROBOTS = "User-agent: *\nDisallow: /\n"


@dataclass(frozen=True)
class Preview:
    """What pages of a preview say about it: whose it is, the moment it shows, and where today is."""

    name: str
    at: datetime
    today: str
    is_inside: bool  # whether whoever asks has come in


def init_app(app: Flask) -> None:
    """Let only owners into previews, keep those out of every index, and let templates say `preview`."""
    app.before_request(keep_out)
    app.after_request(keep_unlisted)
    app.jinja_env.globals["preview"] = LocalProxy(current_preview)


def is_preview() -> bool:
    """Tell whether the current tenant, if there is one, is a preview."""
    scope = current_scope()
    return scope is not None and scope.tenant is not None and scope.tenant.preview_of is not None


def current_preview() -> Preview | None:
    """Return what is to be said about the current preview, None in a living house."""
    if not is_preview():
        return None
    here, config, email = current_tenant(), current_app.config["FREEHOLD"], _who()
    living = tenancy.registry.by_id(here.preview_of or "") or here
    if email == operators_address():
        today = f"{config.address(config.platform_host)}/tenants/{living.slug}"
    else:
        today = f"{config.address(living.primary_host)}/desk/settings/backups/"
    return Preview(living.name, here.preview_at or utcnow(), today, email is not None)


def _who() -> str | None:
    """Return the address of whoever is signed in; pages that say why the file cannot be read are printed through this too."""
    try:
        return current_user.email if current_user.is_authenticated else None
    except (FreeholdError, SQLAlchemyError):
        return None


def keep_out() -> AnyResponse | None:
    """Let nobody but owners see what a preview shows."""
    if not is_preview():
        return None
    if request.path in UNLISTED or request.path.startswith("/api/"):
        abort(404)
    if request.path == "/robots.txt":
        return Response(NO_ROBOTS, mimetype="text/plain")
    if request.path.split("/", 2)[1] in OPEN:
        return None
    if not current_user.is_authenticated:
        return ask_to_sign_in()
    return None if current_user.is_owner else abort(404)


def keep_unlisted(response: Response) -> Response:
    """Tell search engines to keep nothing of a preview."""
    if is_preview():
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


def only_today() -> None:
    """Change nothing inside a preview, for a blueprint: it is thrown away, and its letters never leave."""
    if is_preview() and request.method in UNSAFE:
        abort(404)


def may_enter(user: User) -> bool:
    """Tell whether a person may sign in here: anywhere but in a preview, where only those may who are owners today too."""
    return not is_preview() or (user.is_owner and _is_owner_today(user.email))


def _is_owner_today(email: str) -> bool:
    """Ask the living house, in a context of its own, as no scope holds two; a house that cannot be read says no."""
    app, living = current_app._get_current_object(), tenancy.registry.by_id(current_tenant().preview_of or "")  # type: ignore[attr-defined]

    def ask() -> bool:
        if living is None:
            return False
        with app.app_context(), tenant_context(living, writes=False):
            user = User.by_email(email)
            return user is not None and user.is_active and user.is_owner

    try:
        return Context().run(ask)
    except FreeholdError:
        return False


def operators_address() -> str:
    """Return the address under which operators stand in a preview's own file."""
    return f"operator@{current_app.config['FREEHOLD'].platform_host}"


@dataclass(frozen=True)
class LookLink:
    """A one-time way into a preview for one person: the address and name they go by in there, and who they are outside."""

    email: str
    name: str
    actor: str
    expires: int  # seconds since 1970
    token: str = ""

    @classmethod
    def for_owner(cls, preview: ResolvedTenant, owner: User) -> str:
        """Return the address by which an owner of the living house comes in."""
        return cls._address(preview, owner.email, owner.name, owner.email)

    @classmethod
    def for_operator(cls, preview: ResolvedTenant, actor: str) -> str:
        """Return the address by which an operator comes in; `actor` is their own e-mail address."""
        return cls._address(preview, operators_address(), "Operator", actor)

    @classmethod
    def _address(cls, preview: ResolvedTenant, *person: str) -> str:
        expires = int(time.time() + LINK_LIFETIME.total_seconds())
        facts = json.dumps([*person, expires, secrets.token_urlsafe(16)])
        body = urlsafe_b64encode(facts.encode()).decode().rstrip("=")
        root = current_app.config["FREEHOLD"].address(preview.primary_host)
        return f"{root}/look/{body}.{_signature(preview.id, body)}"

    @classmethod
    def find(cls, token: str) -> Self | None:
        """Return the link into the current preview with this token while it can still be used."""
        body, _, mac = token.partition(".")
        if not is_preview() or not hmac.compare_digest(_signature(current_tenant().id, body).encode(), mac.encode()):
            return None
        email, name, actor, expires, _ = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        link = cls(email, name, actor, expires, token)
        return None if link.is_over else link

    @property
    def is_over(self) -> bool:
        """Whether its time has run out or somebody has come in by it."""
        spent = select(SetUpLink.id).where(SetUpLink.token_hash == fingerprint(self.token))
        return time.time() > self.expires or db.session.scalar(spent) is not None

    def use(self) -> User:
        """Return the person, an owner in the preview's own file, and spend the link; the caller commits."""
        user = User.by_email(self.email) or User(email=self.email, name=self.name)
        user.role, user.state = "owner", "active"
        db.session.add(user)
        until = datetime.fromtimestamp(self.expires, UTC)
        db.session.add(
            SetUpLink(token_hash=fingerprint(self.token), user=user, expires_at=until, used_at=utcnow()),
        )
        return user


def _signature(tenant_id: str, body: str) -> str:
    return hmac.new(tenancy.keys.tenant_subkey(tenant_id, "look-link"), body.encode(), sha256).hexdigest()
