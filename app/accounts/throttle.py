"""How often a password may be tried, or help asked for, before anything is hashed or sent.

Counted by `rates` for all processes together. A browser in which somebody has signed in before is a device of theirs, and
counts by itself: whoever tries that person's passwords from elsewhere shuts themselves out, and never them
(https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies).
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta

from flask import request
from werkzeug.wrappers import Response

from app.accounts import cookies, devices
from app.accounts.cookies import PLATFORM
from app.accounts.turns import TooBusy
from app.facilities import rates
from app.facilities.rates import LimitReached, Rate, Try

WITHIN = 600  # seconds
MANY = "There were too many tries for this address."
HERE = "There were too many tries from where you are."

PERSON = Rate("person", 10, WITHIN, MANY)
BROWSER = Rate("browser", 10, WITHIN, MANY)
NETWORK = Rate("network", 100, WITHIN, HERE)
ORGANISATION = Rate("organisation", 500, WITHIN, "Very many people are trying to sign in here at the moment.")
OWN_PASSWORD = Rate("own-password", 10, WITHIN, "There were too many tries.")
HELP = Rate("help", 3, WITHIN, MANY)
HELP_FROM = Rate("help-network", 20, WITHIN, HERE)
HELP_HERE = Rate("help-organisation", 100, WITHIN, "Very many people are asking for help here at the moment.")

MARK = "freehold-known"  # of an operator's browser; a member's is known by its device
MARK_LIFETIME = timedelta(days=180)

REFUSALS = (LimitReached, TooBusy)  # what a form may be answered with, before or while a password is looked at


def count_try(house: str, email: str) -> None:
    """Count a try to sign in; raises `LimitReached` when there were too many."""
    mark = known_mark(house, email)
    if mark:
        rates.take(Try(BROWSER, house, mark))
    else:
        organisation = Try(ORGANISATION, house)
        rates.take(Try(PERSON, house, _plain(email)), Try(NETWORK, house, rates.visitor()), organisation)


def forgive(house: str, email: str) -> None:
    """Forget the tries of somebody who has signed in."""
    mark = known_mark(house, email)
    rates.forgive(Try(BROWSER, house, mark) if mark else Try(PERSON, house, _plain(email)))


def count_own_password(house: str, email: str) -> None:
    """Count a try of somebody who is signed in to give their password; raises `LimitReached`."""
    rates.take(Try(OWN_PASSWORD, house, _plain(email)))


def forgive_own_password(house: str, email: str) -> None:
    """Forget these tries."""
    rates.forgive(Try(OWN_PASSWORD, house, _plain(email)))


def count_call_for_help(house: str, email: str) -> None:
    """Count a call for a new password, for this address and from this place; raises `LimitReached`."""
    rates.take(Try(HELP, house, _plain(email)), Try(HELP_FROM, house, rates.visitor()), Try(HELP_HERE, house))


def remember(response: Response, email: str) -> None:
    """Mark this browser as one in which this operator has signed in."""
    mark = known_mark(PLATFORM, email) or secrets.token_urlsafe(12)
    cookies.give(response, MARK, f"{mark}.{_seal(email, mark)}", MARK_LIFETIME)


def known_mark(house: str, email: str) -> str:
    """Return this browser's mark when this person has signed in with it before, else ""."""
    if house != PLATFORM:
        return devices.mark_of(_plain(email))
    mark, _, seal = request.cookies.get(cookies.cookie_name(MARK), "").partition(".")
    return mark if mark and hmac.compare_digest(_seal(email, mark).encode(), seal.encode()) else ""


def _seal(email: str, mark: str) -> str:
    return cookies.sign("known-browser", f"{PLATFORM}.{mark}.{_plain(email)}")


def _plain(email: str) -> str:
    return email.strip().casefold()[:254]
