"""The forms of the inbox."""

from __future__ import annotations

import uuid

from wtforms import HiddenField, SelectField, TextAreaField
from wtforms.validators import DataRequired, Length

from app.accounts.forms import Form

TEXT_LENGTH = 50_000  # characters
WORDS = (
    DataRequired("Please write something first."),
    Length(max=TEXT_LENGTH, message="This is too long for one message."),
)
MARK = Length(max=64)


def fresh_mark() -> str:
    """Return a mark for one sending: the same form sent twice then is one message."""
    return str(uuid.uuid4())


def as_id(text: str) -> int:
    """Return the id that `text` says, 0 when it says none that a file could hold."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def without_space(text: str | None) -> str:
    """Return `text` without the space around it, so that space alone counts as nothing."""
    return (text or "").strip()


class ReplyForm(Form):
    """An answer to the visitor. `seen` is the newest message on the page that it was written on."""

    text = TextAreaField("Your reply", WORDS, [without_space], id="reply-text")
    client_id = HiddenField(validators=[MARK], default=fresh_mark, id="reply-mark")
    seen = HiddenField(default="0", id="reply-seen")

    @property
    def seen_id(self) -> int:
        """The id of the newest message that the writer had before them."""
        return as_id(self.seen.data or "")

    def renew(self, newest_id: int) -> None:
        """Make it a form of the page as it is now; what was written stays."""
        self.client_id.data, self.seen.data = fresh_mark(), str(newest_id)


class NoteForm(Form):
    """A word among colleagues."""

    text = TextAreaField("Your note", WORDS, [without_space], id="note-text")
    client_id = HiddenField(validators=[MARK], default=fresh_mark, id="note-mark")

    def renew(self, newest_id: int) -> None:
        """Make it a form of the page as it is now; what was written stays."""
        self.client_id.data = fresh_mark()


class AssignmentForm(Form):
    """Who looks after it; 0 is nobody. `holder` is who did on the page that it was chosen on."""

    holder = HiddenField(default="0")
    assignee = SelectField("Looked after by", coerce=int, default=0)

    def offer(self, people: list[tuple[int, str]]) -> AssignmentForm:
        """Offer those `people`, as (id, name)."""
        self.assignee.choices = [(0, "Nobody yet"), *people]
        return self

    @property
    def seen_id(self) -> int:
        """The id of whom the chooser saw looking after it."""
        return as_id(self.holder.data or "")
