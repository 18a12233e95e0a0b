"""Joining by an approved mail domain: off until an owner approves one, proved by a letter, and never more than a member."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app.accounts import User, joining
from app.accounts.models import Invitation, SignInRules
from app.tenancy import db
from tests.accounts.people import acts, browser_of, is_in, join, letters, post
from tests.conftest import PASSWORD
from tests.printed import filled_in, printed_token

DESK = "/desk/settings/joining"


@pytest.fixture
def approved(alpha, signed_in):
    """Alpha lets people of club.example join; returns its owner's browser."""
    owner = signed_in(alpha)
    assert post(owner, DESK, name=" @Club.Example ").status_code == 303
    return owner


def ask(browser, email):
    """Fill in the form of one who wants to join."""
    page = browser.get("/sign-in/join")
    assert page.status_code == 200
    return browser.post("/sign-in/join", data=filled_in(page.text, "email", email=email))


def link_for(at, tenant, email):
    return "/sign-in/join/" + at(tenant, lambda: joining.token_for(email))


def come_in(browser, path, name="Nia New", password=PASSWORD):
    page = browser.get(path)
    if page.status_code != 200:
        return page
    given = {"csrf_token": printed_token(page.text), "name": name, "password": password}
    return browser.post(path, data=given)


def person(at, tenant, email):
    return at(tenant, lambda: User.by_email(email))


def test_nobody_joins_until_a_domain_is_approved(app, at, alpha, client_for):
    browser = client_for(alpha)
    assert browser.get("/sign-in/join").status_code == 404
    assert browser.post("/sign-in/join", data={"email": "nia@club.example"}).status_code == 404
    assert browser.get(link_for(at, alpha, "nia@club.example")).status_code == 404
    assert "/sign-in/join" not in browser.get("/sign-in").text


def test_a_letter_proves_the_address_and_its_person_comes_in_as_a_member(app, at, approved, alpha, client_for, work):
    browser = client_for(alpha)
    assert "/sign-in/join" in browser.get("/sign-in").text
    assert ask(browser, "Nia@Club.Example").location == "/sign-in/join/sent"
    work(alpha)
    (letter,) = letters(app)
    assert letter["To"] == "nia@club.example"
    path = letter.get_body(("plain",)).get_content().split("http://alpha.localhost:8000")[1].split()[0]
    assert come_in(browser, path).status_code == 303
    assert is_in(browser)
    assert person(at, alpha, "nia@club.example").role == "member"
    assert "person_joined_by_domain" in acts(at, alpha)


@pytest.mark.parametrize(
    "email",
    [
        "nia@other.example",
        "nia@sub.club.example",
        "nia@club.example.evil.test",
        "owner@alpha.test",
        "nia@evilclub.example",
    ],
)
def test_every_other_address_gets_the_same_answer_and_no_letter(app, approved, alpha, client_for, work, email):
    answers = [ask(client_for(alpha), each) for each in ("new@club.example", email)]
    assert len({(answer.status_code, answer.location, answer.text) for answer in answers}) == 1
    work(alpha)
    assert {letter["To"] for letter in letters(app)} == {"new@club.example"}


def test_a_domain_in_letters_of_its_own_is_known_however_it_is_written(approved, at, alpha):
    assert post(approved, DESK, name="bücher.example").status_code == 303
    for address in ("nia@bücher.example", "nia@xn--bcher-kva.example"):
        assert at(alpha, lambda address=address: joining.may_join(address))


def test_a_link_works_once(at, approved, alpha, client_for):
    path = link_for(at, alpha, "nia@club.example")
    assert come_in(client_for(alpha), path).status_code == 303
    assert come_in(client_for(alpha), path).status_code == 404


def test_who_was_removed_does_not_come_back_by_a_link_of_before_used_or_not(
    at, approved, alpha, client_for, monkeypatch
):
    used, now = link_for(at, alpha, "nia@club.example"), joining.time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr(joining.time, "time", lambda: now - 1)
        spare = link_for(at, alpha, "nia@club.example")
    assert used != spare
    assert come_in(client_for(alpha), used).status_code == 303
    number = at(alpha, lambda: User.by_email("nia@club.example").id)
    assert post(approved, f"/desk/people/{number}/removal", email="nia@club.example").status_code == 303
    assert person(at, alpha, "nia@club.example") is None
    assert come_in(client_for(alpha), used).status_code == 404
    assert come_in(client_for(alpha), spare).status_code == 404


def test_a_link_is_dead_after_a_day_when_changed_or_at_another_house(
    at, approved, alpha, beta, client_for, signed_in, monkeypatch
):
    path = link_for(at, alpha, "nia@club.example")
    body, _, mac = path.rpartition("/")[2].partition(".")
    post(signed_in(beta), DESK, name="club.example")
    assert client_for(beta).get(path).status_code == 404
    assert client_for(alpha).get(f"/sign-in/join/{body[:-2]}AA.{mac}").status_code == 404
    assert client_for(alpha).get(f"/sign-in/join/{body}.").status_code == 404
    assert client_for(alpha).get(path).status_code == 200
    now = joining.time.time()
    monkeypatch.setattr(joining.time, "time", lambda: now + 24 * 3600 + 1)
    assert client_for(alpha).get(path).status_code == 404


def test_a_domain_that_is_removed_lets_nobody_in_not_even_by_a_letter_under_way(at, approved, alpha, client_for):
    path = link_for(at, alpha, "nia@club.example")
    assert post(approved, f"{DESK}/1/removal").status_code == 303
    assert come_in(client_for(alpha), path).status_code == 404
    assert person(at, alpha, "nia@club.example") is None


def test_somebody_who_was_deactivated_does_not_come_back_this_way(app, at, approved, alpha, client_for, work):
    number = join(at, alpha, "mia@club.example")
    post(approved, f"/desk/people/{number}/deactivation")
    ask(client_for(alpha), "mia@club.example")
    work(alpha)
    assert letters(app) == []
    assert come_in(client_for(alpha), link_for(at, alpha, "mia@club.example")).status_code == 404


def test_a_full_plan_lets_nobody_join(app, at, approved, alpha, client_for, runner, work, tenancy):
    from app.tenancy import platform_context
    from app.tenancy.registry import TierCap

    with app.app_context(), platform_context():
        db.session.merge(TierCap(tier="standard", meter="users", cap=1))
        db.session.commit()
    ask(client_for(alpha), "nia@club.example")
    work(alpha)
    assert letters(app) == []
    answer = come_in(client_for(alpha), link_for(at, alpha, "nia@club.example"))
    assert answer.status_code == 403
    assert person(at, alpha, "nia@club.example") is None


def test_who_is_invited_joins_with_the_role_of_the_invitation(at, approved, alpha, client_for):
    def invite():
        owner = db.session.scalars(select(User)).first()
        Invitation.send("ed@club.example", "editor", by=owner)

    at(alpha, invite)
    assert come_in(client_for(alpha), link_for(at, alpha, "ed@club.example")).status_code == 303
    assert person(at, alpha, "ed@club.example").role == "editor"
    assert at(alpha, lambda: db.session.scalars(select(Invitation)).all()) == []


@pytest.mark.parametrize("name", ["gmail.com", "club.example", "no domain", "com", "", "127.0.0.1"])
def test_a_domain_that_cannot_be_approved_is_explained(approved, name):
    assert post(approved, DESK, name=name).status_code == 422


def test_members_do_not_decide_who_joins(app, at, approved, alpha):
    join(at, alpha)
    member = browser_of(app, alpha, "mia@example.test")
    assert member.get(DESK).status_code == 404
    assert post(member, DESK, name="evil.example").status_code == 404
    assert post(member, f"{DESK}/1/removal").status_code == 404


def test_asking_again_and_again_has_to_wait(approved, alpha, client_for):
    assert [ask(client_for(alpha), "nia@club.example").status_code for _ in range(4)] == [303, 303, 303, 429]


@pytest.mark.parametrize("email", ["nia@club.example", "ed@club.example"])
def test_who_joins_sets_up_the_second_factor_that_is_asked_of_everybody_before_anything_else(
    at, approved, alpha, client_for, email
):
    def decide():
        Invitation.send("ed@club.example", "editor", by=db.session.scalars(select(User)).first())
        SignInRules.decide("everybody", False)

    at(alpha, decide)
    browser = client_for(alpha)
    assert come_in(browser, link_for(at, alpha, email)).location == "/sign-in/app"
    assert person(at, alpha, email)
    assert not is_in(browser)
