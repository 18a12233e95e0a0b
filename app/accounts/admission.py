"""From a right password to a session: at once from a browser that is known, else by way of a second factor.

Whoever has to have one and has none enrols before anything else. What is under way is a row and a cookie of its own, good
for one browser and some minutes; nobody is signed in by it.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from typing import Any

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response

from app.accounts import cookies, devices, factors, previews
from app.accounts.cookies import fingerprint
from app.accounts.factors import PEOPLE, TO_ENROL, TO_PROVE, Factors
from app.accounts.forms import AppForm, CodeForm
from app.accounts.models import SignInRules, User
from app.accounts.models.factor import ASKED_OF
from app.accounts.notices import flash
from app.accounts.policy import is_local
from app.accounts.visits import house, server_session
from app.facilities import audit, rates
from app.facilities.rates import LimitReached, Rate, Try
from app.tenancy import current_tenant, db, utcnow

COOKIE = "freehold-attempt"
MANY = "There were too many codes."
CODES = Rate("code", 10, 600, MANY)
CODES_A_DAY = Rate("codes-a-day", 50, 24 * 3600, MANY)  # a million codes, three of them right, outlast a lifetime of it

WRONG_CODE = "That code is not right, or was used before. An app shows a new one every half minute."
WRONG_RECOVERY_CODE = "Check the letters; each code works once."
WRONG_PASSKEY = "That passkey did not answer as it should. Please try once more, or use a code."
TOO_LATE = "That took a while, so please sign in once more."


def keep_out_of_caches(response: Response) -> Response:
    """Keep pages with keys and codes out of every cache."""
    response.headers["Cache-Control"] = "private, no-store"
    return response


def own_hash(token: str) -> str:
    """Return what an attempt's own cookie is known by: never what a session is, whose secret opens no attempt that way."""
    return fingerprint(f"attempt.{token}")


class Door(ABC):
    """How people come in at one kind of house, once their password was right."""

    factors: Factors
    when_asked: str  # after "It is asked for"
    others = ""  # what the first factor of a person means for their other browsers

    def __init__(self, name: str, subdomain: str | None = None) -> None:
        self.blueprint = blueprint = Blueprint(name, __name__, subdomain=subdomain)
        blueprint.add_url_rule("/sign-in/second", view_func=self.second, methods=["GET", "POST"])
        blueprint.add_url_rule("/sign-in/app", view_func=self.app, methods=["GET", "POST"])
        blueprint.add_url_rule("/sign-in/passkey", view_func=self.passkey, methods=["POST"])
        blueprint.after_request(keep_out_of_caches)

    @abstractmethod
    def welcome(self, person: Any, target: str, *, is_proved: bool) -> Response:
        """Open a session and lead to `target`; `is_proved` says that all of the person's factors were given."""

    @abstractmethod
    def may_enter(self, person: Any) -> bool:
        """Tell whether a person may come in at all."""

    @abstractmethod
    def is_known(self, person: Any) -> bool:
        """Tell whether this browser is one in which the person has given all their factors before."""

    @abstractmethod
    def asks(self, person: Any) -> bool:
        """Tell whether this person has to have a second factor."""

    @abstractmethod
    def has_password(self, email: str, password: str) -> bool:
        """Tell whether this is the password of the person with this address. No transaction is open while it hashes."""

    @abstractmethod
    def note_failure(self, person: Any) -> None:
        """Note that a wrong code was given, and commit."""

    @abstractmethod
    def warn(self, person: Any, letter: str) -> None:
        """Have a letter tell a person what happened to what lets them in, where letters are written."""

    @property
    @abstractmethod
    def issuer(self) -> str:
        """The name under which apps and passkeys keep what is made here."""

    def admit(self, person: Any, target: str = "") -> Response:
        """Let a person in whose password was right, or lead them to what is still wanted."""
        has_factor = bool(self.factors.of(person))
        if self.is_known(person) if has_factor else not self.asks(person):
            return self.welcome(person, target, is_proved=not has_factor)
        token, lifetime = secrets.token_urlsafe(32), TO_PROVE if has_factor else TO_ENROL
        self.factors.begin(person, own_hash(token), target if is_local(target) else "", lifetime)
        db.session.commit()
        response = redirect("/sign-in/second" if has_factor else "/sign-in/app", 303)
        cookies.give(response, COOKIE, token, lifetime)
        return response

    def second(self) -> Response:
        """Ask for a code or a passkey, and let in whoever gives it."""
        attempt, form = self.attempt(), CodeForm()
        if attempt is None:
            return start_again()
        if not self.factors.of(attempt.person):
            return redirect("/sign-in/app", 303)
        if not form.is_submitted() or not form.validate():
            return self.second_page(attempt.person, form, 422 if form.errors else 200)
        try:
            attempt = self.counted(attempt)
        except LimitReached as refusal:
            return self.refused(refusal, form)
        if attempt is None:
            return start_again()
        if not self.is_given(attempt.person, form, attempt):
            self.note_failure(attempt.person)
            wrong = WRONG_RECOVERY_CODE if Ways(self.factors, attempt.person).wants_recovery_code else WRONG_CODE
            form.form_errors.append(WRONG_PASSKEY if form.credential.data else wrong)
            return self.second_page(attempt.person, form, 422)
        return self.let_in(attempt)

    def app(self) -> Response:
        """Have an authenticator app set up, and let in whoever types its first code."""
        attempt, form = self.attempt(), AppForm()
        if attempt is None:
            return start_again()
        if self.factors.of(attempt.person):
            return redirect("/sign-in/second", 303)
        if not form.is_submitted() or not form.validate():
            return self.app_page(attempt, form, 422 if form.errors else 200)
        if not self.factors.enrol_app(attempt.person, attempt.seed, form.code.data):
            form.form_errors.append(WRONG_CODE)
            return self.app_page(attempt, form, 422)
        self.factors.set_codes(attempt.person, factors.codes_of(attempt.seed))
        flash("success", "From now on your app lets you in beside your password.")
        return self.let_in(attempt)

    def passkey(self) -> Response:
        """Return what to ask the passkeys of whoever is coming in, or is in and proves themselves again."""
        session, attempt = server_session(), self.attempt()
        if session:
            attempt = self.factors.begin(session.user, session.token_hash)
        elif attempt is None:
            abort(404)
        return self.asked(session.user if session else attempt.person, attempt)

    def asked(self, person: Any, attempt: Any) -> Response:
        """Give the attempt a fresh challenge and return the question that carries it."""
        from app.accounts import passkeys  # which takes long to load, and most people have none

        attempt.challenge = secrets.token_urlsafe(32)
        db.session.commit()
        return jsonify(passkeys.question(self.factors.of(person), attempt.challenge))

    def attempt(self) -> Any:
        """Return what this browser has begun, while it lasts and its person may still come in."""
        token = request.cookies.get(cookies.cookie_name(COOKIE))
        attempt = self.factors.begun(own_hash(token)) if token else None
        return attempt if attempt and self.may_enter(attempt.person) else None

    def counted(self, attempt: Any) -> Any:
        """Count a try and return the attempt as it stands then; raises `LimitReached`. Nothing is locked while it counts."""
        email = attempt.person.email
        db.session.rollback()
        count_code(email)
        return self.attempt()

    def is_given(self, person: Any, form: CodeForm, attempt: Any) -> bool:
        """Tell whether the form holds a code of the person, or the answer of a passkey, and spend it."""
        if form.credential.data:
            return attempt is not None and self.factors.take_passkey(person, attempt, form.credential.data)
        return self.factors.take(person, form.code.data)

    def let_in(self, attempt: Any) -> Response:
        """End the attempt, and welcome its person."""
        self.factors.end(attempt)
        forgive_codes(attempt.person.email)
        response = self.welcome(attempt.person, attempt.target, is_proved=True)
        cookies.take_back(response, COOKIE)
        return response

    def refused(self, refusal: LimitReached, form: CodeForm) -> Response:
        """Say when there is room for another code."""
        attempt = self.attempt()
        if attempt is None:
            return start_again()
        form.form_errors.append(refusal.advice)
        response = self.second_page(attempt.person, form, refusal.status)
        response.headers.update(refusal.headers)
        return response

    def second_page(self, person: Any, form: CodeForm, status: int = 200) -> Response:
        """Show the page that asks for a second factor."""
        ways = Ways(self.factors, person)
        if ways.wants_recovery_code:
            form.code.label.text = "Recovery code"
        return make_response(render_template("accounts/second.html", form=form, ways=ways), status)

    def app_page(self, attempt: Any, form: AppForm, status: int = 200) -> Response:
        """Show the page on which an app is set up."""
        app = NewApp(attempt.seed, self.issuer, attempt.person.email)
        return make_response(render_template("accounts/second_app.html", form=form, app=app), status)


class Ways:
    """In what ways a person can prove themselves, as pages offer them."""

    def __init__(self, factors: Factors, person: Any) -> None:
        mine = factors.of(person)
        self.by_app = any(each.kind == "app" for each in mine)
        self.by_passkey = any(each.host == request.host.partition(":")[0] for each in mine)
        self.by_code = factors.codes_left(person) > 0
        self.by_password = not mine
        self.wants_recovery_code = bool(mine) and (not self.by_app or "recovery" in request.args)


class NewApp:
    """What a page shows so that an authenticator app can be set up."""

    def __init__(self, seed: str, issuer: str, account: str, with_codes: bool = True) -> None:
        secret = factors.secret_of(seed)
        self.key = " ".join(secret[place : place + 4] for place in range(0, len(secret), 4))
        self.address = factors.app_address(secret, issuer, account)
        self.codes = factors.codes_of(seed) if with_codes else []
        self.today = utcnow()

    @property
    def picture(self) -> Markup:
        """The address as a QR code."""
        import segno  # only here, where few come

        drawn = segno.make(self.address, error="l", micro=False)
        return Markup(drawn.svg_inline(omitsize=True, svgclass="qr", border=3))  # noqa: S704


class PeoplesDoor(Door):
    """The door of an organisation."""

    factors = PEOPLE
    when_asked = "when you sign in with a browser that is not known yet"
    others = " Your other browsers, where the password was enough, are signed out."

    def welcome(self, person: User, target: str, *, is_proved: bool) -> Response:
        from app.accounts.views import welcome  # which asks this module first

        return welcome(person, target, is_proved=is_proved)

    def may_enter(self, person: User) -> bool:
        return person.is_active and previews.may_enter(person)

    def is_known(self, person: User) -> bool:
        return devices.known(person) is not None

    def asks(self, person: User) -> bool:
        return is_asked(person, SignInRules.mine().second_factor)

    def has_password(self, email: str, password: str) -> bool:
        return User.authenticate(email, password) is not None

    def note_failure(self, person: User) -> None:
        audit.note_seldom("second_factor_failed", f"code of {person.email}", subject=person.email)
        db.session.commit()

    def warn(self, person: User, letter: str) -> None:
        person.warn(letter)

    @property
    def issuer(self) -> str:
        return current_tenant().name


def is_asked(person: User, rule: str) -> bool:
    """Tell whether the plan, or the organisation by its `rule`, asks a second factor of a person; a preview asks nobody."""
    asked_of = max(rule, current_tenant().second_factor, key=list(ASKED_OF).index)
    if previews.is_preview() or not asked_of:
        return False
    return asked_of == "everybody" or person.is_owner or (asked_of == "managers" and person.may("people.manage"))


door = PeoplesDoor("second")
# The doors by the kind of house, as `visits.finders`.
doors: dict[str, Door] = {"tenant": door}


def admit(user: User, target: str) -> Response:
    """Let a person in whose password was right, or lead them to what is still wanted."""
    return door.admit(user, target)


def door_here() -> Door:
    """Return the door of the house that was asked."""
    return doors[cookies.PLATFORM if house() == cookies.PLATFORM else "tenant"]


def count_code(email: str) -> None:
    """Count a try to give a second factor; raises `LimitReached`."""
    rates.take(Try(CODES, house(), email), Try(CODES_A_DAY, house(), email))


def forgive_codes(email: str) -> None:
    """Forget the tries of somebody who gave theirs."""
    for rate in (CODES, CODES_A_DAY):
        rates.forgive(Try(rate, house(), email))


def start_again() -> Response:
    """Lead back to the first page of signing in."""
    if cookies.cookie_name(COOKIE) in request.cookies:
        flash("info", TOO_LATE)
    response = redirect("/sign-in", 303)
    cookies.take_back(response, COOKIE)
    return response
