"""What people get by letter: invitations, help with a forgotten password, warnings. Links lead to the primary domain alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from flask import current_app, render_template

from app.accounts.models import Invitation, SupportVisit, User
from app.facilities import mail, outgoing
from app.tenancy import current_tenant, utcnow

WARNINGS = {
    "new_device": "A new sign-in at {organisation}",
    "device_reused": "You were signed out at {organisation}",
    "factors_changed": "Your second factors at {organisation} have changed",
    "password_changed": "Your password at {organisation} was changed",
    "codes_made": "Your recovery codes at {organisation} are new",
}

AUDIENCE = "may:people.see"  # who may know that such a letter was sent

# From which address the current organisation writes; the module that keeps its letter box says so.
_senders: list[Callable[[], str]] = []


def writes_from(sender: Callable[[], str]) -> None:
    """Have `sender()` say from which address the letters of the current organisation come."""
    _senders[:] = [sender]


def link(path: str) -> str:
    """Return the address of a path on the primary domain, as the registry has it."""
    return current_app.config["FREEHOLD"].address(current_tenant().primary_host) + path


def invitation_link(invitation: Invitation) -> str:
    """Return the address at which an invitation is accepted."""
    return link(f"/invitation/{invitation.token}")


def invitation_letter(invitation: Invitation) -> mail.Letter:
    """Return the letter that brings an invitation; raises `mail.MailRefused` for an address that no letter reaches."""
    subject, to = invitation_subject(invitation), mail.address(invitation.email, invitation.name)
    facts = {"invitation": invitation, "link": invitation_link(invitation)}
    return _letter("invitation", to, subject, f"invitation.{invitation.token_hash[:24]}", **facts)


def invitation_subject(invitation: Invitation) -> str:
    """Return what the letter of an invitation is called."""
    return f"{invitation.inviter_name} invites you to {current_tenant().name}"


def help_letter(user: User, token: str, mark: str) -> mail.Letter:
    """Return the letter with a link for a forgotten password; `mark` is one that no other letter has."""
    subject = f"Your password at {current_tenant().name}"
    facts = {"user": user, "link": link(f"/set-up/{token}")}
    return _letter("help", mail.address(user.email, user.name), subject, f"help.{mark}", **facts)


def warning(kind: str, user: User, browser: str, at: datetime) -> mail.Letter:
    """Return the letter that tells a person what happened to what lets them in, or to one of their browsers."""
    subject = warning_subject(kind)
    facts = {"user": user, "browser": browser, "at": at, "help": link("/sign-in/help"), "list": link("/desk/profile/")}
    return _letter(
        kind, mail.address(user.email, user.name), subject, f"{kind}.{user.id}.{at.timestamp():.6f}", **facts
    )


def warning_subject(kind: str) -> str:
    """Return what a warning is called."""
    return WARNINGS[kind].format(organisation=current_tenant().name)


def visit_letter(user: User, visit: SupportVisit) -> mail.Letter:
    """Return the letter that tells an owner that an operator came in to help."""
    facts = {"user": user, "visit": visit, "list": link("/desk/settings/visits")}
    return _letter(
        "visit", mail.address(user.email, user.name), visit_subject(), f"visit.{visit.id}.{user.id}", **facts
    )


def visit_subject() -> str:
    """Return what the letter about a visit is called."""
    return f"An operator visits {current_tenant().name} to help"


def sign_in_letter(user: User, token: str, mark: str) -> mail.Letter:
    """Return the letter with a link that stands for the password; `mark` is one that no other letter has."""
    subject = f"Sign in at {current_tenant().name}"
    facts = {"user": user, "link": link(f"/sign-in/link/{token}")}
    return _letter("sign_in_link", mail.address(user.email, user.name), subject, f"link.{mark}", **facts)


def join_letter(email: str, token: str, mark: str) -> mail.Letter:
    """Return the letter with which somebody joins by themselves; `mark` is one that no other letter has."""
    subject, facts = f"Join {current_tenant().name}", {"link": link(f"/sign-in/join/{token}")}
    return _letter("join", mail.address(email), subject, f"join.{mark}", **facts)


def send(letter: mail.Letter) -> None:
    """Send a letter in its job; one that the relay will never take is not tried again. Raises `mail.MailDown`."""
    with suppress(mail.MailRefused):
        outgoing.send(letter, name_of(letter), AUDIENCE)


def name_of(letter: mail.Letter) -> str:
    """Return a name for the letter that no other of any tenant has."""
    return f"{current_tenant().slug}.{letter.letter_id.strip('<').partition('@')[0]}"


def _letter(template: str, to: Any, subject: str, mark: str, **facts: Any) -> mail.Letter:
    host = current_tenant().primary_host
    sender = _senders[0]() if _senders else f"inbox@{host}"
    return mail.Letter(
        sender=mail.address(sender, current_tenant().name),
        to=to,
        subject=subject,
        text=render_template(f"accounts/mail/{template}.txt", **facts),
        html=render_template(f"accounts/mail/{template}.html", subject=subject, **facts),
        letter_id=f"<{mark}@{host}>",
        date=utcnow(),
    )
