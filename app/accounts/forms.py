"""The forms of people, and the base that every form of the product stands on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import request
from flask_login import current_user
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    EmailField,
    Field,
    FileField,
    HiddenField,
    PasswordField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    ValidationError,
)
from wtforms.csrf.core import CSRF, CSRFTokenField
from wtforms.validators import DataRequired, InputRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from app.accounts.csrf import FIELD, is_good, token
from app.accounts.models import ASKED_OF, Role
from app.accounts.models.role import NAME_LENGTH
from app.accounts.passwords import LONGEST, SHORTEST, TOO_SHORT, flaw, words_of_house
from app.accounts.policy import Permission
from app.facilities.clock import time_zones
from app.facilities.reader import LANGUAGES


class PrintedToken(CSRF):
    """WTForms' side of `csrf`: the token of the session, or the time of rendering."""

    def generate_csrf_token(self, csrf_token_field: CSRFTokenField) -> str:
        return token()

    def validate_csrf_token(self, form: Any, field: CSRFTokenField) -> None:
        if not is_good(field.data or ""):
            raise ValidationError("This page had been open for too long. Please send it once more.")


class Form(FlaskForm):
    """A form whose sender is checked."""

    class Meta(FlaskForm.Meta):
        csrf = True
        csrf_class = PrintedToken
        csrf_context = None
        csrf_field_name = FIELD

        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            """Take what a form sent, never a JSON body, whose values are of any kind."""
            return None if request.is_json else super().wrap_formdata(form, formdata)


def tidy(text: str | None) -> str:
    """Return one line with single spaces, as names are kept."""
    return " ".join((text or "").split())


class SignInForm(Form):
    """Who are you?"""

    email = EmailField("E-mail", [InputRequired("Please give your e-mail address."), Length(max=254)])
    password = PasswordField("Password", [InputRequired("Please give your password."), Length(max=LONGEST)])
    next = HiddenField()


class OneOf:
    """Wants this field, or one of the others named."""

    field_flags = {"required": True}

    def __init__(self, *others: str) -> None:
        self.others = others

    def __call__(self, form: Form, field: Field) -> None:
        if not field.data and not any(form[other].data for other in self.others):
            raise ValidationError("Please fill this in.")


class CodeForm(Form):
    """A code of an app, a recovery code, or what a passkey answered."""

    code = StringField("Six-digit code", [OneOf("credential"), Length(max=64)])
    credential = HiddenField(validators=[Length(max=20_000)])


class AppForm(Form):
    """The first code of an authenticator app."""

    code = StringField("Code from the app", [InputRequired("Please type the six digits."), Length(max=16)])


class AgainForm(CodeForm):
    """Who somebody is, once more: a code, a passkey or, where nothing else is set up, the password.

    It may stand among the fields of another form, whose token it goes by.
    """

    class Meta(Form.Meta):
        csrf = False

    code = StringField("Code", [OneOf("credential", "password"), Length(max=64)])
    password = PasswordField("Password", [OneOf("credential", "code"), Length(max=LONGEST)])

    def __init__(self, **values: Any) -> None:
        super().__init__(prefix="again-", **values)


class PasskeyForm(Form):
    """A new passkey, and what its person calls it."""

    name = StringField("Name", [DataRequired("Please give it a name."), Length(max=60)], [tidy])
    credential = HiddenField(validators=[InputRequired("The browser did not make a passkey."), Length(max=20_000)])


class RulesForm(Form):
    """How the people of an organisation sign in."""

    second_factor = RadioField(
        "Who has to have a second factor",
        choices=list(ASKED_OF.items()),
    )
    by_letter = BooleanField(
        "A link by letter may stand for the password",
        description="Whoever can read somebody's letters can then come in as them, unless a second factor is asked for.",
    )


class HelpForm(Form):
    """Whose password was forgotten?"""

    email = EmailField("E-mail", [InputRequired("Please give your e-mail address."), Length(max=254)])


def new_password(label: str) -> PasswordField:
    """Return a field for a password to be chosen, in a form that knows `about` whom: long enough, and not guessed soon."""
    length = Length(SHORTEST, LONGEST, TOO_SHORT)  # browsers ask for it too
    return PasswordField(label, [InputRequired("Please choose a password."), length, refuse_flawed])


def refuse_flawed(form: Any, field: PasswordField) -> None:
    """Refuse what would be guessed soon."""
    found = flaw(field.data, *form.about())
    if found:
        raise ValidationError(found)


class NewPasswordForm(Form):
    """The first password of the person with this address, and what they want to be called."""

    name = StringField("Your name", [Length(max=80)], [tidy])
    password = new_password("Your new password")

    def __init__(self, email: str, **values: Any) -> None:
        super().__init__(**values)
        self.email = email

    def about(self) -> tuple[str, ...]:
        """Return what a guesser would try first."""
        return self.email, self.name.data or "", *words_of_house()


class NameForm(Form):
    """What a person wants to be called."""

    name = StringField("Your name", [DataRequired("Please give a name."), Length(max=80)], [tidy])


class PictureForm(Form):
    """A picture of the person."""

    picture = FileField(
        "A picture",
        [InputRequired("Please choose a picture first.")],
        description="A JPEG, PNG or WebP file of up to 10 MB; its middle is shown. Where and when it was taken is not kept.",
    )


class ReadingForm(Form):
    """How dates, times and numbers are written for the person."""

    time_zone = SelectField("Time zone")
    language = SelectField(
        "Dates and numbers as in",
        choices=list(LANGUAGES.items()),
        description="The words of the desk are English for now.",
    )

    def __init__(self, theirs: str, **values: Any) -> None:
        super().__init__(**values)
        self.time_zone.choices = [("", "The organisation's"), *time_zones()]
        self.time_zone.description = f"The organisation lives by {theirs.replace('_', ' ')}."


class ChangePasswordForm(Form):
    """The password there is, and the one to come."""

    current = PasswordField(
        "Your password now", [InputRequired("Please give the password you have now."), Length(max=LONGEST)]
    )
    password = new_password("Your new password")

    def about(self) -> tuple[str, ...]:
        """Return what a guesser would try first."""
        return current_user.email, current_user.name, *words_of_house()


class RoleForm(Form):
    """What somebody may do from now on: one of `roles`."""

    role = RadioField("Role", default="member")

    def __init__(self, roles: Iterable[Role], **values: Any) -> None:
        super().__init__(**values)
        self.role.choices = [(role.key, role.name) for role in roles]


class InvitationForm(RoleForm):
    """Who is to come in, and as what?"""

    email = EmailField("E-mail", [InputRequired("Please give their e-mail address."), Length(max=254)])
    name = StringField("Name", [Length(max=80)], [tidy])


class MadeRoleForm(Form):
    """A role of the organisation's own, made of `offered` permissions."""

    name = StringField("Name", [DataRequired("Please give the role a name."), Length(max=NAME_LENGTH)], [tidy])
    permissions = SelectMultipleField(
        "What it may do", option_widget=CheckboxInput(), widget=ListWidget(prefix_label=False)
    )

    def __init__(self, offered: Iterable[Permission], **values: Any) -> None:
        super().__init__(**values)
        places: dict[str, list[tuple[str, str]]] = {}
        for each in offered:
            places.setdefault(each.place, []).append((each.name, each.label))
        self.permissions.choices = places


class RemovalForm(Form):
    """The address of whoever goes, typed, so that nobody goes by a slip of the hand."""

    email = StringField("E-mail address", [InputRequired("Please type the address.")])

    def __init__(self, expected: str, **values: Any) -> None:
        super().__init__(**values)
        self.expected = expected

    def validate_email(self, field: StringField) -> None:
        """Refuse any other address."""
        if (field.data or "").strip().casefold() != self.expected.casefold():
            raise ValidationError(f"Please type “{self.expected}”, as it stands above.")
