"""The forms of going back in time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import request
from wtforms import DateField, StringField, TimeField, ValidationError
from wtforms.validators import InputRequired

from app.accounts.forms import Form

TIMES = ["%H:%M", "%H:%M:%S"]


class TimeForm(Form):
    """A time somebody remembers, by the clocks of the organisation. It asks and changes nothing, so it needs no token."""

    class Meta(Form.Meta):
        csrf = False

    day = DateField("Day", [InputRequired("Please give the day.")])
    time = TimeField("Time", [InputRequired("Please give the time.")], format=TIMES)

    @classmethod
    def asked(cls) -> TimeForm:
        """Return the form as the address of this page fills it in."""
        return cls(formdata=request.args if {"day", "time"} & set(request.args) else None)

    @property
    def wall(self) -> datetime | None:
        """What clocks on a wall showed, None when nothing or nothing sound was asked."""
        return datetime.combine(self.day.data, self.time.data) if request.args and self.validate() else None


class ReplaceForm(Form):
    """The organisation's name, typed, so that nobody goes back by a slip of the hand."""

    name = StringField("Name of the organisation", [InputRequired("Please type the name.")])

    def __init__(self, name: str, **values: Any) -> None:
        super().__init__(**values)
        self.expected = name

    def validate_name(self, field: StringField) -> None:
        """Refuse any other name."""
        if same_name(field.data) != same_name(self.expected):
            raise ValidationError(f"Please type “{self.expected}”, as it stands above.")


def same_name(name: str | None) -> str:
    """Return a name without what people do not mean to type."""
    return " ".join((name or "").split()).casefold()
