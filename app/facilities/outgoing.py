"""The letters of an organisation: of each, who it is for, what it is about and how it stands; never what it says.

A record is written in the transaction that wants the letter or, where only its job looks up whether there is anybody to
write to, by that job. Every letter leaves by `send`, which moves the record. Has no backend of its own: when the relay is
down, `send` raises what `mail` raises, and the letter waits with its work.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement, Select, delete, select
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from app.facilities import events, mail
from app.tenancy import TenantModel, Timestamp, db, due, jobs, utcnow
from app.tenancy.due import Due

PATIENCE = timedelta(days=2)  # for what people write: after that it is said to have failed
TRIES = 100  # more than two days have room for, with an hour between them
KEPT = timedelta(days=90)
REASON_LENGTH = 300  # characters
STATES = {
    "waiting": "Waiting",
    "sent": "Sent",
    "refused": "Refused",
    "given_up": "Given up",
    "set_aside": "Set aside",
    "dropped": "Not sent",
}
# A relay may repeat what it did not like, and a link in it can let somebody in.
_LINK = re.compile(r"\S*/\S{20,}")


class Outgoing(TenantModel):
    """A letter to be sent, or one that was. While it waits, the work that is to send it (`due_id`) says how it stands."""

    __tablename__ = "outgoing"

    id: Mapped[int] = mapped_column(primary_key=True)
    due_id: Mapped[int | None] = mapped_column(unique=True)
    audience: Mapped[str]  # who may know of it, as for events
    email: Mapped[str]
    subject: Mapped[str]
    place: Mapped[str] = mapped_column(default="")  # where on the desk it can be asked for once more
    state: Mapped[str] = mapped_column(default="waiting")  # waiting, sent, refused, given_up
    reason: Mapped[str] = mapped_column(default="")  # why it was refused or given up
    wanted_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)
    tried_at: Mapped[datetime | None] = mapped_column(Timestamp)

    work: Mapped[Due | None] = relationship(
        primaryjoin=lambda: foreign(Outgoing.due_id) == Due.id, viewonly=True, lazy="joined"
    )

    @classmethod
    def seen_by(cls, person_id: int) -> Select[Self]:
        """Select the letters that a person may know of, newest first."""
        audiences = db.session.scalars(select(cls.audience).distinct())
        open_to = [audience for audience in audiences if events.may_see(audience, [person_id])]
        return select(cls).where(cls.audience.in_(open_to)).order_by(cls.wanted_at.desc(), cls.id.desc())

    @classmethod
    def stands_as(cls, standing: str) -> ColumnElement[bool]:
        """Say, as SQL, whether a letter's standing is this one of `STATES`."""
        by_work = {
            "waiting": cls.work.has(Due.set_aside_at.is_(None)),
            "set_aside": cls.work.has(Due.set_aside_at.is_not(None)),
            "dropped": ~cls.work.has(),
        }
        return (cls.state == "waiting") & by_work[standing] if standing in by_work else cls.state == standing

    @classmethod
    def forget(cls, email: str) -> None:
        """Remove what was sent to somebody who is no longer here."""
        db.session.execute(delete(cls).where(cls.email == email))

    @classmethod
    def sweep(cls) -> None:
        """Remove the records of ninety days ago."""
        db.session.execute(delete(cls).where(cls.wanted_at <= utcnow() - KEPT))

    @property
    def standing(self) -> str:
        """How it stands now, one of `STATES`."""
        if self.state != "waiting":
            return self.state
        if self.work is None:
            return "dropped"
        return "set_aside" if self.work.set_aside_at else "waiting"

    @property
    def why(self) -> str:
        """Why it has not left, as far as that is known; no link is in it."""
        error = self.work.error if self.work and self.state == "waiting" else ""
        said = _LINK.sub("…", error.partition(": ")[2] or error or self.reason)
        return said[:1].upper() + said[1:]

    @property
    def next_try(self) -> datetime | None:
        """When it is tried again, None before its first try and once its turn has come."""
        return self.work.run_at if self.work and self.work.attempts and self.work.run_at > utcnow() else None

    def try_again(self) -> bool:
        """Let its work begin anew; tells whether it was set aside."""
        return bool(self.due_id and due.retry([self.due_id]))


def want(work: Due, to: str, subject: str, audience: str, place: str = "") -> None:
    """Record the letter that `work` is to send; the caller commits."""
    db.session.flush()
    db.session.add(Outgoing(due_id=work.id, email=to, subject=subject, audience=audience, place=place))


def send(letter: mail.Letter, name: str, audience: str, *, patience: timedelta | None = None) -> None:
    """Send a letter in its job, under a name that no other letter has, and note what becomes of it; the caller commits.

    What is not committed yet is, before it leaves: what the letter says must hold, and the relay may take its time with
    nothing locked. Raises `MailDown`, and `MailRefused` where that has gone on for longer than `patience` too.
    """
    record = _begun(letter, audience)
    number, since = record.id, record.wanted_at
    db.session.commit()
    try:
        mail.send(letter.as_message(), name)
    except mail.MailRefused as refusal:
        _settle(number, "refused", str(refusal))
        raise
    except mail.MailDown as down:
        if patience is None or utcnow() - since <= patience:
            raise
        _settle(number, "given_up", str(down))
        raise mail.MailRefused(str(down)) from down
    _settle(number, "sent")


def trouble(letters: Select[Outgoing]) -> str:
    """Return why the newest of these letters that was tried could not leave; "" when the relay took or refused it."""
    tried = letters.where(Outgoing.tried_at.is_not(None)).order_by(None).order_by(Outgoing.tried_at.desc())
    newest = db.session.scalar(tried.limit(1))
    if newest is None or newest.state in ("sent", "refused"):
        return ""
    is_down = newest.state == "given_up" or (newest.work and newest.work.error.startswith(mail.MailDown.__name__))
    return newest.why if is_down else ""


def _begun(letter: mail.Letter, audience: str) -> Outgoing:
    """Return the record of the work in hand, or a new one, with what the letter says now."""
    number = jobs.in_hand()
    record = db.session.scalar(select(Outgoing).where(Outgoing.due_id == number)) if number else None
    if record is None:
        record = Outgoing(due_id=number, audience=audience)
        db.session.add(record)
    record.email, record.subject, record.tried_at = mail.as_written(letter.to), letter.subject, utcnow()
    db.session.flush()
    return record


def _settle(number: int, state: str, reason: str = "") -> None:
    record = db.session.get(Outgoing, number)
    if record is not None:
        record.state, record.reason = state, reason[:REASON_LENGTH]
