"""The forms of people, and the base that every form of the product stands on."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import EmailField, HiddenField, PasswordField, RadioField, StringField, ValidationError
from wtforms.csrf.core import CSRF, CSRFTokenField
from wtforms.validators import DataRequired, InputRequired, Length

from app.accounts.csrf import FIELD, is_good, token
from app.accounts.models import ROLES
from app.accounts.passwords import LONGEST, SHORTEST


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


class SignInForm(Form):
    """Who are you?"""

    email = EmailField("E-mail", [InputRequired("Please give your e-mail address."), Length(max=254)])
    password = PasswordField("Password", [InputRequired("Please give your password."), Length(max=LONGEST)])
    next = HiddenField()


class HelpForm(Form):
    """Whose password was forgotten?"""

    email = EmailField("E-mail", [InputRequired("Please give your e-mail address."), Length(max=254)])


def tidy(text: str | None) -> str:
    """Return one line with single spaces, as names are kept."""
    return " ".join((text or "").split())


def new_password(label: str) -> PasswordField:
    """Return a field for a password to be chosen: long enough, and not guessed at once."""
    weak = f"Please use {SHORTEST} characters or more. Four unrelated words do well."
    return PasswordField(
        label, [InputRequired("Please choose a password."), Length(SHORTEST, LONGEST, weak), refuse_guessed]
    )


def refuse_guessed(form: Form, field: PasswordField) -> None:
    """Refuse what is long but guessed at once."""
    if len(set(field.data.casefold())) < 5:
        raise ValidationError("Please mix more different letters.")


class NewPasswordForm(Form):
    """The first password of a person, and what they want to be called."""

    name = StringField("Your name", [Length(max=80)], [tidy])
    password = new_password("Your new password")


class NameForm(Form):
    """What a person wants to be called."""

    name = StringField("Your name", [DataRequired("Please give a name."), Length(max=80)], [tidy])


class ChangePasswordForm(Form):
    """The password there is, and the one to come."""

    current = PasswordField(
        "Your password now", [InputRequired("Please give the password you have now."), Length(max=LONGEST)]
    )
    password = new_password("Your new password")


def role_field() -> RadioField:
    """Return a field for what somebody may do."""
    return RadioField("Role", choices=list(ROLES.items()), default="member")


class InvitationForm(Form):
    """Who is to come in, and as what?"""

    email = EmailField("E-mail", [InputRequired("Please give their e-mail address."), Length(max=254)])
    name = StringField("Name", [Length(max=80)], [tidy])
    role = role_field()


class RoleForm(Form):
    """What somebody may do from now on."""

    role = role_field()


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
