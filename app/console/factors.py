"""The operators' second factors. Everybody has one: who has none yet sets it up right after their first password."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import redirect, request
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.wrappers import Response

from app.accounts import cookies, throttle
from app.accounts.admission import Door
from app.accounts.factors import Factors, tell_of_codes
from app.accounts.freshness import open_at
from app.accounts.models.factor import AttemptColumns, CodeColumns, FactorColumns
from app.console import operators
from app.facilities import settings
from app.tenancy import db, tenancy
from app.tenancy.binding import RegistryModel
from app.tenancy.registry import Operator

CODES_PAGE = "/you/security/"


class OperatorFactor(FactorColumns, RegistryModel):
    """A second factor of an operator."""

    __tablename__ = "operator_factor"

    person_id: Mapped[int] = mapped_column(ForeignKey("operator.id", ondelete="CASCADE"), index=True)


class OperatorRecoveryCode(CodeColumns, RegistryModel):
    """A recovery code of an operator."""

    __tablename__ = "operator_recovery_code"

    person_id: Mapped[int] = mapped_column(ForeignKey("operator.id", ondelete="CASCADE"), index=True)


class OperatorAttempt(AttemptColumns, RegistryModel):
    """An attempt of an operator."""

    __tablename__ = "operator_attempt"

    person_id: Mapped[int] = mapped_column(ForeignKey("operator.id", ondelete="CASCADE"), index=True)

    person: Mapped[Operator] = relationship("Operator", lazy="joined", innerjoin=True)


def note(kind: str, operator: Any, **detail: Any) -> None:
    """Tell the platform's own audit, which is in the ledger."""
    tenancy.ledger.record(f"operator_{kind}", actor=operator.email, **detail)
    if kind == "recovery_code_used":
        tell_of_codes(detail["left"], CODES_PAGE)


FACTORS = Factors(OperatorFactor, OperatorRecoveryCode, OperatorAttempt, note)


class ConsoleDoor(Door):
    """The door of the console, which knows no browser and asks everybody, each time."""

    factors = FACTORS
    when_asked = "each time you sign in"

    def welcome(self, person: Operator, target: str, *, is_proved: bool) -> Response:
        lifetime = timedelta(hours=settings.number("session_hours"))
        token = operators.sign_in(person, lifetime, request.user_agent.string)
        db.session.commit()
        note("signed_in", person)
        if FACTORS.lacks_codes(person):
            tell_of_codes(0, CODES_PAGE)
        response = redirect(target or "/", 303)
        cookies.give(response, "freehold", str(token), lifetime)
        throttle.remember(response, person.email)
        return response

    def may_enter(self, person: Operator) -> bool:
        return True

    def is_known(self, person: Operator) -> bool:
        return False

    def asks(self, person: Operator) -> bool:
        return True

    def has_password(self, email: str, password: str) -> bool:
        return operators.authenticate(email, password) is not None

    def note_failure(self, person: Any) -> None:
        db.session.commit()
        note("second_factor_failed", person)

    def warn(self, person: Any, letter: str) -> None:
        """Write to nobody: operators get no letters, and what they do stands on the page Activity."""

    @property
    def issuer(self) -> str:
        return f"{settings.text('platform_name')} console"


door = ConsoleDoor("console_second", subdomain="platform")
open_at(door.blueprint)
