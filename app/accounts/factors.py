"""Second factors: authenticator apps, passkeys and recovery codes, for the people of a house and for operators alike.

A code counts once: what it was given for is changed by a statement that finds it unused, so that of many tries at the same
moment one comes in (RFC 6238 section 5.2). A code of the step before or after is taken too, as clocks differ.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from base64 import b32encode
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast

import pyotp
from markupsafe import Markup
from sqlalchemy import CursorResult, Delete, Update, delete, func, or_, select, update

from app.accounts import devices
from app.accounts.cookies import fingerprint
from app.accounts.models.factor import Attempt, Factor, RecoveryCode
from app.accounts.notices import flash
from app.facilities import audit
from app.tenancy import db, utcnow

STEP = 30  # seconds that a code of an app is shown for
CODES = 10  # recovery codes in a set
FEW_CODES = 3  # at which a new set is due
NO_CODES = Markup(
    "You have no recovery codes: they were used up, or stopped counting when all was brought back from a copy. "
    '<a href="{page}">Get new ones</a>.'
)
CODES_LEFT = Markup('You have {codes} left. <a href="{page}">Set up your app again, or get new codes</a>.')
CODES_PAGE = "/desk/profile/security/"
CODE_BYTES = 15  # of a recovery code: 120 bits
TO_PROVE = timedelta(minutes=10)  # that an attempt lasts
TO_ENROL = timedelta(minutes=30)  # that one lasts for which an app may have to be installed first


class Factors:
    """The second factors of the people of one kind of house, as its tables keep them. Nothing here commits."""

    def __init__(self, factor: type[Any], code: type[Any], attempt: type[Any], note: Callable[..., None]) -> None:
        self.factor, self.code, self.attempt, self.note = factor, code, attempt, note

    def of(self, person: Any) -> list[Any]:
        """Return the second factors of a person, the oldest first."""
        mine = select(self.factor).where(self.factor.person_id == person.id).order_by(self.factor.id)
        return list(db.session.scalars(mine))

    def codes_left(self, person: Any) -> int:
        """Return how many recovery codes a person has left."""
        mine = select(func.count()).select_from(self.code).where(self.code.person_id == person.id)
        return db.session.scalar(mine) or 0

    def lacks_codes(self, person: Any) -> bool:
        """Tell whether a person has a second factor, and no recovery code left."""
        return bool(self.of(person)) and not self.codes_left(person)

    def begin(self, person: Any, token_hash: str, target: str = "", lifetime: timedelta = TO_PROVE) -> Any:
        """Begin an attempt of a person in the browser whose cookie has this hash, in the place of one begun before."""
        gone = or_(self.attempt.token_hash == token_hash, self.attempt.expires_at <= utcnow())
        db.session.execute(delete(self.attempt).where(gone))
        begun = self.attempt(
            token_hash=token_hash,
            person_id=person.id,
            seed=secrets.token_urlsafe(32),
            target=target,
            expires_at=utcnow() + lifetime,
        )
        db.session.add(begun)
        return begun

    def begun(self, token_hash: str) -> Any:
        """Return the attempt of the browser whose cookie has this hash while it lasts, else None."""
        lasts = self.attempt.expires_at > utcnow()
        return db.session.scalar(select(self.attempt).where(self.attempt.token_hash == token_hash, lasts))

    def end(self, attempt: Any) -> bool:
        """End an attempt; returns whether it was there to be ended."""
        return self._changes(delete(self.attempt).where(self.attempt.token_hash == attempt.token_hash))

    def take(self, person: Any, typed: str) -> bool:
        """Tell whether `typed` is a code of the person's app or a recovery code of theirs, and spend it."""
        plain = "".join(typed.split()).replace("-", "").upper()
        if len(plain) == 6 and plain.isascii():
            return any(self._take_step(app, plain) for app in self.of(person) if app.kind == "app")
        return self._take_recovery_code(person, plain)

    def take_passkey(self, person: Any, attempt: Any, answer: str) -> bool:
        """Tell whether `answer` is how a passkey of the person answers the attempt's challenge, which is spent by it."""
        from app.accounts import passkeys  # which takes long to load, and most people have none

        challenge, attempt.challenge = attempt.challenge, ""
        here = {each.credential: each for each in self.of(person) if each.host == passkeys.host()}
        found = here.get(_id_of(answer))
        count = passkeys.checked_answer(answer, challenge, found) if found and challenge else None
        if found is None or count is None:
            return False
        found.signatures, found.last_used_at = count, utcnow()
        return True

    def enrol_app(self, person: Any, seed: str, typed: str) -> bool:
        """Make the app that grew from `seed` the person's own when `typed` is its code, in the place of one before."""
        secret = secret_of(seed)
        step = step_of(secret, "".join(typed.split()))
        if step is None:
            return False
        was_there = [each for each in self.of(person) if each.kind == "app"]
        for each in was_there:
            db.session.delete(each)
        self._add(person, self.factor(person_id=person.id, kind="app", secret=secret, last_step=step))
        return True

    def enrol_passkey(self, person: Any, attempt: Any, answer: str, name: str) -> bool:
        """Keep the passkey that was made for the attempt's challenge; tells whether it is one, and new."""
        from app.accounts import passkeys

        challenge, attempt.challenge = attempt.challenge, ""
        made = passkeys.checked_new(answer, challenge) if challenge else None
        if made is None or db.session.scalar(select(self.factor).where(self.factor.credential == made["credential"])):
            return False
        self._add(person, self.factor(person_id=person.id, kind="passkey", name=name, host=passkeys.host(), **made))
        return True

    def set_codes(self, person: Any, codes: list[str]) -> None:
        """Let these be the person's recovery codes, and none of before."""
        db.session.execute(delete(self.code).where(self.code.person_id == person.id))
        db.session.add_all(self.code(hash=_code_hash(code), person_id=person.id) for code in codes)
        self.note("recovery_codes_made", person)

    def remove(self, person: Any, factor: Any) -> None:
        """Take a factor from a person; recovery codes go with the last one."""
        db.session.delete(factor)
        self.note("factor_removed", person, what=factor.kind)
        db.session.flush()
        if not self.of(person):
            db.session.execute(delete(self.code).where(self.code.person_id == person.id))

    def stop(self, person: Any) -> None:
        """Let nothing go on that a person has begun."""
        db.session.execute(delete(self.attempt).where(self.attempt.person_id == person.id))

    def clear(self, person: Any) -> None:
        """Take everything from a person that proves them beside their password."""
        for table in (self.factor, self.code, self.attempt):
            db.session.execute(delete(table).where(table.person_id == person.id))

    def _add(self, person: Any, factor: Any) -> None:
        db.session.add(factor)
        self.note("factor_added", person, what=factor.kind)

    def _take_step(self, app: Any, typed: str) -> bool:
        step = step_of(app.secret, typed)
        if step is None:
            return False
        unused = update(self.factor).where(self.factor.id == app.id, self.factor.last_step < step)
        return self._changes(unused.values(last_step=step, last_used_at=utcnow()))

    def _take_recovery_code(self, person: Any, typed: str) -> bool:
        given = delete(self.code).where(self.code.hash == _code_hash(typed), self.code.person_id == person.id)
        is_taken = self._changes(given)
        if is_taken:
            self.note("recovery_code_used", person, left=self.codes_left(person))
        return is_taken

    def _changes(self, statement: Update | Delete) -> bool:
        return cast("CursorResult[Any]", db.session.execute(statement)).rowcount == 1


def step_of(secret: str, typed: str) -> int | None:
    """Return the step, of now or beside it, whose code `typed` is; None for another code."""
    now = int(time.time()) // STEP
    codes = {step: pyotp.TOTP(secret).generate_otp(step) for step in (now, now - 1, now + 1)}
    return next((step for step, code in codes.items() if hmac.compare_digest(code.encode(), typed.encode())), None)


def secret_of(seed: str) -> str:
    """Return the secret that an app grows from a seed: 160 bits in base32 (RFC 4226 section 4)."""
    return b32encode(_grown(seed, "app")[:20]).decode()


def codes_of(seed: str) -> list[str]:
    """Return the recovery codes that grow from a seed, in groups of four letters as they are shown."""
    plain = (b32encode(_grown(seed, f"code {number}")[:CODE_BYTES]).decode() for number in range(CODES))
    return ["-".join(code[place : place + 4] for place in range(0, len(code), 4)) for code in plain]


def new_codes() -> list[str]:
    """Return a set of recovery codes that nobody has had."""
    return codes_of(secrets.token_urlsafe(32))


def app_address(secret: str, issuer: str, account: str) -> str:
    """Return the address that brings a secret into an authenticator app, by a picture or a tap."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def _grown(seed: str, purpose: str) -> bytes:
    return hmac.digest(seed.encode(), purpose.encode(), sha256)


def tell_of_codes(left: int, page: str) -> None:
    """Say on the next page how many recovery codes somebody has left, and where there are more."""
    codes = f"{left} recovery code{'' if left == 1 else 's'}"
    text = CODES_LEFT.format(codes=codes, page=page) if left else NO_CODES.format(page=page)
    flash("warning" if left < FEW_CODES else "info", text)


def tell_who_has_no_codes(person: Any) -> None:
    """Say to somebody who signs in that their recovery codes are gone, as after a restore."""
    if PEOPLE.lacks_codes(person):
        tell_of_codes(0, CODES_PAGE)


def _code_hash(code: str) -> str:
    return fingerprint(code.replace("-", ""))


def _id_of(answer: str) -> str:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("id", "")) if isinstance(found, dict) else ""


def _note(kind: str, person: Any, **detail: Any) -> None:
    audit.note(kind, actor=person.email, subject=person.email, **detail)
    if kind == "recovery_code_used":
        tell_of_codes(detail["left"], CODES_PAGE)
    if kind in ("factor_added", "factor_removed"):
        person.warn("factors_changed")
    if kind == "factor_added" and len(PEOPLE.of(person)) == 1:
        person.forget_devices(but=devices.known(person))  # in the others the password alone was given


PEOPLE = Factors(Factor, RecoveryCode, Attempt, _note)
