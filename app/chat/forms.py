"""The forms of chat."""

from __future__ import annotations

from wtforms import BooleanField, HiddenField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, Length

from app.accounts.forms import Form
from app.chat.models.line import LINE_LENGTH
from app.chat.models.room import NAME_LENGTH

TOO_LONG = f"A line has room for {LINE_LENGTH:,} characters. Send this one in parts."


def as_written(text: str | None) -> str | None:
    """Count a line's end as the one character that it is: browsers send two."""
    return text.replace("\r\n", "\n") if text else text


class LineForm(Form):
    """A line to be written or changed."""

    text = TextAreaField(
        "Text", [DataRequired("Write a few words first."), Length(max=LINE_LENGTH, message=TOO_LONG)], [as_written]
    )
    client_id = HiddenField(validators=[Length(max=64)])


class RoomForm(Form):
    """A new room."""

    name = StringField("Name", [DataRequired("Give the room a name."), Length(max=NAME_LENGTH)])
    is_closed = BooleanField("Closed: only those who are invited see it and what is written in it")


class InvitationForm(Form):
    """Somebody to let into a closed room."""

    person = SelectField("Invite", coerce=int)
