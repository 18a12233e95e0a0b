"""Passwords as argon2id hashes (OWASP's minimum: 19 MiB, two passes, one lane; about 30 ms).

Hash before the first statement of a transaction: 30 ms under the write lock would hold up everybody else in
the house. Each hash waits for its turn, and raises `TooBusy` when that takes too long.
"""

from __future__ import annotations

from typing import NewType

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app.accounts import turns

Hashed = NewType("Hashed", str)

SHORTEST = 12  # characters
LONGEST = 256  # characters; more would only cost time

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_nobody = _hasher.hash("nobody has this password")


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
