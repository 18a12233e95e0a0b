"""An invitation: one address, one role, seven days, one use."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Self

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts.addresses import normal_address
from app.accounts.cookies import fingerprint
from app.accounts.models.role import Role
from app.accounts.models.user import User
from app.accounts.passwords import Hashed
from app.facilities import audit, events, limits
from app.tenancy import TenantModel, Timestamp, current_tenant, db, tenancy, utcnow
from app.tenancy.errors import Refused

INVITATION_LIFETIME = timedelta(days=7)

INVITED = events.kind("PersonInvited", "An owner invited somebody.", subject="invitation")
INVITED_AGAIN = events.kind(
    "PersonInvitedAgain", "An invitation was sent once more; its earlier link is dead.", subject="invitation"
)
WITHDRAWN = events.kind("InvitationWithdrawn", "An owner took an invitation back.", subject="invitation")
JOINED = events.kind("PersonJoined", "Somebody accepted their invitation.", subject="person")


class Invitation(TenantModel):
    """Somebody who may come in. The row is gone once they have, or once it was withdrawn.

    The token of its link follows from the row under a key of the tenant, so that the letter's job can write it though only
    its hash is stored.
    """

    __tablename__ = "invitation"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # casefolded
    name: Mapped[str] = mapped_column(default="")
    role: Mapped[str]
    seed: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    invited_by: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    inviter_name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    letter_state: Mapped[str] = mapped_column(default="due")  # due, sent, failed
    letter_error: Mapped[str] = mapped_column(default="")  # why it has not left yet, or could not

    @classmethod
    def send(cls, email: str, role: str, name: str = "", *, by: User) -> Self:
        """Invite somebody by letter; raises `Refused` for an address that is unusable or here and for a role that is above `by`,
        `QuotaExceeded` for no room.
        """
        by.refuse_above(Role.of(role))
        User.require_room()
        address = normal_address(email)
        _refuse_known(address)
        limits.spend("letters")
        invitation = cls(email=address, name=name.strip(), role=role, invited_by=by.id, inviter_name=by.name)
        invitation._renew_link()
        db.session.add(invitation)
        db.session.flush()
        events.record(INVITED, invitation.id, audience="may:people.manage", by=by.id)
        audit.note("person_invited", actor=by.email, subject=address, role=role)
        return invitation

    @classmethod
    def by_email(cls, email: str) -> Self | None:
        """Return the invitation of this address, however it is written."""
        return db.session.scalar(select(cls).where(cls.email == email.strip().casefold()))

    @classmethod
    def find(cls, token: str) -> Self | None:
        """Return the invitation with this token while it can still be accepted."""
        return db.session.scalar(select(cls).where(cls.token_hash == fingerprint(token), cls.expires_at > utcnow()))

    @classmethod
    def count_open(cls) -> int:
        """Return how many may still be accepted: each holds a place in the plan."""
        return db.session.scalar(select(func.count()).select_from(cls).where(cls.expires_at > utcnow())) or 0

    @property
    def is_over(self) -> bool:
        """Whether its seven days have passed."""
        return self.expires_at <= utcnow()

    @property
    def token(self) -> str:
        """What its link carries: 256 bits that nobody can derive from the row alone."""
        key = tenancy.keys.tenant_subkey(current_tenant().id, "invitations")
        return urlsafe_b64encode(hmac.new(key, self.seed.encode(), sha256).digest()).decode().rstrip("=")

    @classmethod
    def withdraw_unfounded(cls, *, by: User) -> None:
        """Take back the open ones that their senders could not send now: they left, or may no longer give that role."""
        for invitation in db.session.scalars(select(cls).where(cls.expires_at > utcnow())):
            sender = db.session.get(User, invitation.invited_by) if invitation.invited_by else None
            if sender is None or not sender.may_invite(Role.of(invitation.role)):
                invitation._take_back(by)

    def send_again(self, *, by: User) -> None:
        """Give it another seven days and another link; the one before is dead, and it is from whoever does this from now on.

        Raises `Refused` and `QuotaExceeded` as `send`.
        """
        by.refuse_above(Role.of(self.role))
        User.require_room(1 if self.is_over else 0)
        limits.spend("letters")
        self.invited_by, self.inviter_name = by.id, by.name
        self._renew_link()
        self.letter_state, self.letter_error = "due", ""
        events.record(INVITED_AGAIN, self.id, audience="may:people.manage", by=by.id)
        audit.note("invitation_sent_again", actor=by.email, subject=self.email)

    def withdraw(self, *, by: User) -> None:
        """Take it back; raises `Refused` for a role that is above `by`."""
        by.refuse_above(Role.of(self.role))
        self._take_back(by)

    def accept(self, name: str, hashed: Hashed) -> User:
        """Let the invited person in; raises `QuotaExceeded` when the plan has become too small, `Refused` when they are here."""
        db.session.delete(self)
        db.session.flush()
        user = User.join(self.email, name or self.name, self.role, hashed)
        db.session.flush()
        events.record(JOINED, user.id, audience="may:people.see", by=user.id)
        audit.note("person_joined", actor=user.email, subject=user.email, role=user.role)
        return user

    def ensure_link(self) -> None:
        """Make its link anew when the tenant has got another key since: the one in the row could not be written any more."""
        if fingerprint(self.token) != self.token_hash:
            self._renew_link()

    def mark_letter(self, state: str, error: str = "") -> None:
        """Note what has become of the letter."""
        self.letter_state, self.letter_error = state, error[:500]

    def _take_back(self, by: User) -> None:
        events.record(WITHDRAWN, self.id, audience="may:people.manage", by=by.id)
        audit.note("invitation_withdrawn", actor=by.email, subject=self.email)
        db.session.delete(self)

    def _renew_link(self) -> None:
        self.seed = secrets.token_urlsafe(32)
        self.token_hash, self.expires_at = fingerprint(self.token), utcnow() + INVITATION_LIFETIME


def _refuse_known(address: str) -> None:
    user = User.by_email(address)
    if user is not None:
        closed = "" if user.is_active else " They were deactivated; you can let them in again."
        raise Refused(f"{address} is here already.{closed}")
    if Invitation.by_email(address):
        raise Refused(f"{address} is invited already. Send that invitation again, or withdraw it first.")
