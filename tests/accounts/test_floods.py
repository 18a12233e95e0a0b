"""A thousand wrong passwords: refused before they are hashed, one hash at a time, nobody locked out, other houses untouched."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.accounts import passwords, throttle, turns
from app.accounts.turns import TooBusy, Turns
from tests.conftest import PASSWORD
from tests.printed import printed_token

ATTACKERS = 8  # threads


class Hasher:
    """Counts the hashes, and how many ran at once; each takes as long as it is told."""

    def __init__(self, real, seconds):
        self.real, self.seconds = real, seconds
        self.count = self.now = self.most = 0
        self.lock = threading.Lock()

    def verify(self, stored, password):
        with self.lock:
            self.count, self.now = self.count + 1, self.now + 1
            self.most = max(self.most, self.now)
        try:
            time.sleep(self.seconds)
            return self.real.verify(stored, password)
        finally:
            with self.lock:
                self.now -= 1


@pytest.fixture
def hasher(monkeypatch):
    counting = Hasher(passwords._hasher, 0.002)
    monkeypatch.setattr(passwords, "_hasher", counting)
    return counting


def try_password(client, email, password="wrong password", address="203.0.113.9"):
    token = printed_token(client.get("/sign-in").text)
    return client.post(
        "/sign-in",
        data={"csrf_token": token, "email": email, "password": password},
        environ_base={"REMOTE_ADDR": address},
    )


def flood(client_for, tenant, tries):
    """Send (email, address) pairs from several threads at once; return how often each status came."""
    local = threading.local()
    token = printed_token(client_for(tenant).get("/sign-in").text)

    def send(number_and_try):
        _, (email, address) = number_and_try
        if not hasattr(local, "client"):
            local.client = client_for(tenant)
        given = {"csrf_token": token, "email": email, "password": "wrong password"}
        return local.client.post("/sign-in", data=given, environ_base={"REMOTE_ADDR": address}).status_code

    with ThreadPoolExecutor(ATTACKERS) as pool:
        answers = list(pool.map(send, enumerate(tries)))
    return {status: answers.count(status) for status in set(answers)}


def test_a_thousand_passwords_for_one_account_cost_ten_hashes_and_the_owner_comes_in(
    app, alpha, beta, client_for, signed_in, hasher
):
    owner = signed_in(alpha)
    at_home = owner.get("/desk/").text
    owner.post("/sign-out", data={"csrf_token": printed_token(at_home)})
    before = hasher.count
    seen = flood(client_for, alpha, [("owner@alpha.test", f"198.51.{n // 250}.{n % 250}") for n in range(1000)])
    assert hasher.count - before <= throttle.PERSON.most
    assert set(seen) <= {422, 429, 503}
    assert seen[429] >= 900
    assert try_password(client_for(alpha), "owner@alpha.test", PASSWORD).status_code == 429, "an unknown browser waits"
    assert try_password(owner, "owner@alpha.test", PASSWORD).status_code == 303, "a known one does not"
    assert try_password(client_for(beta), "owner@beta.test", PASSWORD).status_code == 303


def test_a_thousand_accounts_tried_from_one_place_cost_no_more_than_the_place_may(app, alpha, client_for, hasher):
    before = hasher.count
    seen = flood(client_for, alpha, [(f"person{n}@alpha.test", "198.51.100.1") for n in range(1000)])
    assert hasher.count - before <= throttle.NETWORK.most
    assert seen[429] >= 1000 - throttle.NETWORK.most
    assert try_password(client_for(alpha), "owner@alpha.test", PASSWORD, "203.0.113.1").status_code == 303


def test_a_thousand_accounts_from_a_thousand_places_are_hashed_one_at_a_time(app, alpha, beta, client_for, hasher):
    tries = [(f"person{n}@alpha.test", f"198.51.{n // 250}.{n % 250}") for n in range(1000)]
    seen = flood(client_for, alpha, tries)
    assert hasher.count <= throttle.ORGANISATION.most
    assert hasher.most <= turns.PLACES
    assert set(seen) <= {422, 429, 503}
    assert client_for(beta).get("/").status_code == 200
    assert try_password(client_for(beta), "owner@beta.test", PASSWORD).status_code == 303


def test_what_was_typed_stays_in_the_page_that_says_wait(alpha, client_for):
    client = client_for(alpha)
    for _ in range(throttle.PERSON.most):
        try_password(client, "owner@alpha.test")
    answer = try_password(client, "owner@alpha.test")
    assert answer.status_code == 429
    assert answer.headers["RateLimit-Policy"] == '"person";q=10;w=600'
    assert "owner@alpha.test" in answer.text
    assert "in 10 minutes" in answer.text


def test_a_known_browser_is_known_for_its_own_person_in_its_own_house_alone(alpha, beta, client_for, signed_in):
    mark = signed_in(alpha).get_cookie("freehold-device", domain="alpha.localhost").value
    for tenant, email in ((alpha, "somebody@alpha.test"), (beta, "owner@alpha.test")):
        thief = client_for(tenant)
        thief.set_cookie("freehold-device", mark, domain=tenant.primary_host)
        answers = [try_password(thief, email).status_code for _ in range(11)]
        assert answers[-1] == 429
        assert try_password(client_for(tenant), email).status_code == 429, "it was counted as an unknown browser"


def test_a_known_browser_may_not_try_for_ever(alpha, signed_in):
    owner = signed_in(alpha)
    owner.post("/sign-out", data={"csrf_token": printed_token(owner.get("/desk/").text)})
    answers = [try_password(owner, "owner@alpha.test").status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]


def test_one_thread_of_a_process_is_always_left_for_other_work(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    here = Turns(tmp_path, threads=3)
    entered, leave, refused = threading.Event(), threading.Event(), []

    def hold():
        with here.turn():
            entered.set()
            leave.wait(5)

    def wait():
        try:
            with here.turn():
                pass
        except TooBusy as refusal:
            refused.append(str(refusal))

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(5)
    waiters = [threading.Thread(target=wait) for _ in range(turns.PLACES)]
    for thread in waiters:
        thread.start()
    time.sleep(0.05)
    began = time.monotonic()
    with pytest.raises(TooBusy):
        with here.turn():
            pass
    assert time.monotonic() - began < 0.1
    for thread in waiters:
        thread.join()
    assert len(refused) == len(waiters), "nobody waits longer than their patience"
    leave.set()
    holder.join()
    with here.turn():
        pass


def test_two_processes_share_the_places(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    one, other = Turns(tmp_path, threads=40), Turns(tmp_path, threads=40)
    held = [one.turn() for _ in range(turns.PLACES)]
    for place in held:
        place.__enter__()
    with pytest.raises(TooBusy):
        with other.turn():
            pass
    held[0].__exit__(None, None, None)
    with other.turn():
        pass
    for place in held[1:]:
        place.__exit__(None, None, None)
