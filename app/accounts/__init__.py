"""People: who they are, how they come in, and what a request may do in their name."""

from __future__ import annotations

import time

from flask import Flask
from flask_login import current_user, login_required

from app.accounts import (
    acts,
    admission,
    audit_desk,
    by_letter,
    csrf,
    devices,
    enrolment,
    handlers,
    identities,
    jobs,
    joining,
    letters_desk,
    live,
    notices,
    organisations,
    pace,
    people_desk,
    pictures,
    previews,
    profile_desk,
    reading,
    roles_desk,
    rules_desk,
    security_desk,
    support,
    turns,
    visits,
)
from app.accounts.cli import cli
from app.accounts.factors import tell_who_has_no_codes
from app.accounts.freshness import fresh_required
from app.accounts.letters import writes_from
from app.accounts.models import Invitation, Role, Session, SetUpLink, User
from app.accounts.notices import flash
from app.accounts.passwords import hash_password, require_good, words_of_house
from app.accounts.policy import (
    Visitor,
    ask_to_sign_in,
    is_local,
    may,
    member_required,
    needs,
    permission,
)
from app.accounts.previews import LookLink, is_preview, only_today
from app.accounts.views import blueprint, greets
from app.facilities import limits
from app.tenancy.database import Connection
from app.tenancy.lifecycle import Told, counts, makes_owners, settles

__all__ = [
    "Invitation",
    "LookLink",
    "Role",
    "Session",
    "SetUpLink",
    "User",
    "acts",
    "ask_to_sign_in",
    "audit_desk",
    "cli",
    "create_owner",
    "current_user",
    "flash",
    "fresh_required",
    "greets",
    "handlers",
    "hash_password",
    "identities",
    "init_app",
    "is_local",
    "is_preview",
    "jobs",
    "login_required",
    "may",
    "member_required",
    "needs",
    "only_today",
    "organisations",
    "permission",
    "writes_from",
]


def init_app(app: Flask) -> None:
    """Know who is asking before anything else runs; must come before other modules."""
    visits.finders["tenant"] = devices.session_here
    visits.init_app(app)
    devices.init_app(app)
    csrf.init_app(app)
    enrolment.init_app(app)
    turns.init_app(app)
    pace.init_app(app)
    previews.init_app(app)
    notices.init_app(app)
    reading.init_app(app)
    support.init_app(app)
    joining.init_app(app)
    app.login_manager.unauthorized_handler(ask_to_sign_in)  # type: ignore[attr-defined]
    app.login_manager.anonymous_user = Visitor  # type: ignore[attr-defined]
    app.register_blueprint(blueprint)
    app.register_blueprint(people_desk.blueprint)
    app.register_blueprint(pictures.blueprint)
    app.register_blueprint(roles_desk.blueprint)
    app.register_blueprint(audit_desk.blueprint)
    app.register_blueprint(profile_desk.blueprint)
    app.register_blueprint(admission.door.blueprint)
    by_letter.init_app(app)
    app.register_blueprint(security_desk.blueprint)
    app.register_blueprint(rules_desk.blueprint)
    app.register_blueprint(letters_desk.blueprint)
    greets(tell_who_has_no_codes)
    live.init_app(app)
    counts["users"] = User.count
    limits.meter("users", unit="people", label="People who may sign in", used=User.places_taken)
    makes_owners(create_owner)


def create_owner(email: str, name: str = "", password: str | None = None) -> str | None:
    """Add the owner of the current tenant; returns the token of a set-up link when no password is given.

    The caller commits. Raises `Refused` for an unusable address, and for a password that would be guessed soon.
    """
    if password is not None:
        require_good(password, email, name, *words_of_house())
        User.join(email, name, role="owner", hashed=hash_password(password))
        return None
    return SetUpLink.issue(User.join(email, name, role="owner"))


@settles
def void_codes(connection: Connection) -> Told:
    """Let no recovery code count that a copy holds: since then it may have been used. Who had some is told at sign-in."""
    people = connection.execute("SELECT count(DISTINCT person_id) FROM recovery_code").fetchone()[0]
    connection.execute("DELETE FROM recovery_code")
    return ("recovery_codes_voided", {"people": people}) if people else None


@settles
def end_sessions(connection: Connection) -> None:
    """Let nobody come in by what a copy holds: since then a session may have ended, a link been used, a cookie changed."""
    connection.execute("DELETE FROM session")
    connection.execute("DELETE FROM device")
    connection.execute("DELETE FROM set_up_link")
    connection.execute("DELETE FROM attempt")
    connection.execute("DELETE FROM sign_in_link")
    connection.execute("UPDATE support_visit SET ended_at = ? WHERE ended_at IS NULL", (int(time.time() * 1e6),))
    connection.execute("UPDATE invitation SET expires_at = 0")
