"""The forms of the content desk."""

from __future__ import annotations

from flask_wtf.file import FileField, FileRequired
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    HiddenField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import InputRequired, Length, Optional, StopValidation

from app.accounts.forms import Form
from app.content.addresses import SLUG_LENGTH
from app.content.menu import is_safe

TITLE_LENGTH = 200
SUMMARY_LENGTH = 400
SOURCE_LENGTH = 500_000  # characters
VISIBILITIES = [("public", "Everybody"), ("members", "Members only, after signing in")]


def day_to_publish(form: Form, field: DateTimeLocalField) -> None:
    """Whoever asks for another day names it."""
    if form["act"].data == "schedule" and field.data is None:
        field.errors = []
        raise StopValidation("Choose a day and an hour first.")


class EntryForm(Form):
    """A page or a post, as its writer sees it."""

    title = StringField("Title", [InputRequired("Please give it a title."), Length(max=TITLE_LENGTH)])
    source = TextAreaField("Text", [Length(max=SOURCE_LENGTH, message="This text is too long for one page.")])
    source_format = HiddenField(default="markdown")
    summary = TextAreaField("Summary", [Length(max=SUMMARY_LENGTH)])
    slug = StringField("Address", [Length(max=SLUG_LENGTH)])
    visibility = RadioField("Who may read it", choices=VISIBILITIES, default="public")
    topics = StringField("Topics", [Length(max=400)], description="Separate them with commas.")
    parent = SelectField("Lies under", coerce=int, default=0)
    is_front = BooleanField("This is the front page")
    is_sticky = BooleanField("Pin it to the top of the list")
    at = DateTimeLocalField("Publish on", [day_to_publish, Optional()], format=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
    token = HiddenField()
    act = HiddenField(default="save")  # save, publish, schedule: the button that was pressed

    def validate_source_format(self, field: HiddenField) -> None:
        """Text is Markdown, or HTML that an import brought."""
        if field.data not in ("markdown", "html"):
            raise ValidationError("Text is Markdown or HTML.")

    @property
    def topic_names(self) -> list[str]:
        """The topics as they were typed, none twice."""
        names = (" ".join(name.split()) for name in (self.topics.data or "").split(","))
        return list(dict.fromkeys(name for name in names if name))


class LineForm(Form):
    """A new line of the menu: it leads to a page, a post, a topic or an address."""

    label = StringField("Label", [Length(max=80)], description="Left empty, it is the title of where it leads.")
    target = SelectField("Leads to", default="")
    url = StringField("Address", [Length(max=500)])

    def validate_url(self, field: StringField) -> None:
        """A line without a page needs an address, and one that browsers only open."""
        if self.target.data:
            return
        if not (field.data or "").strip():
            raise ValidationError("Choose a page above, or give an address.")
        if not is_safe(field.data.strip()):
            raise ValidationError("Begin it with https://, mailto:, tel:, or / for a page of this site.")


class ImportForm(Form):
    """An export to bring in."""

    file = FileField("WordPress export", [FileRequired("Please choose the .xml file that WordPress gave you.")])
