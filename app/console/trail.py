"""How operators come and go, as the ledger tells it: whoever has the console in hand should leave a trace."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from sqlalchemy import select

from app.console import operators
from app.facilities import limits
from app.facilities.limits import Meter
from app.tenancy import db, tenancy
from app.tenancy.errors import in_words
from app.tenancy.ledger import AuditRow

SHOWN = 20
SENTENCES = {
    "operator_signed_in": "{actor} signed in.",
    "operator_signed_out": "{actor} signed out.",
    "operator_sign_in_failed": "A wrong password was given for {subject}.",
    "operator_second_factor_failed": "{actor} gave a wrong code.",
    "operator_password_set": "{actor} chose a new password.",
    "operator_browser_signed_out": "{actor} signed out another browser.",
    "operator_browsers_signed_out": "{actor} signed out all other browsers.",
    "operator_factor_added": "{actor} set up a second factor.",
    "operator_factor_removed": "{actor} removed a second factor.",
    "operator_recovery_codes_made": "{actor} got new recovery codes.",
    "operator_recovery_code_used": "{actor} used a recovery code.",
    "operator_added": "{subject} became an operator.",
    "operator_reset": "{subject} got a new password, and sets up a second factor anew.",
    "operator_role_changed": "{subject} got the role {role}, {before} until then.",
    "operator_removed": "{subject} is no operator any more.",
}
NOBODY = "an address that is no operator's"


def note_failure(email: str) -> None:
    """Note a wrong password, of known and unknown addresses alike, so that both take the same time; only the known are named."""
    operator = operators.by_email(email)
    subject = operator.email if operator else ""
    db.session.rollback()
    mark = hmac.digest(tenancy.keys.subkey("operators"), email.strip().casefold().encode(), "sha256").hex()[:12]
    tenancy.ledger.record_seldom("operator_sign_in_failed", mark, subject=subject)


def latest() -> Sequence[AuditRow]:
    """Return how operators came and went of late, newest first."""
    rows = select(AuditRow).where(AuditRow.kind.in_(SENTENCES)).order_by(AuditRow.at.desc(), AuditRow.id.desc())
    return db.session.scalars(rows.limit(SHOWN)).all()


def told(row: AuditRow) -> str:
    """Return a row as a sentence."""
    facts = {"role": "another role", "before": "another", **row.detail, "subject": row.detail.get("subject") or NOBODY}
    return SENTENCES[row.kind].format(actor=row.actor, **facts)


def changed(row: AuditRow) -> str:
    """Say what a row of an organisation changed, and from what, "" for one that changed no value."""
    if "before" not in row.detail:
        return ""
    meter = next((each for each in limits.meters() if each.name == row.detail.get("meter")), None)
    if meter is None:
        return f"{row.detail['before']} until then"
    after, before = (amount(meter, row.detail[each]) for each in ("cap", "before"))
    return f"{meter.label}: {after}, {before} until then"


def amount(meter: Meter, cap: int | None) -> str:
    """Return how much a cap allows, as people read it."""
    return "no limit" if cap is None else in_words(cap, meter.unit)
