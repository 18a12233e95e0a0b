"""People: who they are, how they come in, and what a request may do in their name."""

from __future__ import annotations

from flask import Flask
from flask_login import current_user, login_required

from app.accounts import csrf, live, notices, visits
from app.accounts.cli import cli
from app.accounts.models import Session, SetUpLink, User
from app.accounts.notices import flash
from app.accounts.passwords import hash_password
from app.accounts.policy import ask_to_sign_in, is_local, member_required, owner_required
from app.accounts.views import blueprint
from app.tenancy.lifecycle import counts, makes_owners

__all__ = [
    "Session",
    "SetUpLink",
    "User",
    "ask_to_sign_in",
    "cli",
    "create_owner",
    "current_user",
    "flash",
    "hash_password",
    "init_app",
    "is_local",
    "login_required",
    "member_required",
    "owner_required",
]


def init_app(app: Flask) -> None:
    """Know who is asking before anything else runs; must come before other modules."""
    visits.finders["tenant"] = Session.find
    visits.init_app(app)
    csrf.init_app(app)
    notices.init_app(app)
    app.login_manager.unauthorized_handler(ask_to_sign_in)  # type: ignore[attr-defined]
    app.register_blueprint(blueprint)
    live.init_app(app)
    counts["users"] = User.count
    makes_owners(create_owner)


def create_owner(email: str, name: str = "", password: str | None = None) -> str | None:
    """Add the owner of the current tenant; returns the token of a set-up link when no password is given.

    The caller commits. Raises `Refused` for an unusable address.
    """
    if password:
        User.join(email, name, role="owner", hashed=hash_password(password))
        return None
    return SetUpLink.issue(User.join(email, name, role="owner"))
