"""Passwords: which may be chosen, and their argon2id hashes (OWASP's minimum: 19 MiB, two passes, one lane; about 30 ms).

Any letters and signs do; what counts is how many guesses a program needs that knows the common passwords, and the
address, the name and the organisation of whoever chose.

Hash before the first statement of a transaction: 30 ms under the write lock would hold up everybody else in
the house. Each hash waits for its turn, and raises `TooBusy` when that takes too long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import NewType

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app.accounts import turns
from app.tenancy import current_tenant
from app.tenancy.errors import Refused

Hashed = NewType("Hashed", str)

SHORTEST = 12  # characters
LONGEST = 256  # characters; more would only cost time
FEWEST_GUESSES = 1e9  # passwords of the common lists, and a year after a name, take fewer
ESTIMATED = 72  # characters that the estimate looks at, in some milliseconds
SIGNS = frozenset("0123456789@$!|+%({[<")  # that may stand for letters
MANY_SIGNS = 4  # kinds of them in one password; with each more there is more to try, up to seconds
ESTIMATED_OF_SIGNS = 16  # characters that the estimate looks at then

TOO_SHORT = f"Please use {SHORTEST} characters or more. Four unrelated words do well."
TOO_LONG = f"Please use {LONGEST} characters at most."
GUESSED = "That would be guessed soon. Please use four unrelated words, without your name or the organisation's."

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_nobody = _hasher.hash("nobody has this password")


def flaw(password: str, *about: str) -> str:
    """Return why a password may not be chosen by somebody `about` whom this is known, and what to do; "" if it may."""
    if len(password) < SHORTEST:
        return TOO_SHORT
    if len(password) > LONGEST:
        return TOO_LONG
    return GUESSED if guesses(password, *about) < FEWEST_GUESSES else ""


def require_good(password: str, *about: str) -> None:
    """Raise `Refused` for a password that has a flaw."""
    found = flaw(password, *about)
    if found:
        raise Refused(found)


def guesses(password: str, *about: str) -> float:
    """Return about how many tries a guesser needs who knows `about` whom it is.

    The estimate itself is asked with a dictionary of this call alone: `zxcvbn()` would keep the words for everybody.
    """
    from zxcvbn import matching, scoring  # which takes long to load, and passwords are chosen seldom

    looked_at = password[: ESTIMATED_OF_SIGNS if len(SIGNS.intersection(password)) > MANY_SIGNS else ESTIMATED]
    words = matching.build_ranked_dict(list(known_words(about)))
    matches = matching.omnimatch(looked_at, {**matching.RANKED_DICTIONARIES, "about": words})
    return float(scoring.most_guessable_match_sequence(looked_at, matches)["guesses"])


def known_words(about: Iterable[str]) -> Iterable[str]:
    """Return what is known, as a whole and word by word."""
    texts = [text.casefold() for text in about if text]
    return dict.fromkeys(chain(texts, *(re.findall(r"\w{3,}", text) for text in texts)))


def words_of_house() -> tuple[str, ...]:
    """Return how the current tenant is called."""
    return current_tenant().name, current_tenant().slug


def hash_password(password: str) -> Hashed:
    """Return the hash to be stored."""
    with turns.turn():
        return Hashed(_hasher.hash(password))


def matches(stored: str | None, password: str) -> bool:
    """Tell whether `password` belongs to `stored`. With nothing stored it takes as long, and says no."""
    try:
        with turns.turn():
            return _hasher.verify(stored or _nobody, password) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False
