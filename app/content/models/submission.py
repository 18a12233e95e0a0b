"""What visitors send through the contact form. It is stored first; whoever answers it hears of it by its event."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts.addresses import normal_address
from app.facilities import events
from app.facilities.rates import LimitReached, Rate
from app.facilities.text import lines, one_line
from app.tenancy import TenantModel, Timestamp, db, utcnow

SUBJECT_WORDS = 10
SUBJECT_LENGTH = 150  # characters
ORIGIN_KEPT = timedelta(days=1)

SUBMISSION_RECEIVED = events.kind(
    "SubmissionReceived",
    "A visitor sent the contact form. The row says whether it was taken for spam.",
    subject="submission",
)


# Counted by the rows themselves, in the transaction that adds one: exact, and the same without Valkey.
PER_VISITOR = Rate("visitor", 5, 600, "You have sent us several messages within a few minutes.")
PER_ORGANISATION = Rate("organisation", 100, 3600, "Very many messages are coming in at the moment.")


class Submission(TenantModel):
    """One form that a visitor sent."""

    __tablename__ = "submission"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(default="received")  # received, spam
    reason: Mapped[str] = mapped_column(default="")  # why it was taken for spam
    origin: Mapped[str] = mapped_column(
        default="", index=True
    )  # a mark of the visitor's address and the day, kept a day
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)
    name: Mapped[str]
    email: Mapped[str]  # casefolded
    subject: Mapped[str]
    text: Mapped[str]

    @classmethod
    def receive(
        cls,
        printed: str,
        *,
        name: str,
        email: str,
        subject: str = "",
        text: str,
        origins: tuple[str, ...] = (),
        spam: str = "",
    ) -> Submission:
        """Store what a visitor sent and record it; the same form sent twice is one.

        `printed` is the signed time that the form carried, `origins` are the marks of where it came from, today's first,
        and `spam` is why it is taken for spam, "" when it is not. Raises `LimitReached` when too many came from there,
        or to this organisation, and `Refused` for an unusable address.
        """
        fields = {"name": one_line(name), "email": normal_address(email), "text": lines(text)}
        fields["subject"] = one_line(subject)[:SUBJECT_LENGTH] or _opening(fields["text"])
        mark = sha256(json.dumps([printed, *sorted(fields.items())]).encode()).hexdigest()
        same = db.session.scalar(select(cls).where(cls.fingerprint == mark))
        if same is not None:
            return same
        state = "spam" if spam else "received"
        cls._require_room(origins, state)
        cls._forget_origins()
        submission = cls(fingerprint=mark, state=state, reason=spam, origin="".join(origins[:1]), **fields)
        db.session.add(submission)
        db.session.flush()
        events.record(SUBMISSION_RECEIVED, submission.id, audience=events.NOBODY)
        return submission

    @property
    def is_spam(self) -> bool:
        """Whether it was taken for spam."""
        return self.state == "spam"

    @classmethod
    def _require_room(cls, origins: tuple[str, ...], state: str) -> None:
        # Spam has an allowance of its own, so that a flood of it keeps nobody from being heard.
        if any(origins):
            cls._require(PER_VISITOR, cls.origin.in_(origins))
        cls._require(PER_ORGANISATION, cls.state == state)

    @classmethod
    def _require(cls, rate: Rate, counted: ColumnElement[bool]) -> None:
        began = utcnow() - timedelta(seconds=rate.seconds)
        newest = select(cls.created_at).where(counted, cls.created_at > began).order_by(cls.created_at.desc())
        oldest = db.session.scalar(newest.offset(rate.most - 1).limit(1))
        if oldest is not None:
            raise LimitReached(rate, (oldest - began).total_seconds(), "Please send this one again")

    @classmethod
    def _forget_origins(cls) -> None:
        old = (cls.origin > "", cls.created_at < utcnow() - ORIGIN_KEPT)
        db.session.execute(update(cls).where(*old).values(origin=""))


def find_submission(submission_id: int) -> Submission | None:
    """Return what a visitor sent, None where there is no such row."""
    return db.session.get(Submission, submission_id)


def _opening(text: str) -> str:
    """Return the first words of a text, for a visitor who gave it no subject."""
    words = text.split(maxsplit=SUBJECT_WORDS)
    opening = one_line(" ".join(words[:SUBJECT_WORDS]))
    cut = opening[: SUBJECT_LENGTH - 1]
    return cut + ("…" if len(words) > SUBJECT_WORDS or cut != opening else "")
