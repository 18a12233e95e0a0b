"""From a member's answer to a letter that has left, or to why it has not."""

import dataclasses
import socket
import threading
import time
from datetime import timedelta

import pytest
import time_machine
from sqlalchemy import select

from app import create_app
from app.facilities.events import Event
from app.inbox import Box, Conversation, Message
from app.inbox.jobs import send_letter
from app.inbox.letters import letter_of
from app.tenancy import db, due, jobs, utcnow
from tests.conftest import _waiting


@pytest.fixture
def message_of(inside):
    def read(tenant, message_id) -> Message:
        with inside(tenant):
            return db.session.get(Message, message_id)

    return read


def test_a_reply_becomes_a_letter(alpha, inside, begin, act, work, letters, message_of, told):
    number = begin(alpha, "A plot")
    reply = act(alpha, number, "reply", "Yes, one.\n\nCome and see it.")
    assert message_of(alpha, reply).letter_state == "due"
    assert letters() == []
    work(alpha)
    (letter,) = letters()
    assert str(letter["From"]) == "Alpha Allotments <inbox@alpha.localhost>"
    assert str(letter["To"]) == "Ada Lovelace <ada@example.org>"
    assert letter["Subject"] == "Re: A plot"
    assert letter["In-Reply-To"] is None
    assert letter["Auto-Submitted"] is None
    assert letter.get_content().replace("\r\n", "\n") == "Yes, one.\n\nCome and see it.\n"
    sent = message_of(alpha, reply)
    assert (sent.letter_state, sent.letter_id) == ("sent", letter["Message-ID"])
    assert sent.sent_at is not None
    assert told(alpha)[-1] == "LetterSent"


@pytest.mark.parametrize("subject", ["", "Is there a free plot?", "Is there a…"])
def test_a_letter_to_who_gave_no_subject_says_whose_answer_it_is(alpha, begin, act, work, letters, subject):
    act(alpha, begin(alpha, subject), "reply", "Yes.")
    work(alpha)
    assert letters()[0]["Subject"] == "Your message to Alpha Allotments"


def test_a_letter_handed_to_a_relay_is_said_to_be_sent(alpha, app, signed_in, begin, act, inside, monkeypatch):
    number = begin(alpha)
    reply = act(alpha, number, "reply", "Yes.")
    with inside(alpha):
        db.session.get(Message, reply).mark_sent()
    settings = dataclasses.replace(app.config["FREEHOLD"], smtp_url="smtp://relay.test")
    monkeypatch.setitem(app.config, "FREEHOLD", settings)
    page = signed_in(alpha).get(f"/desk/inbox/{number}").text
    assert "<span>Sent " in page
    assert "Written to the outbox" not in page


def test_a_note_is_never_sent(alpha, begin, act, work, letters, message_of, inside, home):
    number = begin(alpha)
    note = act(alpha, number, "note", "He was rude last year.")
    act(alpha, number, "close")
    act(alpha, number, "reopen")
    work(alpha)
    assert letters() == []
    assert message_of(alpha, note).letter_state == ""
    with inside(alpha):
        asked = Event(id=999, kind="ReplyWritten", subject=f"message:{note}", audience="inbox", payload={})
        send_letter(asked)
        with pytest.raises(ValueError, match="nothing else is ever sent"):
            letter_of(db.session.get(Message, note))
    reply = act(alpha, number, "reply", "Dear Ada")
    work(alpha)
    assert message_of(alpha, reply).letter_state == "sent"
    assert "rude" not in letters()[0].as_string()
    assert not [file for file in (home / "instance").rglob("*") if file.is_file() and b"rude last" in file.read_bytes()]


def test_what_the_customer_wrote_is_not_sent_back(alpha, begin, work, letters):
    begin(alpha)
    work(alpha)
    assert letters() == []


def test_letters_of_one_conversation_make_a_thread(alpha, begin, act, work, letters):
    number, other = begin(alpha), begin(alpha, "Re: Another")
    for text in ("One.", "Two.", "Three."):
        act(alpha, number, "reply", text)
        work(alpha)
    act(alpha, other, "reply", "Four.")
    work(alpha)
    first, second, third, fourth = letters()
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert third["In-Reply-To"] == second["Message-ID"]
    assert third["References"].split() == [first["Message-ID"], second["Message-ID"]]
    assert fourth["In-Reply-To"] is None
    assert fourth["Subject"] == "Re: Another"


def test_the_signature_of_the_box_stands_under_the_letter_alone(alpha, inside, begin, act, work, letters, messages):
    with inside(alpha):
        Box.main().signature = "Alpha Allotments\nThe old kiln"
    act(alpha, begin(alpha), "reply", "Yes.")
    work(alpha)
    assert letters()[0].get_content().replace("\r\n", "\n") == "Yes.\n\n-- \nAlpha Allotments\nThe old kiln\n"
    assert messages(alpha)[-1] == ("out", "Yes.")


@pytest.mark.parametrize("evil", ["Ada\r\nBcc: all@example.org", "Ada\nSubject: x\n\nBody", "\x00Bcc: all@example.org"])
def test_nothing_a_visitor_writes_can_address_a_letter(alpha, begin, act, work, letters, evil):
    act(alpha, begin(alpha, evil, evil, name=evil), "reply", f"You wrote: {evil}")
    work(alpha)
    (letter,) = letters()
    assert letter["Bcc"] is None
    assert letter.get_all("Subject") == [letter["Subject"]]
    assert [address.addr_spec for address in letter["To"].addresses] == ["ada@example.org"]


def test_a_letter_sent_twice_by_a_job_cut_short_is_one_file(alpha, inside, begin, act, work, letters, message_of, told):
    reply = act(alpha, begin(alpha), "reply", "Yes.")
    with inside(alpha):
        event = db.session.scalars(select(Event).where(Event.kind == "ReplyWritten")).one()
        send_letter(event)
        db.session.rollback()  # as if the worker had been killed between the letter and the commit
    assert message_of(alpha, reply).letter_state == "due"
    work(alpha)
    work(alpha)
    assert len(letters()) == 1
    assert told(alpha).count("LetterSent") == 1


def test_the_houses_letters_do_not_meet(alpha, beta, begin, act, work, letters):
    for tenant in (alpha, beta):
        act(tenant, begin(tenant), "reply", f"From {tenant.name}.")
        work(tenant)
    assert {letter["From"].addresses[0].domain for letter in letters()} == {"alpha.localhost", "beta.localhost"}
    assert len({letter["Message-ID"] for letter in letters()}) == 2


@pytest.fixture
def no_relay(home, config_of):
    """An application whose relay is not there."""
    app = create_app(config_of(home, FREEHOLD_SMTP_URL="smtp://127.0.0.1:1"))
    app.testing = True
    yield app
    app.extensions["tenancy"].close()


def try_letters(app, tenant, at) -> None:
    """Let the tenant's due jobs run in `app` at that moment."""
    with time_machine.travel(at, tick=True):
        for envelope in _waiting(app, tenant):
            with app.app_context():
                jobs.perform(envelope)


def test_a_relay_that_is_down_is_tried_again_and_the_page_says_so(
    alpha, inside, begin, act, work, letters, message_of, no_relay, signed_in
):
    number = begin(alpha)
    reply = act(alpha, number, "reply", "Yes.")
    try_letters(no_relay, alpha, utcnow())
    waiting = message_of(alpha, reply)
    assert waiting.letter_state == "due"
    assert "does not answer" in waiting.letter_error
    with inside(alpha):
        row = db.session.scalars(select(due.Due).where(due.Due.job == "inbox.send_letter")).one()
        assert (row.attempts, row.set_aside_at) == (1, None)
    assert "it is tried again by itself" in signed_in(alpha).get(f"/desk/inbox/{number}").text
    with time_machine.travel(utcnow() + timedelta(minutes=5), tick=True):
        work(alpha)
    sent = message_of(alpha, reply)
    assert (sent.letter_state, sent.letter_error, len(letters())) == ("sent", "", 1)


def test_after_two_days_a_letter_has_failed_and_a_member_may_send_it_again(
    alpha, inside, begin, act, work, letters, message_of, no_relay, signed_in, told
):
    number = begin(alpha)
    reply = act(alpha, number, "reply", "Yes.")
    try_letters(no_relay, alpha, utcnow())
    try_letters(no_relay, alpha, utcnow() + timedelta(days=2, hours=1))
    assert message_of(alpha, reply).letter_state == "failed"
    assert told(alpha)[-1] == "LetterFailed"
    browser = signed_in(alpha)
    page = browser.get(f"/desk/inbox/{number}").text
    assert "Not sent." in page
    assert "Try again" in page
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    for _ in range(2):
        answer = browser.post(f"/desk/inbox/{number}/messages/{reply}/letter", data={"csrf_token": token})
        assert answer.status_code == 303
    work(alpha)
    assert message_of(alpha, reply).letter_state == "sent"
    assert len(letters()) == 1
    assert told(alpha)[-2:] == ["LetterRetried", "LetterSent"]


def test_a_letter_keeps_trying_for_longer_than_its_tries_would_run_out(alpha, begin, act, no_relay, inside):
    act(alpha, begin(alpha), "reply", "Yes.")
    at = utcnow()
    for _ in range(60):
        try_letters(no_relay, alpha, at)
        at += timedelta(hours=1)
        with inside(alpha):
            assert db.session.scalar(select(due.Due.set_aside_at).where(due.Due.set_aside_at.is_not(None))) is None
    with inside(alpha):
        assert db.session.scalars(select(Message.letter_state).where(Message.kind == "out")).one() == "failed"
        assert db.session.scalars(select(due.Due.job).where(due.Due.job == "inbox.send_letter")).all() == []


def test_an_address_that_is_none_after_all_fails_at_once(alpha, inside, begin, act, work, message_of, letters):
    number = begin(alpha)
    reply = act(alpha, number, "reply", "Yes.")
    with inside(alpha):
        db.session.get(Conversation, number).contact.email = "ada@@example.org\n"
    work(alpha)
    failed = message_of(alpha, reply)
    assert failed.letter_state == "failed"
    assert "not an address" in failed.letter_error
    assert letters() == []


def test_a_relay_that_takes_its_time_locks_nobody_out(alpha, begin, act, home, config_of, messages):
    act(alpha, begin(alpha), "reply", "Yes.")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(config_of(home, FREEHOLD_SMTP_URL=f"smtp://127.0.0.1:{listener.getsockname()[1]}"))
        sending = threading.Thread(target=try_letters, args=(app, alpha, utcnow()), daemon=True)
        sending.start()
        peer, _ = listener.accept()  # the job waits for a greeting now
        began = time.monotonic()
        begin(alpha, text="Meanwhile")
        assert time.monotonic() - began < 1
        peer.close()
        sending.join(20)
    app.extensions["tenancy"].close()
    assert messages(alpha)[-1] == ("in", "Meanwhile")
