"""A person of one organisation."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Self

from flask_login import UserMixin
from sqlalchemy import ForeignKey, Select, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts import passwords, policy, stays
from app.accounts.addresses import normal_address, stand_in
from app.accounts.browsers import browser_named
from app.accounts.cookies import Token
from app.accounts.models.device import Device
from app.accounts.models.factor import Attempt, Factor, SignInLink
from app.accounts.models.links import SetUpLink
from app.accounts.models.role import Role
from app.accounts.models.session import Session
from app.accounts.passwords import Hashed
from app.facilities import audit, events, limits, outgoing, reader, storage
from app.facilities.outgoing import Outgoing
from app.tenancy import TenantModel, Timestamp, current_tenant, db, utcnow
from app.tenancy.errors import Refused
from app.tenancy.jobs import later

LAST_OWNER = "There would be no owner left to look after the organisation. Make somebody else an owner first."

RENAMED = events.kind("PersonRenamed", "Somebody goes by another name.", subject="person")
PICTURE_CHANGED = events.kind(
    "PictureChanged", "Somebody shows another picture of themselves, or none any more.", subject="person"
)
ROLE_CHANGED = events.kind(
    "RoleChanged", "What somebody may do has changed, by another role or by a change of theirs.", subject="person"
)
DEACTIVATED = events.kind(
    "PersonDeactivated", "Somebody may not sign in any more, until further notice.", subject="person"
)
REACTIVATED = events.kind("PersonReactivated", "Somebody may sign in again.", subject="person")
REMOVED = events.kind("PersonRemoved", "Somebody left for good; what they wrote keeps their name.", subject="person")


class User(UserMixin, TenantModel):
    """A person inside one organisation. One who was removed stays as the name on what they wrote, with nothing else."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # casefolded
    name: Mapped[str]
    password_hash: Mapped[str | None]  # none until the set-up link was used
    role: Mapped[str] = mapped_column(default="member")  # the key of a role
    state: Mapped[str] = mapped_column(default="active")  # active, closed (deactivated), removed
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime | None] = mapped_column(Timestamp)  # to five minutes
    picture_name: Mapped[str | None] = mapped_column(ForeignKey("stored_file.name"))
    language: Mapped[str] = mapped_column(default=reader.ENGLISH)  # in which dates and numbers are written
    time_zone: Mapped[str] = mapped_column(default="")  # "" for the organisation's

    _held: ClassVar[Role | None] = None  # looked up once for each row in hand

    @classmethod
    def join(cls, email: str, name: str, role: str = "member", hashed: Hashed | None = None) -> Self:
        """Add a person; raises `Refused` for an address that is unusable or here already, `QuotaExceeded` for no room."""
        address = normal_address(email)
        if cls.by_email(address):
            raise Refused(f"{address} is here already.")
        cls.require_room()
        user = cls(email=address, name=name.strip() or stand_in(address), role=role, password_hash=hashed)
        db.session.add(user)
        return user

    @classmethod
    def by_email(cls, email: str) -> Self | None:
        """Return the person with this address, however it is written."""
        return db.session.scalar(select(cls).where(cls.email == email.strip().casefold()))

    @classmethod
    def count(cls) -> int:
        """Return how many people may sign in."""
        return db.session.scalar(select(func.count()).select_from(cls).where(cls.state == "active")) or 0

    @classmethod
    def who_may(cls, permission: str) -> Select[Any]:
        """Select those who may sign in and hold a permission; raises `KeyError` for one that nobody declared."""
        return select(cls).where(cls.state == "active", cls.role.in_(Role.keys_with(permission)))

    @classmethod
    def owners(cls) -> Sequence[Self]:
        """Return the owners who may sign in."""
        return db.session.scalars(select(cls).where(cls.state == "active", cls.role == "owner")).all()

    @classmethod
    def places_taken(cls) -> int:
        """Return how many places of the plan are taken: by those who may sign in, and by those who are invited."""
        from app.accounts.models.invitation import Invitation  # which asks this module who is here

        return cls.count() + Invitation.count_open()

    @classmethod
    def require_room(cls, places: int = 1) -> None:
        """Raise `QuotaExceeded` when the plan has no such number of places left; 0 asks for those who are there already."""
        limits.require("users", places)

    @classmethod
    def authenticate(cls, email: str, password: str) -> Self | None:
        """Return the person with this address and password. No transaction is open while it hashes."""
        found = cls.by_email(email)
        user_id, stored = (found.id, found.password_hash) if found else (0, None)
        db.session.rollback()
        if not passwords.matches(stored, password):
            return None
        user = db.session.get(cls, user_id)
        return user if user and user.is_active and user.password_hash == stored else None

    @property
    def is_active(self) -> bool:
        """Whether this person may sign in."""
        return self.state == "active"

    @property
    def has_name(self) -> bool:
        """Whether this person has said what they want to be called."""
        return self.name != stand_in(self.email)

    @property
    def is_owner(self) -> bool:
        """Whether this person decides about the organisation."""
        return self.role == "owner"

    @property
    def held_role(self) -> Role:
        """The role of this person, with what it lets them do."""
        if self._held is None or self._held.key != self.role:
            self._held = Role.of(self.role)
        return self._held

    def may(self, name: str) -> bool:
        """Tell whether this person holds a permission; raises `KeyError` for one that nobody declared."""
        return self.held_role.holds(policy.named(name))

    def sign_in(self, user_agent: str = "", device: Device | None = None, *, is_proved: bool = True) -> Token:
        """Open a session and return its token, which only the browser keeps; `is_proved` makes it a fresh one."""
        token, stay = Token.fresh(current_tenant().id), stays.of(self)
        now = self.last_seen_at = utcnow()
        db.session.add(
            Session(
                token_hash=token.hash,
                user=self,
                device=device,
                csrf=secrets.token_urlsafe(32),
                proved_at=now if is_proved else None,
                expires_at=now + min(stay.idle, stay.longest),
                ends_at=now + stay.longest,
                user_agent=user_agent[:200],
            )
        )
        audit.note("signed_in", actor=self.email, subject=self.email, browser=browser_named(user_agent))
        return token

    def rename(self, name: str) -> None:
        """Take another name; what was written before keeps the one it was written under."""
        if name != self.name:
            before, after = {"name": self.name}, {"name": name}
            audit.note("person_renamed", actor=self.email, subject=self.email, before=before, after=after)
            self.name = name
            self._tell(RENAMED, self)

    @property
    def picture(self) -> str:
        """The address of this person's picture, another one for each picture; "" where they have none."""
        return f"/desk/people/{self.id}/picture-{self.picture_name[:16]}" if self.picture_name else ""

    def show_picture(self, picture: storage.StoredFile | None) -> None:
        """Be shown by a picture made by `app.accounts.pictures.prepared`, with None by one's initials again."""
        name = picture.name if picture else None
        if name == self.picture_name:
            return
        audit.note("picture_changed", actor=self.email, subject=self.email)
        self._put_picture(name)
        self._tell(PICTURE_CHANGED, self)

    def read_in(self, language: str, time_zone: str) -> None:
        """Have dates, times and numbers written as in `language`, by the clocks of `time_zone` ("" for the organisation's)."""
        self.language, self.time_zone = language, time_zone

    def set_password(self, hashed: Hashed, *, here: Device | None = None) -> None:
        """Give this person a new password; every session opened with the old one ends, and no open link works any more.

        No device is known any more, but for the one `here`.
        """
        if self.password_hash is not None:
            self.warn("password_changed")
        self.password_hash = hashed
        audit.note("password_set", actor=self.email, subject=self.email)
        self._lock_out(here)

    def warn(self, letter: str, browser: str = "") -> None:
        """Have a letter tell this person what happened to what lets them in, or to one of their browsers."""
        from app.accounts import letters  # which asks this module who is here

        at = utcnow().isoformat()
        work = later("accounts.send_warning", user_id=self.id, letter=letter, browser=browser, at=at)
        outgoing.want(work, self.email, letters.warning_subject(letter), letters.AUDIENCE)

    def hear_of_visit(self, visit_id: int) -> None:
        """Have a letter tell this person that an operator came in to help."""
        from app.accounts import letters  # which asks this module who is here

        work = later("accounts.tell_of_visit", user_id=self.id, visit_id=visit_id)
        outgoing.want(work, self.email, letters.visit_subject(), letters.AUDIENCE)

    def end_sessions(self, but: int = 0) -> None:
        """Sign this person out everywhere, but for the session of id `but`."""
        db.session.execute(delete(Session).where(Session.user_id == self.id, Session.id != but))
        Attempt.void(self.id)
        SignInLink.void(self.id)

    def forget_devices(self, but: Device | None = None) -> None:
        """Know this person's browsers no more, which signs them out there; but for one."""
        kept = but.id if but else 0
        db.session.execute(delete(Device).where(Device.user_id == self.id, Device.id != kept))

    def give_role(self, role: str, *, by: User) -> None:
        """Change what this person may do, and sign them out; raises `Refused` for oneself, a role that is above `by`, and the
        last owner.
        """
        self._refuse_oneself(by)
        by.refuse_above(self.held_role)
        by.refuse_above(Role.of(role))
        if role == self.role:
            return
        if self.is_owner:
            self._refuse_last_owner()
        audit.note("role_changed", actor=by.email, subject=self.email, before=self.role, after=role)
        self.role = role
        self.follow_role(by=by)
        _withdraw_unfounded(by)

    def follow_role(self, *, by: User) -> None:
        """Begin anew as what this person may do now: every page and stream that is open knows them as before."""
        self.end_sessions()
        self._tell(ROLE_CHANGED, by)

    def refuse_above(self, role: Role) -> None:
        """Raise `Refused` for a role that holds what this person does not: they neither give it nor decide about its people."""
        if not self.held_role.covers(role):
            raise Refused(f"The role {role.name} may do what yours may not. Ask an owner.")

    def may_invite(self, role: Role) -> bool:
        """Tell whether this person may have somebody come in as that."""
        return self.is_active and self.may("people.manage") and self.held_role.covers(role)

    def deactivate(self, *, by: User) -> None:
        """Let this person sign in no more, from this moment; raises `Refused` as `give_role` does."""
        self._refuse_oneself(by)
        by.refuse_above(self.held_role)
        if not self.is_active:
            return
        self._refuse_last_owner()
        audit.note("person_deactivated", actor=by.email, subject=self.email)
        self.state = "closed"
        self._lock_out()
        _withdraw_unfounded(by)
        self._tell(DEACTIVATED, by)

    def reactivate(self, *, by: User) -> None:
        """Let this person sign in again, with the password they had; raises `QuotaExceeded` when the plan is full."""
        if self.state != "closed":
            return
        by.refuse_above(self.held_role)
        self.require_room()
        audit.note("person_reactivated", actor=by.email, subject=self.email)
        self.state = "active"
        self._tell(REACTIVATED, by)

    def remove(self, *, by: User) -> None:
        """Take this person out for good, or oneself: address and credentials go, their name stays on what they wrote.

        Raises `Refused` for a role that is above `by`, and for the last owner.
        """
        by.refuse_above(self.held_role)
        self._refuse_last_owner()
        audit.note("person_left" if by.id == self.id else "person_removed", actor=by.email, subject=self.email)
        self.state, self.role = "removed", "member"
        self._lock_out()
        _withdraw_unfounded(by)
        Factor.forget(self.id)
        self._put_picture(None)
        self.read_in(reader.ENGLISH, "")
        Outgoing.forget(self.email)
        self.email, self.password_hash, self.last_seen_at = f"removed-{self.id}", None, None
        self._tell(REMOVED, by)

    def _put_picture(self, name: str | None) -> None:
        """Show the stored file of that name from now on, and let go of the one before."""
        before, self.picture_name = self.picture_name, name
        if before:
            db.session.flush()
            storage.forget(before)

    def _lock_out(self, here: Device | None = None) -> None:
        self.end_sessions()
        self.forget_devices(here)
        SetUpLink.void(self.id)

    def _refuse_oneself(self, by: User) -> None:
        if by.id == self.id:
            raise Refused("Nobody does this to themselves. Ask another owner.")

    def _refuse_last_owner(self) -> None:
        """Raise `Refused` when nobody else could look after the organisation; the writer's lock keeps the answer true."""
        able = select(func.count()).select_from(User).where(User.role == "owner", User.state == "active")
        others = db.session.scalar(able.where(User.id != self.id, User.password_hash.is_not(None)))
        if self.is_owner and self.is_active and not others:
            raise Refused(LAST_OWNER)

    def _tell(self, kind: events.Kind, by: User) -> None:
        events.record(kind, self.id, audience="may:people.see", by=by.id)


def _withdraw_unfounded(by: User) -> None:
    from app.accounts.models.invitation import Invitation  # which asks this module who is here

    Invitation.withdraw_unfounded(by=by)
