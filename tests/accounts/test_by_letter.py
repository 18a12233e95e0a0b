"""Signing in by a link that comes by letter, where the organisation wants it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from app.accounts import User
from app.tenancy import utcnow
from tests.accounts.people import acts, is_in, letters, link_in
from tests.accounts.test_second_factor import OWNER, ask, has_app
from tests.printed import filled_in

__all__ = ["has_app"]


@pytest.fixture
def wanted(at, alpha):
    ask(at, alpha, "", by_letter=True)


def ask_for_link(browser, email=OWNER):
    return browser.post("/sign-in/letter", data=filled_in(browser.get("/sign-in/letter").text, "email", email=email))


def link_of(app):
    return link_in(letters(app)[-1].get_body(("plain",)).get_content(), "sign-in/link")


@pytest.fixture
def link(app, alpha, client_for, wanted, work):
    ask_for_link(client_for(alpha))
    work(alpha)
    return link_of(app)


def follow(browser, link):
    return browser.post(link, data=filled_in(browser.get(link).text))


def test_nothing_of_it_is_found_where_it_is_not_wanted(alpha, client_for):
    browser = client_for(alpha)
    for path in ("/sign-in/letter", "/sign-in/letter/sent", "/sign-in/link/x"):
        assert browser.get(path).status_code == 404
    assert "by letter" not in browser.get("/sign-in").text


def test_a_link_lets_its_holder_in_once(at, alpha, client_for, link):
    browser = client_for(alpha)
    assert "by letter" in browser.get("/sign-in").text
    browser.get(link)
    assert not is_in(browser), "programs that look at letters use nothing up"
    assert follow(browser, link).location == "/desk/"
    assert is_in(browser)
    assert client_for(alpha).get(link).status_code == 404
    assert {"sign_in_link_sent", "sign_in_link_used"} <= set(acts(at, alpha))


def test_it_leads_no_further_than_the_second_factor(alpha, client_for, link, has_app):
    browser = client_for(alpha)
    assert follow(browser, link).location == "/sign-in/second"
    assert not is_in(browser)


def test_it_is_over_after_a_quarter_of_an_hour_and_with_the_next_one(app, alpha, client_for, link, work):
    with time_machine.travel(utcnow() + timedelta(minutes=16)):
        assert client_for(alpha).get(link).status_code == 404
    ask_for_link(client_for(alpha))
    work(alpha)
    assert client_for(alpha).get(link).status_code == 404
    assert follow(client_for(alpha), link_of(app)).location == "/desk/"


def test_it_is_over_when_the_password_changes_or_the_person_goes(at, alpha, client_for, link):
    at(alpha, lambda: User.by_email(OWNER).end_sessions())
    assert client_for(alpha).get(link).status_code == 404


def test_it_is_nothing_to_another_house(at, beta, client_for, link):
    ask(at, beta, "", by_letter=True)
    assert client_for(beta).get(link).status_code == 404


def test_known_and_unknown_addresses_get_the_same_answer(app, alpha, client_for, wanted, work):
    known, unknown = ask_for_link(client_for(alpha)), ask_for_link(client_for(alpha), "nobody@example.test")
    assert (known.status_code, known.location, known.text) == (unknown.status_code, unknown.location, unknown.text)
    work(alpha)
    assert len(letters(app)) == 1


def test_the_letter_leads_to_the_primary_domain_whatever_host_was_claimed(app, alpha, client_for, wanted, work):
    browser = client_for(alpha)
    page = filled_in(browser.get("/sign-in/letter").text, "email", email=OWNER)
    browser.post("/sign-in/letter", data=page, headers={"X-Forwarded-Host": "evil.example"})
    work(alpha)
    assert "http://alpha.localhost" in letters(app)[-1].get_body(("plain",)).get_content()


def test_letters_are_asked_for_three_times_in_ten_minutes(alpha, client_for, wanted):
    statuses = [ask_for_link(client_for(alpha)).status_code for _ in range(4)]
    assert statuses == [303, 303, 303, 429]
