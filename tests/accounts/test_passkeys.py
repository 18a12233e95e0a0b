"""Passkeys, answered by one made of software: what it signs for one house, one question or one person is good for no other."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from app.accounts.models import Factor
from app.tenancy import db
from tests.accounts.people import acts, browser_of, join
from tests.accounts.test_second_factor import count, half_way
from tests.printed import filled_in

HERE = "/desk/profile/security/"


def url64(data):
    return urlsafe_b64encode(data).decode().rstrip("=")


class SoftKey:
    """A passkey as a browser would make and use it (https://www.w3.org/TR/webauthn-3/ sections 6.1 and 6.5)."""

    def __init__(self, origin, rp):
        self.origin, self.rp = origin, rp
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id, self.count = secrets.token_bytes(16), 0

    def made(self, asked):
        """Return what a browser answers when it has made this passkey."""
        point = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})
        data = self._data(0x45) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose
        about = self._client_data("webauthn.create", asked["challenge"])
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer(clientDataJSON=url64(about), attestationObject=url64(attestation))

    def answered(self, asked, kind="webauthn.get"):
        """Return what a browser answers when it has used this passkey."""
        self.count += 1
        data, about = self._data(0x05), self._client_data(kind, asked["challenge"])
        signed = self.key.sign(data + hashlib.sha256(about).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(authenticatorData=url64(data), clientDataJSON=url64(about), signature=url64(signed))

    def _data(self, flags):
        return hashlib.sha256(self.rp.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind, challenge):
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, **response):
        return json.dumps({"id": url64(self.id), "rawId": url64(self.id), "type": "public-key", "response": response})


@pytest.fixture
def key(app, alpha):
    return SoftKey(app.config["FREEHOLD"].address(alpha.primary_host), alpha.primary_host)


def keep(browser, key):
    """Have a passkey made at the desk; returns the page."""
    token = filled_in(browser.get(HERE + "passkeys/new").text)["csrf_token"]
    asked = browser.post(HERE + "passkeys/options", data={"csrf_token": token}).json
    answer = {"csrf_token": token, "name": "Phone", "credential": key.made(asked)}
    return browser.post(HERE + "passkeys/new", data=answer)


@pytest.fixture
def has_key(alpha, signed_in, key):
    page = keep(signed_in(alpha), key)
    assert page.status_code == 201, page.text
    return key


def question(browser):
    token = filled_in(browser.get("/sign-in/second").text, "code")["csrf_token"]
    return browser.post("/sign-in/passkey", data={"csrf_token": token}).json


def give(browser, answer):
    page = browser.get("/sign-in/second").text
    return browser.post("/sign-in/second", data=filled_in(page, "code", credential=answer))


def test_a_passkey_is_kept_with_recovery_codes_and_lets_in(app, at, alpha, has_key):
    browser = half_way(app, alpha)
    page = browser.get("/sign-in/second").text
    assert "Use a passkey" in page
    assert "recovery codes" in page
    asked = question(browser)
    assert [each["id"] for each in asked["allowCredentials"]] == [url64(has_key.id)]
    assert give(browser, has_key.answered(asked)).location == "/desk/"
    kept = at(alpha, lambda: db.session.query(Factor).one().signatures)
    assert kept == 1
    assert acts(at, alpha).count("factor_added") == 1


def test_an_answer_serves_once_even_of_a_passkey_that_does_not_count(app, alpha, has_key):
    browser, other = half_way(app, alpha), half_way(app, alpha)
    asked = question(browser)
    answer = has_key.answered(asked)
    has_key.count = 0
    question(other)
    assert give(other, answer).status_code == 422, "it answers another browser's question"
    assert give(browser, answer).location == "/desk/"
    assert give(half_way(app, alpha), answer).status_code == 422


def test_a_question_is_spent_by_a_wrong_answer(app, alpha, has_key):
    browser = half_way(app, alpha)
    asked = question(browser)
    assert give(browser, has_key.answered(asked, kind="webauthn.create")).status_code == 422
    assert give(browser, has_key.answered(asked)).status_code == 422
    assert give(browser, has_key.answered(question(browser))).location == "/desk/"


def test_without_a_question_there_is_no_answer(app, alpha, has_key):
    browser = half_way(app, alpha)
    assert give(browser, has_key.answered({"challenge": ""})).status_code == 422


def test_a_passkey_whose_count_goes_back_is_a_copy(app, alpha, has_key):
    browser = half_way(app, alpha)
    has_key.count = 5
    give(browser, has_key.answered(question(browser)))
    has_key.count = 2
    browser = half_way(app, alpha)
    assert give(browser, has_key.answered(question(browser))).status_code == 422


def test_what_a_false_page_got_signed_is_no_use_here(app, alpha, has_key):
    browser = half_way(app, alpha)
    has_key.origin = "https://alpha-localhost.example"
    assert give(browser, has_key.answered(question(browser))).status_code == 422
    has_key.origin, has_key.rp = app.config["FREEHOLD"].address(alpha.primary_host), "alpha-localhost.example"
    assert give(browser, has_key.answered(question(browser))).status_code == 422


def test_another_key_with_the_same_name_is_not_it(app, alpha, has_key, key):
    thief = SoftKey(has_key.origin, has_key.rp)
    thief.id = has_key.id
    browser = half_way(app, alpha)
    assert give(browser, thief.answered(question(browser))).status_code == 422


def test_the_passkey_of_one_person_is_nothing_to_another(app, at, alpha, has_key):
    join(at, alpha)
    mia = browser_of(app, alpha, "mia@example.test")
    own = SoftKey(has_key.origin, has_key.rp)
    keep(mia, own)
    browser = half_way(app, alpha)
    assert give(browser, own.answered(question(browser))).status_code == 422
    assert keep(mia, has_key).status_code == 422, "and nobody keeps it a second time"
    assert count(at, alpha, Factor) == 2


def test_a_passkey_of_one_house_is_nothing_to_another(app, at, alpha, beta, has_key, signed_in):
    owner = signed_in(beta)
    assert keep(owner, has_key).status_code == 422
    assert count(at, beta, Factor) == 0


def test_a_new_passkey_for_a_question_of_before_is_not_kept(at, alpha, signed_in, key):
    owner = signed_in(alpha)
    token = filled_in(owner.get(HERE + "passkeys/new").text)["csrf_token"]
    first = owner.post(HERE + "passkeys/options", data={"csrf_token": token}).json
    owner.post(HERE + "passkeys/options", data={"csrf_token": token})
    sent = {"csrf_token": token, "name": "Phone", "credential": key.made(first)}
    assert owner.post(HERE + "passkeys/new", data=sent).status_code == 422
    assert count(at, alpha, Factor) == 0


def test_who_is_neither_in_nor_on_the_way_is_asked_nothing(alpha, client_for):
    assert client_for(alpha).post("/sign-in/passkey").status_code == 404


def test_a_passkey_proves_somebody_again(alpha, signed_in, app, has_key):
    browser = half_way(app, alpha)
    give(browser, has_key.answered(question(browser)))
    page = filled_in(browser.get("/sign-in/again?next=/desk/people/").text, "again-code")
    asked = browser.post("/sign-in/passkey", data={"csrf_token": page["csrf_token"]}).json
    answer = has_key.answered(asked)
    assert browser.post("/sign-in/again", data=page | {"again-credential": answer}).location == "/desk/people/"
    assert browser.post("/sign-in/again", data=page | {"again-credential": answer}).status_code == 422
