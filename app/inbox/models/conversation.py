"""A conversation: what one visitor and the organisation have to say to each other about one thing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts import User
from app.facilities import events, limits, mail
from app.facilities.text import lines, one_line
from app.inbox.models.box import Box
from app.inbox.models.contact import Contact
from app.inbox.models.message import AUDIENCE, MESSAGE_RECEIVED, NOTE_WRITTEN, REPLY_WRITTEN, Message
from app.inbox.texts import as_html, preview
from app.tenancy import TenantModel, Timestamp, db, utcnow
from app.tenancy.errors import Refused

SUBJECT_LENGTH = 200  # characters

OPENED = events.kind("ConversationOpened", "Somebody outside began a conversation.", subject="conversation")
ASSIGNED = events.kind(
    "ConversationAssigned",
    "A conversation was given to a member, or to nobody.",
    subject="conversation",
    payload={"assignee": "id of the person who has it now, null for nobody", "previous": "id of who had it before"},
)
CLOSED = events.kind("ConversationClosed", "A conversation was closed.", subject="conversation")
REOPENED = events.kind("ConversationReopened", "A conversation was opened again.", subject="conversation")
MARKED_SPAM = events.kind(
    "ConversationMarkedSpam",
    "A conversation was put among the spam, by a member or on its arrival.",
    subject="conversation",
)


class Conversation(TenantModel):
    """What is said between one contact and the members, with who looks after it and how it stands."""

    __tablename__ = "conversation"
    __table_args__ = (Index("ix_conversation_folder", "state", "last_message_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)  # what people call it; an import keeps it
    box_id: Mapped[int] = mapped_column(ForeignKey("box.id"), index=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contact.id"), index=True)
    subject: Mapped[str]
    preview: Mapped[str] = mapped_column(default="")  # the beginning of the newest message that is no note
    state: Mapped[str] = mapped_column(default="open")  # open, waiting (for the visitor), closed, spam
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    submission_id: Mapped[int | None] = mapped_column(unique=True)  # the form that began it
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_message_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)  # notes do not count

    box: Mapped[Box] = relationship()
    contact: Mapped[Contact] = relationship(lazy="joined", innerjoin=True)
    assignee: Mapped[User | None] = relationship(lazy="joined")

    @classmethod
    def count(cls) -> int:
        """Return how many conversations there are, spam included."""
        return db.session.scalar(select(func.count()).select_from(cls)) or 0

    @classmethod
    def open_from(
        cls, contact: Contact, subject: str, text: str, *, submission_id: int | None = None, is_spam: bool = False
    ) -> Conversation:
        """Begin a conversation with what `contact` wrote. Spam goes to its folder, where it rings no bell."""
        words = one_line(subject)[:SUBJECT_LENGTH] or _unnamed(contact)
        conversation = cls(
            number=(db.session.scalar(select(func.max(cls.number))) or 0) + 1,
            box_id=Box.main().id,
            contact=contact,
            subject=words,
            submission_id=submission_id,
            state="spam" if is_spam else "open",
        )
        db.session.add(conversation)
        db.session.flush()
        conversation._write("in", text, contact_id=contact.id)
        conversation._tell(MARKED_SPAM if is_spam else OPENED)
        return conversation

    def receive(self, text: str, contact: Contact) -> Message:
        """Take in what a visitor wrote further; a conversation that was waiting or closed is open again."""
        if self.state != "spam":
            self.state = "open"
        message = self._write("in", text, contact_id=contact.id)
        events.record(MESSAGE_RECEIVED, message.id, audience=AUDIENCE, conversation=self.id)
        return message

    def reply(self, text: str, *, by: User, client_id: str | None = None) -> Message:
        """Answer the visitor by letter, and wait for what they say; a conversation nobody has is taken by who answers.

        The same `client_id` again returns the message there is. Raises `Refused` for spam, and where no letter can go,
        `QuotaExceeded` when the plan has no room for another letter today.
        """
        known = self._repeated("out", text, by, client_id)
        if known:
            return known
        self._refuse_without_address()
        limits.spend("letters")
        message = self._write("out", text, author_id=by.id, client_id=client_id)
        message.address()
        if self.assignee_id is None:
            self.assign_to(by, by=by)
        self.state = "waiting"
        events.record(REPLY_WRITTEN, message.id, audience=AUDIENCE, by=by.id, conversation=self.id)
        return message

    def note(self, text: str, *, by: User, client_id: str | None = None) -> Message:
        """Leave a note for colleagues; it is never sent. The same `client_id` again returns the note there is."""
        known = self._repeated("note", text, by, client_id)
        if known:
            return known
        message = self._write("note", text, author_id=by.id, client_id=client_id)
        events.record(NOTE_WRITTEN, message.id, audience=AUDIENCE, by=by.id, conversation=self.id)
        return message

    def assign_to(self, user: User | None, *, by: User) -> None:
        """Give it to a member to look after, or to nobody; raises `Refused` for one who may no longer sign in."""
        assignee, previous = user.id if user else None, self.assignee_id
        if assignee == previous:
            return
        if user is not None and not user.is_active:
            raise Refused(f"{user.name} can no longer sign in. Choose somebody else.")
        self.assignee_id = assignee
        db.session.flush()
        db.session.expire(self, ["assignee"])
        self._tell(ASSIGNED, by, assignee=assignee, previous=previous)

    def close(self, *, by: User) -> None:
        """Put it away as done; what the visitor writes further opens it again."""
        self._become("closed", CLOSED, by)

    def reopen(self, *, by: User) -> None:
        """Take it up again, out of the closed, the waiting or the spam."""
        self._become("open", REOPENED, by)

    def mark_spam(self, *, by: User) -> None:
        """Put it among the spam."""
        self._become("spam", MARKED_SPAM, by)

    def newest_message_id(self) -> int:
        """Return the id of the newest message, notes included; 0 when there is none."""
        newest = select(func.max(Message.id)).where(Message.conversation_id == self.id)
        return db.session.scalar(newest) or 0

    def messages(self, most: int, before: int = 0) -> tuple[list[Message], int]:
        """Return the newest `most` messages, those before the id `before` if given, and how many came still earlier."""
        found = select(Message).where(Message.conversation_id == self.id)
        found = found.where(Message.id < before) if before else found
        messages = list(db.session.scalars(found.order_by(Message.id.desc()).limit(most)))[::-1]
        total = db.session.scalar(select(func.count()).select_from(found.subquery())) or 0
        return messages, total - len(messages)

    @property
    def has_subject(self) -> bool:
        """Whether the visitor gave it one: without, it goes by their name or by the first words of what they wrote."""
        first = select(Message.text).where(Message.conversation_id == self.id).order_by(Message.id).limit(1)
        words = one_line(db.session.scalar(first) or "")
        begins = self.subject.endswith("…") and words.startswith(self.subject[:-1])
        return not (begins or self.subject in (words, _unnamed(self.contact)))

    @property
    def preview_below_subject(self) -> str:
        """The preview without what its subject says already."""
        beginning = self.subject.removesuffix("…")
        if beginning == self.preview:
            return ""
        is_cut = self.subject.endswith("…") and self.preview.startswith(beginning)
        return "…" + self.preview.removeprefix(beginning) if is_cut else self.preview

    @property
    def href(self) -> str:
        """Its address on the desk."""
        return f"/desk/inbox/{self.id}"

    def _write(self, kind: str, text: str, **given: Any) -> Message:
        words = lines(text)
        message = Message(conversation_id=self.id, kind=kind, text=words, html=as_html(words), **given)
        db.session.add(message)
        db.session.flush()
        if kind != "note":
            self.preview, self.last_message_at = preview(words), message.created_at
        return message

    def _repeated(self, kind: str, text: str, by: User, client_id: str | None) -> Message | None:
        known = Message.sent_as(by, client_id)
        if known and not known.is_repeat_of(self.id, kind, lines(text)):
            raise Refused(
                "Something else was sent from this page already. Open the conversation again and send it there."
            )
        return known

    def _refuse_without_address(self) -> None:
        if self.state == "spam":
            raise Refused("This lies among the spam. Take it out first; whoever sends spam learns from every answer.")
        if not mail.is_address(self.contact.email):
            raise Refused(f"No letter can reach {self.contact.email!r}. Leave a note for your colleagues instead.")

    def _become(self, state: str, kind: events.Kind, by: User) -> None:
        if self.state != state:
            self.state = state
            self._tell(kind, by)

    def _tell(self, kind: events.Kind, by: User | None = None, **payload: int | None) -> None:
        events.record(kind, self.id, audience=AUDIENCE, by=by.id if by else None, **payload)


def _unnamed(contact: Contact) -> str:
    return f"Message from {contact.shown_name}"
