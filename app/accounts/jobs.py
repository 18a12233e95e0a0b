"""The work of people for later: letters."""

from __future__ import annotations

import secrets
from datetime import datetime

from app.accounts import letters
from app.accounts.models import (
    Attempt,
    Device,
    Invitation,
    Session,
    SetUpLink,
    SignInLink,
    SignInRules,
    SupportVisit,
    User,
)
from app.facilities import audit, events, mail, outgoing
from app.facilities.events import Event
from app.facilities.outgoing import Outgoing
from app.tenancy import db
from app.tenancy.jobs import every, job


@events.later("PersonInvited", "PersonInvitedAgain", name="accounts.send_invitation", timeout=120, tries=outgoing.TRIES)
def send_invitation(event: Event) -> None:
    """Send the letter of an invitation that is still open. One that cannot leave is tried for two days, and shown as failed."""
    invitation_id = event.subject_id
    invitation = db.session.get(Invitation, invitation_id)
    if invitation is None or invitation.is_over or invitation.letter_state != "due":
        return
    try:
        _send(invitation)
    except mail.MailRefused as refusal:
        _mark(invitation_id, "failed", str(refusal))
    except mail.MailDown as down:
        _mark(invitation_id, "due", str(down))
        db.session.commit()
        raise
    else:
        _mark(invitation_id, "sent")


def _send(invitation: Invitation) -> None:
    invitation.ensure_link()
    letter = letters.invitation_letter(invitation)
    outgoing.send(letter, letters.name_of(letter), "may:people.manage", patience=outgoing.PATIENCE)


def _mark(invitation_id: int, state: str, error: str = "") -> None:
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
    try:
        letters.send(letters.help_letter(user, token, secrets.token_hex(12)))
    except mail.MailDown:
        SetUpLink.take_back(token)
        db.session.commit()
        raise


@job("accounts.send_sign_in_link", timeout=120)
def send_sign_in_link(email: str) -> None:
    """Send a link that stands for the password to that address, if it is somebody's who may sign in and links are wanted."""
    user = User.by_email(email)
    if user is None or not user.is_active or not SignInRules.mine().by_letter:
        return
    audit.note("sign_in_link_sent", subject=user.email)
    letters.send(letters.sign_in_letter(user, SignInLink.issue(user), secrets.token_hex(12)))


@job("accounts.send_warning", timeout=120, tries=outgoing.TRIES)
def send_warning(user_id: int, letter: str, browser: str, at: str) -> None:
    """Tell a person by letter what happened to what lets them in, or to one of their browsers."""
    user = db.session.get(User, user_id)
    if user is None or not user.is_active:
        return
    letters.send(letters.warning(letter, user, browser, datetime.fromisoformat(at)))


@job("accounts.tell_of_visit", timeout=120, tries=outgoing.TRIES)
def tell_of_visit(user_id: int, visit_id: int) -> None:
    """Tell an owner by letter that an operator came in to help, why and until when."""
    user, visit = db.session.get(User, user_id), db.session.get(SupportVisit, visit_id)
    if user is not None and visit is not None and user.is_active:
        letters.send(letters.visit_letter(user, visit))


@every("H H(1-5) * * *", name="accounts.purge")
def purge() -> None:
    """Remove, every night, the sessions that have run out, devices that nobody uses, links and letters of long ago."""
    Session.sweep()
    Device.sweep()
    SetUpLink.sweep()
    SignInLink.sweep()
    Attempt.sweep()
    Outgoing.sweep()
