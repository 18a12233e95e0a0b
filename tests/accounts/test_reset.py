"""A forgotten password: the same answer for everybody, and a letter for whoever it concerns."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.accounts import SetUpLink, User
from app.tenancy import db, utcnow
from tests.accounts.people import acts, is_in, join, letters, link_in
from tests.conftest import PASSWORD, sign_in
from tests.printed import filled_in

NEW = "seven other unrelated words"


def ask(browser, email, **headers):
    page = browser.get("/sign-in/help").text
    return browser.post("/sign-in/help", data=filled_in(page, "email", email=email), headers=headers)


def test_a_forgotten_password_is_replaced_by_a_link_that_works_once(app, at, alpha, signed_in, client_for, work):
    elsewhere, browser = signed_in(alpha), client_for(alpha)
    assert "I forgot my password" in browser.get("/sign-in").text
    assert ask(browser, "OWNER@alpha.test").location == "/sign-in/help/sent"
    work(alpha)
    (letter,) = letters(app)
    assert letter["To"].addresses[0].addr_spec == "owner@alpha.test"
    link = link_in(letter.get_body(("plain",)).get_content(), "set-up")
    page = browser.get(link)
    assert "Choose a new password" in page.text
    assert browser.post(link, data=filled_in(page.text, "password", password=NEW)).location == "/desk/"
    assert is_in(browser)
    assert not is_in(elsewhere)
    assert client_for(alpha).get(link).status_code == 404
    sign_in(client_for(alpha), "owner@alpha.test", NEW)
    work(alpha)
    (warning,) = [each for each in letters(app) if "password at Alpha Allotments was changed" in each["Subject"]]
    assert NEW not in warning.as_string()
    assert "password_help_sent" in acts(at, alpha)


def test_known_and_unknown_addresses_are_answered_alike(app, at, alpha, client_for, work):
    """The request looks nobody up, so that neither its words nor its time can tell."""
    closed = join(at, alpha)
    at(alpha, lambda: setattr(db.session.get(User, closed), "state", "closed"))
    answers = [ask(client_for(alpha), email) for email in ("owner@alpha.test", "nobody@alpha.test", "mia@example.test")]
    assert len({(answer.status_code, answer.location, answer.text) for answer in answers}) == 1
    work(alpha)
    assert [letter["To"].addresses[0].addr_spec for letter in letters(app)] == ["owner@alpha.test"]


def test_the_request_asks_nobody_whose_address_it_is(app, alpha, client_for, monkeypatch):
    def looked_up(*_):
        raise AssertionError("the request must not look the address up")

    monkeypatch.setattr(User, "by_email", looked_up)
    assert ask(client_for(alpha), "owner@alpha.test").status_code == 303


def test_the_link_leads_to_the_primary_domain_whatever_host_is_claimed(app, alpha, client_for, work):
    forged = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Host": "evil.example"}
    ask(client_for(alpha), "owner@alpha.test", **forged)
    work(alpha)
    text = letters(app)[0].as_string()
    assert f"//{alpha.primary_host}" in text
    assert "evil" not in text


def test_asking_is_slowed_down_alike_for_known_and_unknown_addresses(alpha, client_for):
    for email in ("owner@alpha.test", "nobody@alpha.test"):
        assert [ask(client_for(alpha), email).status_code for _ in range(4)] == [303, 303, 303, 429]


def test_nobodys_letter_box_is_filled(app, at, alpha):
    given = at(alpha, lambda: [SetUpLink.help(db.session.get(User, 1)) is not None for _ in range(5)])
    assert given == [True, True, True, False, False]


def test_a_link_is_of_no_use_after_an_hour_or_elsewhere_or_once_another_was_used(
    app, at, alpha, beta, client_for, work
):
    tokens = at(alpha, lambda: [SetUpLink.help(db.session.get(User, 1)) for _ in range(3)])
    assert client_for(beta).get(f"/set-up/{tokens[0]}").status_code == 404
    used = client_for(alpha)
    page = used.get(f"/set-up/{tokens[0]}").text
    used.post(f"/set-up/{tokens[0]}", data=filled_in(page, "password", password=NEW))
    assert client_for(alpha).get(f"/set-up/{tokens[1]}").status_code == 404
    late = at(alpha, lambda: SetUpLink.help(db.session.get(User, 1)))
    assert at(alpha, lambda: db.session.scalars(select(SetUpLink)).all())[-1].expires_at <= utcnow() + timedelta(
        hours=1
    )
    at(alpha, lambda: db.session.execute(update(SetUpLink).values(expires_at=utcnow())))
    assert client_for(alpha).get(f"/set-up/{late}").status_code == 404


def test_a_link_of_somebody_who_was_deactivated_is_of_no_use(at, alpha, client_for):
    mia = join(at, alpha)
    token = at(alpha, lambda: SetUpLink.help(db.session.get(User, mia)))
    at(alpha, lambda: db.session.get(User, mia).deactivate(by=db.session.get(User, 1)))
    assert client_for(alpha).get(f"/set-up/{token}").status_code == 404
    at(alpha, lambda: db.session.get(User, mia).reactivate(by=db.session.get(User, 1)))
    assert client_for(alpha).get(f"/set-up/{token}").status_code == 404
    with pytest.raises(AssertionError):
        sign_in(client_for(alpha), "mia@example.test", NEW)
    sign_in(client_for(alpha), "mia@example.test", PASSWORD)
