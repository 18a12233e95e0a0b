"""The organisation's letters: each is listed with what has become of it, to whoever may know of it, and says nothing more."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select, update

from app.accounts import Role, User, organisations
from app.facilities import mail
from app.facilities.outgoing import Outgoing
from app.inbox import Contact, Conversation
from app.tenancy import db, utcnow
from app.tenancy.due import Due
from app.tenancy.jobs import later
from tests.accounts.people import browser_of, invite, join, letters, link_in, post
from tests.printed import filled_in

PAGE = "/desk/settings/letters"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def relay(app, monkeypatch):
    """Say where the relay is: nowhere, or (the outbox of files) at hand."""

    def stands(url: str) -> None:
        config = dataclasses.replace(app.config["FREEHOLD"], smtp_url=url)
        monkeypatch.setitem(app.config, "FREEHOLD", config)

    return stands


@pytest.fixture
def answer(at, alpha):
    """Answer somebody outside, by letter."""

    def reply() -> None:
        conversation = Conversation.open_from(Contact.at("vera@visitor.test", "Vera"), "Boats", "Is there a boat?")
        conversation.reply("Yes, the blue one.", by=db.session.get(User, 1))

    return lambda: at(alpha, reply)


def ask_for_help(browser, email):
    page = browser.get("/sign-in/help").text
    browser.post("/sign-in/help", data=filled_in(page, "email", email=email))


def listed(at, alpha) -> list[tuple[str, str, str]]:
    """Return to whom, about what and how it stands of each letter, oldest first."""
    rows = select(Outgoing).order_by(Outgoing.id)
    return at(alpha, lambda: [(each.email, each.subject, each.standing) for each in db.session.scalars(rows)])


def test_each_letter_is_listed_with_its_state_and_never_with_what_it_says(
    app, at, alpha, signed_in, client_for, work, answer
):
    owner = signed_in(alpha)
    assert "No letter yet" in owner.get(PAGE).text
    token = invite(owner).rpartition("/")[2]
    answer()
    waiting = listed(at, alpha)
    assert [(email, standing) for email, _, standing in waiting] == [
        ("new@example.test", "waiting"),
        ("vera@visitor.test", "waiting"),
    ], "recorded with what wants them"
    for email in ("owner@alpha.test", "nobody@example.test"):
        ask_for_help(client_for(alpha), email)
    work(alpha)
    told = listed(at, alpha)
    assert told == [(*each[:2], "sent") for each in waiting] + [
        ("owner@alpha.test", "Your password at Alpha Allotments", "sent")
    ]
    page = owner.get(PAGE).text
    assert page.index("Your password at Alpha") < page.index("Re: Boats") < page.index("invites you to Alpha")
    secrets = [token, *(link_in(letter.get_body(("plain",)).get_content(), "set-up") for letter in letters(app)[2:])]
    assert not [each for each in [*secrets, "the blue one"] if each in page]
    assert "Boats" in owner.get(PAGE, query_string={"state": "sent"}).text
    assert "None like that" in owner.get(PAGE, query_string={"state": "refused"}).text
    assert owner.get(PAGE, query_string={"page": 2}).status_code == 404


def test_a_letter_that_was_not_wanted_after_all_is_not_listed(at, alpha):
    def fail():
        db.session.get(User, 1).warn("codes_made")
        raise KeyError

    with pytest.raises(KeyError):
        at(alpha, fail)
    assert listed(at, alpha) == []


def test_while_the_relay_is_down_letters_wait_and_the_page_says_so(at, alpha, signed_in, work, relay):
    owner = signed_in(alpha)
    invite(owner)
    relay("smtp://127.0.0.1:1")
    work(alpha)
    page = owner.get(PAGE).text
    assert "Letters cannot leave right now" in page
    assert "does not answer" in page
    assert "next try" in page.partition("invites you")[2]
    assert "Letters do not reach anybody yet" not in page
    relay("")
    with time_machine.travel(utcnow() + timedelta(minutes=5), tick=True):
        work(alpha)
    page = owner.get(PAGE).text
    assert "Letters cannot leave right now" not in page
    assert "Letters do not reach anybody yet" in page
    assert [standing for *_, standing in listed(at, alpha)] == ["sent"]


def test_what_is_refused_or_given_up_says_why_and_where_to_send_it_once_more(
    at, alpha, signed_in, work, answer, relay, monkeypatch
):
    owner = signed_in(alpha)
    answer()
    relay("smtp://127.0.0.1:1")
    work(alpha)
    with time_machine.travel(utcnow() + timedelta(days=2, hours=1)):
        work(alpha)
    monkeypatch.setattr(mail, "send", refuse)
    invite(owner)
    at(alpha, lambda: db.session.get(User, 1).warn("codes_made"))
    work(alpha)
    assert [standing for *_, standing in listed(at, alpha)] == ["given_up", "refused", "refused"]
    page = owner.get(PAGE).text
    assert "550 we like no" in page
    assert "token-that-lets-somebody-in" not in page
    assert 'href="/desk/inbox/1"' in page
    assert 'href="/desk/people/"' in page


def refuse(*_):
    raise mail.MailRefused("The relay refused it: 550 we like no alpha.test/sign-in/link/token-that-lets-somebody-in.")


def test_what_was_set_aside_is_tried_again_and_sent_once(app, at, alpha, signed_in, client_for, work, relay):
    owner = signed_in(alpha)
    ask_for_help(client_for(alpha), "owner@alpha.test")
    relay("smtp://127.0.0.1:1")
    for minutes in range(0, 80, 10):
        with time_machine.travel(utcnow() + timedelta(minutes=minutes), tick=True):
            work(alpha)
    assert [standing for *_, standing in listed(at, alpha)] == ["set_aside"]
    assert "Letters cannot leave right now" in owner.get(PAGE).text
    relay("")
    for _ in range(2):
        assert post(owner, f"{PAGE}/1/attempts").status_code == 303
    work(alpha)
    assert listed(at, alpha) == [("owner@alpha.test", "Your password at Alpha Allotments", "sent")]
    assert len(letters(app)) == 1, "links that never left are not counted among the three that may be open"
    assert post(owner, f"{PAGE}/1/attempts").status_code == 303
    work(alpha)
    assert len(letters(app)) == 1


def test_who_may_not_read_the_inbox_or_manage_people_learns_of_none_of_their_letters(
    app, at, alpha, signed_in, work, answer
):
    at(alpha, lambda: Role.make("Look", ["settings.manage"], by=db.session.get(User, 1)))
    key = at(alpha, lambda: next(role.key for role in Role.every() if role.is_made))
    join(at, alpha, role=key)
    mia = browser_of(app, alpha, "mia@example.test")
    invite(signed_in(alpha))
    answer()
    at(alpha, lambda: db.session.execute(update(Due).values(set_aside_at=utcnow())))
    assert "No letter yet" in mia.get(PAGE).text
    assert [post(mia, f"{PAGE}/{number}/attempts").status_code for number in (1, 2)] == [404, 404]


def test_what_came_to_nothing_says_so(at, alpha, signed_in, work):
    owner = signed_in(alpha)
    invite(owner)
    post(owner, "/desk/people/invitations/1/withdrawal")
    work(alpha)
    assert [standing for *_, standing in listed(at, alpha)] == ["dropped"]
    assert "nothing to send when its turn came" in owner.get(PAGE, query_string={"state": "dropped"}).text


def test_records_go_after_ninety_days_and_with_their_person(at, alpha, work):
    number = join(at, alpha, "mia@münchen.example")
    at(alpha, lambda: [db.session.get(User, each).warn("codes_made") for each in (1, number)])
    work(alpha)
    assert [email for email, *_ in listed(at, alpha)] == ["owner@alpha.test", "mia@münchen.example"]
    at(alpha, lambda: db.session.get(User, number).remove(by=db.session.get(User, 1)))
    assert [email for email, *_ in listed(at, alpha)] == ["owner@alpha.test"]
    with time_machine.travel(utcnow() + timedelta(days=89)):
        at(alpha, Outgoing.sweep)
    assert len(listed(at, alpha)) == 1
    with time_machine.travel(utcnow() + timedelta(days=91)):
        at(alpha, Outgoing.sweep)
    assert listed(at, alpha) == []


def test_the_platforms_own_letter_is_none_of_the_organisation_whose_job_sends_it(app, at, alpha, work):
    join(at, alpha)
    at(alpha, lambda: later("accounts.send_organisations", address=organisations.sealed("mia@example.test")))
    work(alpha)
    assert len(letters(app)) == 1
    assert listed(at, alpha) == []


def test_every_letter_of_an_organisation_leaves_by_one_way():
    senders = {file.relative_to(ROOT).as_posix() for file in (ROOT / "app").rglob("*.py") if sends(file)}
    assert senders == {"app/facilities/outgoing.py", "app/accounts/organisations.py"}


def sends(file: Path) -> bool:
    return "mail.send(" in file.read_text()
