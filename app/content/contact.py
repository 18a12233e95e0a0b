"""The contact form: a visitor writes to the organisation, without an account and without a cookie."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from flask import make_response, redirect, request
from werkzeug.wrappers import Response
from wtforms import EmailField, StringField, TextAreaField, ValidationError
from wtforms.validators import DataRequired, Length

from app.accounts import is_preview
from app.accounts.addresses import normal_address
from app.accounts.cookies import sign
from app.accounts.csrf import FIELD
from app.accounts.forms import Form
from app.accounts.visits import house
from app.content.frame import Frame, current_frame
from app.content.keeping import private, public
from app.content.models.submission import PER_VISITOR, SUBJECT_LENGTH, Submission
from app.content.policy import is_member
from app.content.site import below, blueprint, find, page, read
from app.facilities.rates import LimitReached, visitor
from app.facilities.text import lines, one_line
from app.tenancy import db, utcnow
from app.tenancy.errors import DiskFull, FreeholdError, QuotaExceeded, Refused

NAME_LENGTH = 100
TEXT_LENGTH = 20_000  # characters; reading a longer text for its links takes too long
FRESH_FOR = 3600  # seconds for which a browser may show the form again without asking for a new one
NO_ROOM = (
    "There is no room left here for new messages, so this one was not sent. Please keep a copy, and try again later."
)
CLOSED = "This is a preview of the past: nothing is sent from here, so this message was not either."
TOO_LONG = f"Please use {TEXT_LENGTH:,} characters at most, and send the rest in a second message."
NO_ADDRESS = "No answer can reach this address. Please look at it again: it should look like name@example.org."


def line(value: str | None) -> str:
    """Read what was typed as one line; what was not sent is empty."""
    return one_line(value or "")


def several_lines(value: str | None) -> str:
    """Read what was typed as a text; what was not sent is empty."""
    return lines(value or "")


class ContactForm(Form):
    """What a visitor wants to say, and where the answer goes. No person sees `homepage`; programs fill it in."""

    name = StringField("Your name", [DataRequired("Please tell us your name."), Length(max=NAME_LENGTH)], [line])
    email = EmailField("Your e-mail address", [DataRequired("Please tell us where to send our answer.")], [line])
    subject = StringField("Subject", [Length(max=SUBJECT_LENGTH)], [line])
    text = TextAreaField(
        "Your message",
        [DataRequired("Please write your message here."), Length(max=TEXT_LENGTH, message=TOO_LONG)],
        [several_lines],
    )
    homepage = StringField("Leave this empty", [], [line])

    def validate_email(self, field: EmailField) -> None:
        """An answer must be able to reach it."""
        try:
            normal_address(field.data)
        except Refused:
            raise ValidationError(NO_ADDRESS) from None


@blueprint.get("/contact", provide_automatic_options=False)
def contact() -> Response:
    """Show the form, under the page of this address where the organisation has one."""
    form = ContactForm(formdata=None)
    if is_member():
        return private(make_response(_page(current_frame(member=True), form)))
    frame = _of_this_hour(current_frame(member=False))
    return public(make_response(_page(frame, form)), frame)


@blueprint.post("/contact")
def send() -> Response:
    """Take what a visitor wrote. Whatever is in the way, the words come back with the answer."""
    form = ContactForm(request.form)
    if is_preview():
        return _again(form, 403, CLOSED)
    if not form.validate():
        return _again(form, 422)
    try:
        _receive(form)
        db.session.commit()
    except (LimitReached, QuotaExceeded, DiskFull) as problem:
        db.session.rollback()
        return _refused(form, problem)
    return redirect("/contact/thanks", 303)


@read("/contact/thanks")
def thanks(frame: Frame) -> str:
    """Say that it arrived."""
    return page(frame, "content/site/contact_thanks.html")


@blueprint.get("/contact/", provide_automatic_options=False)
def contact_with_slash() -> Response:
    """Lead to the form."""
    return redirect("/contact", 301)


def _receive(form: ContactForm) -> Submission:
    return Submission.receive(
        request.form[FIELD],
        name=form.name.data,
        email=form.email.data,
        subject=form.subject.data,
        text=form.text.data,
        origins=_origins(),
        spam="a field that only programs see was filled in" if form.homepage.data else "",
    )


def _page(frame: Frame, form: ContactForm, problem: str = "") -> str:
    entry = find("page", "contact")
    entry = None if entry is None or entry.is_front else entry
    children = below(entry.id) if entry else []
    return page(frame, "content/site/contact.html", entry=entry, children=children, form=form, problem=problem)


def _of_this_hour(frame: Frame) -> Frame:
    """Give the page an edition for this hour alone: the time of its rendering is printed in it, and must not grow old."""
    return replace(frame, edition=f"{frame.edition}-{int(time.time()) // FRESH_FOR}")


def _again(form: ContactForm, status: int, problem: str = "") -> Response:
    """Show the form with what was typed, and what is to be mended."""
    form.form_errors.extend(form.csrf_token.errors)
    form.csrf_token.errors = ()
    html = _page(current_frame(member=is_member()), form, problem)
    return private(make_response(html, status))


def _refused(form: ContactForm, problem: FreeholdError) -> Response:
    if not isinstance(problem, LimitReached):
        return _again(form, problem.status, NO_ROOM)
    response = _again(form, problem.status, problem.advice)
    response.headers.update(problem.headers)
    return response


def _origins() -> tuple[str, ...]:
    """Return the marks of where the request came from: today's, and just after midnight yesterday's too."""
    address = visitor()
    now = utcnow()
    days = dict.fromkeys(f"{moment:%Y-%m-%d}" for moment in (now, now - timedelta(seconds=PER_VISITOR.seconds)))
    return tuple(sign("visitor-origin", f"{house()}.{day}.{address}")[:16] for day in days) if address else ()
