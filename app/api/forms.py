"""What a token is to be good for, and how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from wtforms import RadioField, SelectMultipleField, StringField, ValidationError
from wtforms.validators import DataRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from app.accounts.forms import Form, tidy
from app.api.models import NAME_LENGTH
from app.api.policy import grantable

LIFETIMES = {"7": "A week", "30": "A month", "90": "Three months", "365": "A year"}  # by days


class TokenForm(Form):
    """A token that is to be made."""

    name = StringField("What it is for", [DataRequired("Please say what it is for."), Length(max=NAME_LENGTH)], [tidy])
    scopes = SelectMultipleField(
        "What it may do",
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    days = RadioField("Good for", choices=list(LIFETIMES.items()), default="90")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.scopes.choices = [(each.name, each.label) for each in grantable()]

    def validate_scopes(self, field: SelectMultipleField) -> None:
        """Want at least one; asked of the field, the browser would want each box ticked."""
        if not field.data:
            raise ValidationError("Please choose at least one.")

    @property
    def lifetime(self) -> timedelta:
        """For how long it is to be good."""
        return timedelta(days=int(self.days.data))
