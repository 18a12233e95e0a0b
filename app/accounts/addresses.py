"""E-mail addresses as they are stored: checked, and casefolded so that one person is one row."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email

from app.tenancy.errors import Refused


def stand_in(email: str) -> str:
    """Return what somebody is called who gave no name: their address is not everybody's business."""
    return f"Member {email[:2]}"


def normal_address(email: str) -> str:
    """Return the stored form of an address; raises `Refused` for what is none. No network is asked."""
    try:
        # Installations at home use names under .test, which the library takes for a slip unless told.
        checked = validate_email(email.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as problem:
        raise Refused(f"{email!r} is not an e-mail address: {problem}") from None
    return checked.normalized.casefold()
