"""A message: one thing said in a conversation, and the letter that carries it when it goes out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts import User
from app.facilities import events
from app.inbox.models.contact import Contact
from app.tenancy import TenantModel, Timestamp, current_tenant, db, tenancy, utcnow
from app.tenancy.errors import Refused

AUDIENCE = "inbox"
IN_CONVERSATION = {"conversation": "id of the conversation"}
ERROR_LENGTH = 300  # characters
KINDS = ("in", "out", "note")

MESSAGE_RECEIVED = events.kind(
    "MessageReceived",
    "A customer wrote again in a conversation, which opens it anew.",
    subject="message",
    payload=IN_CONVERSATION,
)
REPLY_WRITTEN = events.kind(
    "ReplyWritten",
    "A member answered the customer; a letter is due.",
    subject="message",
    payload=IN_CONVERSATION,
)
NOTE_WRITTEN = events.kind(
    "NoteWritten",
    "A member left a note that only colleagues see.",
    subject="message",
    payload=IN_CONVERSATION,
)
LETTER_SENT = events.kind(
    "LetterSent",
    "The letter with a reply left the house.",
    subject="message",
    payload=IN_CONVERSATION,
)
LETTER_FAILED = events.kind(
    "LetterFailed",
    "The letter with a reply was refused, or could not be sent for two days.",
    subject="message",
    payload=IN_CONVERSATION,
)
LETTER_RETRIED = events.kind(
    "LetterRetried",
    "A member asked for a letter that had failed to be sent once more.",
    subject="message",
    payload=IN_CONVERSATION,
)


class Message(TenantModel):
    """What a visitor wrote (in), what a member answered (out), or a note among colleagues, which is never sent."""

    __tablename__ = "message"
    __table_args__ = (UniqueConstraint("author_id", "client_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]  # in, out, note
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"), index=True)
    text: Mapped[str]
    html: Mapped[str]  # rendered and sanitised
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    client_id: Mapped[str | None]  # the page's mark of one sending, so that sending it twice is once
    letter_state: Mapped[str] = mapped_column(default="")  # "", due, sent, failed
    letter_error: Mapped[str] = mapped_column(default="")  # why it has not left yet, or could not
    letter_id: Mapped[str | None] = mapped_column(unique=True)  # Message-ID (RFC 5322 section 3.6.4)
    sent_at: Mapped[datetime | None] = mapped_column(Timestamp)

    author: Mapped[User | None] = relationship(lazy="joined")
    contact: Mapped[Contact | None] = relationship(lazy="joined")

    @classmethod
    def count(cls) -> int:
        """Return how many messages there are."""
        return db.session.scalar(select(func.count()).select_from(cls)) or 0

    @classmethod
    def sent_as(cls, author: User, client_id: str | None) -> Message | None:
        """Return what this person has already sent under this mark."""
        if not client_id:
            return None
        return db.session.scalar(select(cls).where(cls.author_id == author.id, cls.client_id == client_id))

    def is_repeat_of(self, conversation_id: int, kind: str, text: str) -> bool:
        """Tell whether this is what was sent before, and not something new under an old mark."""
        return (self.conversation_id, self.kind, self.text) == (conversation_id, kind, text)

    def address(self) -> None:
        """Make it a letter that is due, under a name that only this tenant's key can make."""
        name = f"{self.conversation_id}.{self.id}.{secrets.token_hex(4)}"
        self.letter_state, self.letter_error = "due", ""
        self.letter_id = f"<{name}.{_mac(name)}@{current_tenant().primary_host}>"

    def note_delay(self, error: str) -> None:
        """Remember why the letter has not left yet; it is tried again."""
        self.letter_error = error[:ERROR_LENGTH]

    def mark_sent(self) -> None:
        """Note that the letter has left."""
        self.letter_state, self.letter_error, self.sent_at = "sent", "", utcnow()
        self._tell(LETTER_SENT)

    def mark_failed(self, error: str) -> None:
        """Note that the letter will not leave, and why."""
        self.letter_state, self.letter_error = "failed", error[:ERROR_LENGTH]
        self._tell(LETTER_FAILED)

    def send_again(self, *, by: User) -> None:
        """Try a letter that failed once more; one that is due or has left stays as it is. Raises `Refused` for no letter."""
        if not self.letter_state:
            raise Refused("Only a reply can be sent. A note stays among colleagues.")
        if self.letter_state == "failed":
            self.letter_state, self.letter_error = "due", ""
            self._tell(LETTER_RETRIED, by)

    @property
    def letter_name(self) -> str:
        """A name for the letter that no other of any tenant has, whatever is restored from a backup."""
        return f"{current_tenant().slug}.{(self.letter_id or '').strip('<').partition('@')[0]}"

    @property
    def shown_name(self) -> str:
        """Who wrote it."""
        if self.kind == "in":
            return self.contact.shown_name if self.contact else "Somebody"
        return self.author.name if self.author else "Somebody who has left"

    def _tell(self, kind: events.Kind, by: User | None = None) -> None:
        actor = by.id if by else None
        events.record(kind, self.id, audience=AUDIENCE, by=actor, conversation=self.conversation_id)


def _mac(name: str) -> str:
    """Return half an HMAC-SHA256 of a letter's name in hex, under the tenant's key for letters."""
    key = tenancy.keys.tenant_subkey(current_tenant().id, "letters")
    return hmac.new(key, f"{current_tenant().id}:{name}".encode(), hashlib.sha256).hexdigest()[:32]
