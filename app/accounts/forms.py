"""The forms of people, and the base that every form of the product stands on."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import EmailField, HiddenField, PasswordField, StringField, ValidationError
from wtforms.csrf.core import CSRF, CSRFTokenField
from wtforms.validators import InputRequired, Length

from app.accounts.csrf import FIELD, is_good, token
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


class NewPasswordForm(Form):
    """The first password of a person, and what they want to be called."""

    name = StringField("Your name", [Length(max=80)], [lambda value: " ".join((value or "").split())])
    password = PasswordField(
        "Your new password",
        [
            InputRequired("Please choose a password."),
            Length(SHORTEST, LONGEST, f"Please use {SHORTEST} characters or more. Four unrelated words do well."),
        ],
    )

    def validate_password(self, field: PasswordField) -> None:
        """Refuse what is long but guessed at once."""
        if len(set(field.data.casefold())) < 5:
            raise ValidationError("Please mix more different letters.")
