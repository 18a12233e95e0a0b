"""The work of people for later: letters."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from app.accounts import letters
from app.accounts.models import Attempt, Device, Invitation, Session, SetUpLink, SignInLink, SignInRules, User
from app.facilities import audit, events, mail
from app.facilities.events import Event
from app.tenancy import db, utcnow
from app.tenancy.jobs import every, job

GIVE_UP_AFTER = timedelta(days=2)
TRIES = 100  # more than two days have room for, with an hour between them


@events.later("PersonInvited", "PersonInvitedAgain", name="accounts.send_invitation", timeout=120, tries=TRIES)
def send_invitation(event: Event) -> None:
    """Send the letter of an invitation that is still open. One that cannot leave is tried for two days, and shown as failed."""
    invitation_id, asked_at = event.subject_id, event.created_at
    invitation = db.session.get(Invitation, invitation_id)
    if invitation is None or invitation.is_over or invitation.letter_state != "due":
        return
    state, error = "sent", ""
    try:
        _send(invitation)
    except mail.MailRefused as refusal:
        state, error = "failed", str(refusal)
    except mail.MailDown as down:
        is_over = utcnow() - asked_at > GIVE_UP_AFTER
        _mark(invitation_id, "failed" if is_over else "due", str(down))
        if is_over:
            return
        db.session.commit()
        raise
    _mark(invitation_id, state, error)


def _send(invitation: Invitation) -> None:
    invitation.ensure_link()
    letter = letters.invitation_letter(invitation)
    # What the letter says must hold before it leaves, and the relay may take its time with nothing locked.
    db.session.commit()
    mail.send(letter.as_message(), letters.name_of(letter))


def _mark(invitation_id: int, state: str, error: str) -> None:
    """Note what became of the letter, unless the invitation was accepted or withdrawn meanwhile."""
    invitation = db.session.get(Invitation, invitation_id)
    if invitation is not None:
        invitation.mark_letter(state, error)


@job("accounts.send_help", timeout=120)
def send_help(email: str) -> None:
    """Send a link for a new password to that address, if it is somebody's who may sign in; nobody learns whether it is."""
    user = User.by_email(email)
    token = SetUpLink.help(user) if user and user.is_active else None
    if user is None or token is None:
        return
    letter = letters.help_letter(user, token, secrets.token_hex(12))
    db.session.commit()  # The relay may take its time, and nobody is to wait for it with the file locked.
    mail.send(letter.as_message(), letters.name_of(letter))


@job("accounts.send_sign_in_link", timeout=120)
def send_sign_in_link(email: str) -> None:
    """Send a link that stands for the password to that address, if it is somebody's who may sign in and links are wanted."""
    user = User.by_email(email)
    if user is None or not user.is_active or not SignInRules.mine().by_letter:
        return
    audit.note("sign_in_link_sent", subject=user.email)
    letter = letters.sign_in_letter(user, SignInLink.issue(user), secrets.token_hex(12))
    db.session.commit()  # The relay may take its time, and nobody is to wait for it with the file locked.
    mail.send(letter.as_message(), letters.name_of(letter))


@job("accounts.send_warning", timeout=120)
def send_warning(user_id: int, letter: str, browser: str, at: str) -> None:
    """Tell a person by letter what happened to what lets them in, or to one of their browsers."""
    user = db.session.get(User, user_id)
    if user is None or not user.is_active:
        return
    warning = letters.warning(letter, user, browser, datetime.fromisoformat(at))
    db.session.rollback()
    mail.send(warning.as_message(), letters.name_of(warning))


@every("H H(1-5) * * *", name="accounts.purge")
def purge() -> None:
    """Remove, every night, the sessions that have run out, devices that nobody uses, and links of long ago."""
    Session.sweep()
    Device.sweep()
    SetUpLink.sweep()
    SignInLink.sweep()
    Attempt.sweep()
