"""How long an answer takes says nothing about who is here. Real hashes, so these are long proofs."""

from __future__ import annotations

import statistics
import time

import pytest

from app.accounts import User, passwords
from app.console import caps
from app.facilities import rates
from app.tenancy import db, platform_context, utcnow
from app.tenancy.registry import Tenant
from tests.accounts.test_second_factor import ask
from tests.printed import printed_token

pytestmark = pytest.mark.prove

TRIES = 200
MOST = 0.005  # seconds between the medians


@pytest.fixture
def real_hashes(monkeypatch):
    """Hash as an installation does, which the other tests are spared."""
    hasher = passwords.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", hasher)
    monkeypatch.setattr(passwords, "_nobody", hasher.hash("nobody has this password"))


@pytest.fixture
def people(app, at, tenancy, alpha, real_hashes):
    """Return as many addresses of people who are here as there are tries."""
    with app.app_context(), platform_context():
        caps.grant(db.session.get(Tenant, alpha.id), "users", None, "a test", None, "operator@platform.test")
        db.session.commit()
    emails = [f"person{number:03}@example.test" for number in range(TRIES)]
    hashed = passwords.hash_password("four unrelated words")

    def join():
        for email in emails:
            User.join(email, "Somebody", "member", hashed).last_seen_at = utcnow()

    at(tenancy.registry.by_id(alpha.id), join)
    return emails


def differences(browser, path, known, **more):
    """Post for known and unknown addresses in turn; return the median seconds of both, and all answers."""
    token = printed_token(browser.get(path).text)
    seconds, answers = {True: [], False: []}, {True: set(), False: set()}
    for number, email in enumerate(known):
        for is_known in (True, False) if number % 2 else (False, True):
            given = email if is_known else email.replace("person", "nobody")
            address = {"REMOTE_ADDR": f"198.51.{number}.{int(is_known)}"}
            began = time.perf_counter()
            answer = browser.post(path, data={"csrf_token": token, "email": given, **more}, environ_base=address)
            seconds[is_known].append(time.perf_counter() - began)
            text = answer.text.replace(given, "").replace(
                printed_token(answer.text) if "csrf_token" in answer.text else "", ""
            )
            answers[is_known].add((answer.status_code, answer.location, text))
    return statistics.median(seconds[True]), statistics.median(seconds[False]), answers


def test_a_wrong_password_takes_as_long_for_an_address_that_is_here_as_for_one_that_is_not(alpha, client_for, people):
    known, unknown, answers = differences(client_for(alpha), "/sign-in", people, password="not the password")
    print(f"known {known * 1000:.2f} ms, unknown {unknown * 1000:.2f} ms")
    assert answers[True] == answers[False]
    assert {status for status, *_ in answers[True]} == {422}
    assert abs(known - unknown) < MOST


@pytest.mark.parametrize("path", ["/sign-in/help", "/sign-in/letter"])
def test_a_letter_is_promised_as_fast_to_an_address_that_is_here_as_to_one_that_is_not(
    at, alpha, client_for, people, path, monkeypatch
):
    from app.accounts import throttle

    # A hundred letters in ten minutes are all that one organisation's people may ask for.
    monkeypatch.setattr(throttle, "HELP_HERE", rates.Rate("help-organisation", 1000, 600, "many"))
    ask(at, alpha, "", by_letter=True)
    known, unknown, answers = differences(client_for(alpha), path, people)
    print(f"known {known * 1000:.2f} ms, unknown {unknown * 1000:.2f} ms")
    assert answers[True] == answers[False]
    assert {status for status, *_ in answers[True]} == {303}
    assert abs(known - unknown) < MOST
