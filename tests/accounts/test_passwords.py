"""What a password is kept as. The other tests hash at the least cost there is; here the module is loaded as it is."""

from __future__ import annotations

import runpy
import time

import pytest

from app.accounts import passwords as module

REAL = "$argon2id$v=19$m=19456,t=2,p=1$"  # OWASP's minimum


@pytest.fixture(scope="module")
def passwords():
    return runpy.run_path(module.__file__)


def test_a_password_is_hashed_at_the_cost_that_owasp_asks_for(passwords):
    assert passwords["hash_password"]("a long enough password").startswith(REAL)
    assert passwords["_nobody"].startswith(REAL), "whoever is unknown takes as long"


def test_a_password_matches_its_own_hash_alone(passwords):
    hashed, matches = passwords["hash_password"]("a long enough password"), passwords["matches"]
    assert matches(hashed, "a long enough password")
    assert not matches(hashed, "another long password")
    assert not matches("no hash", "a long enough password")
    assert not matches(None, "nobody has this password")


def test_somebody_unknown_takes_as_long_as_somebody_known(passwords):
    """The rest would tell a stranger who has an account."""
    hashed, matches = passwords["hash_password"]("a long enough password"), passwords["matches"]
    known, unknown = (quickest(lambda stored=stored: matches(stored, "wrong")) for stored in (hashed, None))
    assert unknown > known / 2


def quickest(act):
    return min(timed(act) for _ in range(5))


def timed(act):
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
