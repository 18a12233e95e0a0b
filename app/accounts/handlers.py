"""What people bring about elsewhere, in the same transaction: the letters that are wanted."""

from __future__ import annotations

from app.accounts import letters
from app.accounts.models import Invitation
from app.facilities import events, outgoing
from app.facilities.events import Event
from app.tenancy import db


@events.react("PersonInvited", "PersonInvitedAgain")
def want_letter(event: Event) -> None:
    """Have the letter of an invitation stand among those of the organisation."""
    invitation = db.session.get_one(Invitation, event.subject_id)
    work, subject = events.work_for(event, "accounts.send_invitation"), letters.invitation_subject(invitation)
    outgoing.want(work, invitation.email, subject, event.audience, "/desk/people/")
