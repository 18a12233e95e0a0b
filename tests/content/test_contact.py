"""A visitor writes to the organisation."""

import io
import json
import os
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import select, text

from app.content import find_submission
from app.content.models import Submission
from app.content.models.submission import PER_ORGANISATION, PER_VISITOR
from app.facilities.events import Event
from app.inbox import Conversation
from app.tenancy import current_version, db
from tests.printed import filled_in, printed_token

WORDS = {"name": "Ada Visitor", "email": "Ada@Visitor.test", "subject": "Rowing", "text": "May I come on Saturday?"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def write(client_for):
    """Fill in the form of a tenant as a visitor's browser would, and send it."""

    def send(tenant, *, address="192.0.2.1", headers=None, **changes):
        browser = client_for(tenant)
        form = filled_in(browser.get("/contact").text, **{**WORDS, **changes})
        return browser.post("/contact", data=form, headers=headers, environ_overrides={"REMOTE_ADDR": address})

    return send


@pytest.fixture
def arrived(inside):
    """Return what a tenant's file holds, oldest first."""

    def read(tenant):
        with inside(tenant):
            return list(db.session.scalars(select(Submission).order_by(Submission.id)))

    return read


@pytest.fixture
def received(inside):
    """Return the events of a tenant that say that something was received."""

    def read(tenant):
        with inside(tenant):
            return list(db.session.scalars(select(Event).where(Event.kind == "SubmissionReceived")))

    return read


def test_what_a_visitor_writes_is_stored_and_then_told(alpha, beta, write, arrived, received, inside):
    answer = write(alpha)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/contact/thanks")
    [submission] = arrived(alpha)
    assert (submission.name, submission.subject) == ("Ada Visitor", "Rowing")
    assert (submission.email, submission.text) == ("ada@visitor.test", "May I come on Saturday?")
    assert (submission.state, submission.reason) == ("received", "")
    [event] = received(alpha)
    assert (event.subject, event.audience) == (f"submission:{submission.id}", "nobody")
    assert (event.actor, event.payload) == (None, {})
    with inside(alpha):
        assert find_submission(event.subject_id).text == WORDS["text"]
        assert find_submission(99) is None
    assert not arrived(beta)
    assert not received(beta)


def test_a_visitor_is_told_that_it_arrived(alpha, client_for):
    answer = client_for(alpha).get("/contact/thanks")
    assert answer.status_code == 200
    assert "has arrived" in answer.text
    assert "Alpha Allotments" in answer.text


def test_without_a_subject_it_goes_by_its_first_words(alpha, write, arrived):
    write(alpha, subject=" ", text="Good morning,\n\nis the plot by the gate free again? I would like to have it.")
    assert arrived(alpha)[0].subject == "Good morning, is the plot by the gate free again?…"


# The page


def test_a_new_organisation_has_the_form_in_its_menu(alpha, client_for):
    browser = client_for(alpha)
    assert '<a href="/contact">Contact</a>' in browser.get("/").text
    page = browser.get("/contact").text
    assert '<a href="/contact" aria-current="page">Contact</a>' in page
    assert "Alpha Allotments" in page


def test_a_page_at_that_address_stands_above_the_form(alpha, client_for, publish):
    parent = publish(alpha, "page", "Find us", "At the **gate**.", slug="contact")
    publish(alpha, "page", "By bicycle", under=parent)
    page = client_for(alpha).get("/contact").text
    assert '<h1 dir="auto">Find us</h1>' in page
    assert "<strong>gate</strong>" in page
    assert 'href="/contact/by-bicycle"' in page
    assert 'name="email"' in page


@pytest.mark.parametrize("given", [{"draft": True}, {"visibility": "members"}])
def test_a_page_that_visitors_may_not_see_is_not_shown_with_it(alpha, client_for, publish, given):
    publish(alpha, "page", "Hidden words", slug="contact", **given)
    page = client_for(alpha).get("/contact").text
    assert "Hidden words" not in page
    assert 'name="email"' in page


def test_a_front_page_called_contact_stays_at_the_front(alpha, client_for, publish, change):
    change(alpha, publish(alpha, "page", "Find us", slug="contact"), "make_front")
    assert "Find us" not in client_for(alpha).get("/contact").text


def test_a_changed_page_shows_at_once(alpha, client_for, publish, change):
    entry = publish(alpha, "page", "Find us", "At the gate.", slug="contact")
    browser = client_for(alpha)
    before = browser.get("/contact")
    change(alpha, entry, "revise", "Find us", "By the pond.")
    after = browser.get("/contact", headers={"If-None-Match": before.headers["ETag"]})
    assert "By the pond." in after.text


def test_the_address_with_a_slash_leads_to_the_form(alpha, client_for):
    answer = client_for(alpha).get("/contact/")
    assert (answer.status_code, answer.headers["Location"]) == (301, "/contact")


def test_the_page_sets_no_cookie_and_may_be_kept_by_anybody_who_asks_again(alpha, client_for):
    browser = client_for(alpha)
    with time_machine.travel(datetime(2026, 5, 1, 12, 5, tzinfo=UTC), tick=False):
        first = browser.get("/contact")
        again = browser.get("/contact", headers={"If-None-Match": first.headers["ETag"]})
    assert "Set-Cookie" not in first.headers
    assert first.headers["Cache-Control"] == "public, max-age=0, must-revalidate"
    assert (again.status_code, again.data) == (304, b"")


def test_a_kept_page_never_grows_so_old_that_its_form_is_refused(alpha, client_for):
    browser = client_for(alpha)
    with time_machine.travel(datetime(2026, 5, 1, 12, 5, tzinfo=UTC), tick=False):
        first = browser.get("/contact")
    with time_machine.travel(datetime(2026, 5, 1, 13, 5, tzinfo=UTC), tick=False):
        later = browser.get("/contact", headers={"If-None-Match": first.headers["ETag"]})
        assert later.status_code == 200
        assert printed_token(later.text) != printed_token(first.text)
        sent = browser.post("/contact", data=filled_in(later.text, **WORDS))
    assert sent.status_code == 303


def test_what_visitors_send_changes_no_page(alpha, write, inside):
    with inside(alpha):
        before = current_version()
    write(alpha)
    with inside(alpha):
        assert current_version() == before


def test_a_member_writes_too_and_the_page_is_kept_for_nobody(alpha, signed_in, arrived):
    member = signed_in(alpha)
    page = member.get("/contact")
    assert page.headers["Cache-Control"] == "private, no-store"
    form = next(part for part in page.text.split("<form") if 'action="/contact"' in part)
    token = re.search(r'name="csrf_token" value="([^"]+)"', form).group(1)
    assert member.post("/contact", data={**WORDS, "csrf_token": token}).status_code == 303
    assert len(arrived(alpha)) == 1


# Once, whatever happens on the way


def test_the_same_form_sent_twice_is_one(alpha, client_for, arrived, received):
    browser = client_for(alpha)
    form = filled_in(browser.get("/contact").text, **WORDS)
    for _ in range(8):
        assert browser.post("/contact", data=form).status_code == 303
    assert len(arrived(alpha)) == len(received(alpha)) == 1


def test_the_same_form_sent_by_many_hands_at_once_is_one(app, alpha, client_for, arrived, received):
    form = filled_in(client_for(alpha).get("/contact").text, **WORDS)
    answers = []

    def send():
        client = app.test_client(use_cookies=False)
        answers.append(client.post("/contact", data=form, headers={"Host": "alpha.localhost"}).status_code)

    hands = [threading.Thread(target=send) for _ in range(8)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert answers == [303] * 8
    assert len(arrived(alpha)) == len(received(alpha)) == 1


def test_other_words_from_the_same_page_are_another_message(alpha, client_for, arrived):
    browser = client_for(alpha)
    form = filled_in(browser.get("/contact").text, **WORDS)
    for text_sent in ("One.", "Two."):
        browser.post("/contact", data={**form, "text": text_sent})
    assert [submission.text for submission in arrived(alpha)] == ["One.", "Two."]


# Who may not


def test_a_field_that_only_programs_see_makes_it_spam(alpha, client_for, write, arrived, received):
    page = client_for(alpha).get("/contact").text
    trap = page[page.index('aria-hidden="true" inert') :].split("</form>")[0]
    assert 'name="homepage"' in trap
    assert 'tabindex="-1"' in trap
    answer = write(alpha, homepage="https://spam.example")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/contact/thanks")
    [submission] = arrived(alpha)
    assert submission.is_spam
    assert submission.reason
    assert len(received(alpha)) == 1


def test_a_form_without_a_good_time_of_rendering_comes_back_with_its_words(alpha, beta, client_for, arrived):
    elsewhere = printed_token(client_for(beta).get("/contact").text)
    second = elsewhere.split(".")[0]
    for token in ("", "x", f"{second}.0", elsewhere, "9" * 400 + ".x", "\x00", "é.é"):
        answer = client_for(alpha).post("/contact", data={**WORDS, "csrf_token": token})
        assert answer.status_code == 422, token
        assert "once more" in answer.text
        assert WORDS["text"] in answer.text
        assert answer.headers["Cache-Control"] == "private, no-store"
    assert client_for(alpha).post("/contact", data=WORDS).status_code == 422
    assert not arrived(alpha)


def test_a_form_a_day_old_comes_back_and_can_then_be_sent(alpha, client_for, arrived):
    browser = client_for(alpha)
    with time_machine.travel(datetime.now(UTC) - timedelta(hours=25), tick=True):
        old = filled_in(browser.get("/contact").text, **WORDS)
    back = browser.post("/contact", data=old)
    assert back.status_code == 422
    assert not arrived(alpha)
    assert browser.post("/contact", data=filled_in(back.text)).status_code == 303
    assert arrived(alpha)[0].text == WORDS["text"]


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
def test_a_form_on_another_site_reaches_nobody(alpha, write, arrived, headers):
    assert write(alpha, headers=headers).status_code == 403
    assert not arrived(alpha)


# How much


def test_from_one_place_only_so_many_come_in_a_while(alpha, write, arrived):
    with time_machine.travel(datetime(2026, 5, 1, 12, 0, tzinfo=UTC), tick=False) as clock:
        for number in range(PER_VISITOR.most):
            assert write(alpha, text=f"Message {number}").status_code == 303
            clock.shift(60)
        answer = write(alpha, text="A sixth <one>")
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) == 5 * 60 + 1
        assert answer.headers["RateLimit-Policy"] == '"visitor";q=5;w=600'
        assert answer.headers["RateLimit"] == '"visitor";r=0;t=301'
        assert "6 minutes" in answer.text
        assert "A sixth &lt;one&gt;" in answer.text
        assert len(arrived(alpha)) == PER_VISITOR.most
        assert write(alpha, address="192.0.2.2", text="A neighbour").status_code == 303
        clock.shift(5 * 60 + 1)
        assert write(alpha, text="A sixth one").status_code == 303
        assert write(alpha, text="A seventh").status_code == 429


def test_each_house_counts_for_itself(alpha, beta, write):
    for number in range(PER_VISITOR.most):
        write(alpha, text=f"Message {number}")
    assert write(alpha, text="One too many").status_code == 429
    assert write(beta, text="The first").status_code == 303


def test_midnight_forgives_nobody(alpha, write):
    with time_machine.travel(datetime(2026, 5, 1, 23, 58, tzinfo=UTC), tick=False) as clock:
        for number in range(PER_VISITOR.most):
            write(alpha, text=f"Message {number}")
        clock.shift(180)
        assert write(alpha, text="One too many").status_code == 429


def test_a_clock_set_back_locks_nobody_out(alpha, write):
    with time_machine.travel(datetime(2026, 5, 2, tzinfo=UTC), tick=False):
        for number in range(PER_VISITOR.most):
            write(alpha, text=f"Message {number}")
    with time_machine.travel(datetime(2026, 5, 1, tzinfo=UTC), tick=False):
        answer = write(alpha, text="Yesterday")
        assert answer.status_code == 303 or int(answer.headers["Retry-After"]) <= 601


def test_the_same_form_again_is_no_message_too_many(alpha, client_for, write):
    browser = client_for(alpha)
    form = filled_in(browser.get("/contact").text, **WORDS)
    send = {"data": form, "environ_overrides": {"REMOTE_ADDR": "192.0.2.1"}}
    assert browser.post("/contact", **send).status_code == 303
    for number in range(PER_VISITOR.most - 1):
        write(alpha, text=f"Message {number}")
    assert write(alpha, text="One too many").status_code == 429
    assert browser.post("/contact", **send).status_code == 303


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("nonsense", "nonsense", True),
    ],
)
def test_what_counts_as_one_place(alpha, write, arrived, first, second, same):
    write(alpha, address=first)
    write(alpha, address=second, text="Something else")
    one, other = (submission.origin for submission in arrived(alpha))
    assert (one == other) is same


def test_behind_the_front_it_counts_whom_the_front_speaks_for(alpha, write, arrived):
    for number, told in enumerate(["192.0.2.7", "203.0.113.9, 192.0.2.7", "192.0.2.8"]):
        write(alpha, address="", headers={"X-Forwarded-For": told}, text=str(number))
    write(alpha, address="192.0.2.7", headers={"X-Forwarded-For": "198.51.100.1"}, text="Not by the front")
    origins = [submission.origin for submission in arrived(alpha)]
    assert origins[0] == origins[1] == origins[3] != origins[2]


def test_an_unknown_place_is_counted_with_nobody(alpha, write, arrived):
    for number in range(PER_VISITOR.most + 1):
        assert write(alpha, address="", text=str(number)).status_code == 303
    assert {submission.origin for submission in arrived(alpha)} == {""}


def test_the_mark_of_a_place_is_not_its_address_and_is_forgotten(alpha, beta, write, arrived):
    with time_machine.travel(datetime(2026, 5, 1, 12, tzinfo=UTC), tick=False) as clock:
        write(alpha)
        write(beta)
        clock.shift(timedelta(days=1))
        write(alpha, text="The next day", address="192.0.2.1")
        today = arrived(alpha)[1].origin
        clock.shift(timedelta(days=1, seconds=1))
        write(alpha, text="The day after")
    marks = [submission.origin for submission in arrived(alpha)]
    assert re.fullmatch("[0-9a-f]{16}", marks[2])
    assert marks[:2] == ["", ""]
    assert len({today, marks[2], arrived(beta)[0].origin}) == 3


def test_an_organisation_takes_so_many_an_hour_and_spam_takes_no_room_from_them(alpha, beta, inside, write):
    with inside(alpha):
        now = datetime.now(UTC)
        for number in range(PER_ORGANISATION.most):
            receive(number, at=now - timedelta(minutes=50), spam="a test")
    assert write(alpha, text="A person").status_code == 303
    assert write(alpha, text="Buy this", homepage="x").status_code == 429
    with inside(alpha):
        for number in range(PER_ORGANISATION.most - 1):
            receive(1000 + number, at=now - timedelta(minutes=30))
    answer = write(alpha, text="One too many")
    assert answer.status_code == 429
    assert 29 * 60 <= int(answer.headers["Retry-After"]) <= 30 * 60 + 1
    assert '"organisation";q=100;w=3600' in answer.headers["RateLimit-Policy"]
    assert "One too many" in answer.text
    assert write(beta).status_code == 303


def receive(number, *, at, spam=""):
    """Put a row where it would be if it had come `at` that time."""
    state = "spam" if spam else "received"
    words = {"name": "N", "email": "n@visitor.test", "subject": "S", "text": "T"}
    db.session.add(Submission(fingerprint=str(number), state=state, reason=spam, created_at=at, **words))


# No room


@pytest.fixture
def full_plan(tenancy, alpha):
    """Leave the tenant no room in its plan."""
    size = tenancy.placements.file(alpha.id).stat().st_size
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(
            text("UPDATE tier_cap SET cap = :size WHERE tier = 'standard' AND meter = 'storage'"), {"size": size}
        )
    return tenancy.registry.by_slug("alpha")


def test_a_full_plan_is_told_plainly_and_the_words_kept(full_plan, alpha, write, arrived, received):
    long = "A long letter. " * 1300
    answers = [write(alpha, text=f"{number} {long}", address=f"192.0.2.{number}") for number in range(8)]
    assert [answer.status_code for answer in answers][-3:] == [403] * 3
    assert "no room" in answers[-1].text
    assert f"7 {long}".strip() in answers[-1].text
    assert len(arrived(alpha)) == len(received(alpha)) == [answer.status_code for answer in answers].count(303)


def test_a_full_disk_is_told_plainly_and_nothing_is_half_stored(
    small_disk, alpha, client_for, arrived, received, inside
):
    browser = client_for(alpha)
    form = filled_in(browser.get("/contact").text, **{**WORDS, "text": "A long letter. " * 1300})
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill(ballast)
    answer = browser.post("/contact", data=form)
    assert answer.status_code == 507
    assert "no room" in answer.text
    assert "A long letter. A long letter." in answer.text
    assert not arrived(alpha)
    assert not received(alpha)
    with inside(alpha):
        assert Conversation.count() == 0
    ballast.unlink()
    assert browser.post("/contact", data=form).status_code == 303
    assert len(arrived(alpha)) == len(received(alpha)) == 1


def fill(path):
    """Write until there is no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)


# Awkward words


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada\r\nBcc: everybody@example.org", "Ada Bcc: everybody@example.org"),
        ("\x00Ada\x1b[31m\x7f", "Ada[31m"),
        ("Ada\u2028Bcc: x\x85y", "Ada Bcc: x y"),
        ("דנה לוי", "דנה לוי"),
        ("👩🏽‍🌾 Zoë  O’Neill", "👩🏽‍🌾 Zoë O’Neill"),
        ("<b>Ada</b>", "<b>Ada</b>"),
    ],
)
def test_a_name_is_one_line(alpha, write, arrived, name, shown):
    assert write(alpha, name=name, subject=name).status_code == 303
    assert arrived(alpha)[0].name == arrived(alpha)[0].subject == shown


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("One\r\ntwo\rthree\nfour", "One\ntwo\nthree\nfour"),
        ("  \n\nHello\x00 there\x08\n\n ", "Hello there"),
        ("שלום וברכה\n\u202eabc", "שלום וברכה\n\u202eabc"),
        ("🌧️" * 3000, "🌧️" * 3000),
        ("<script>alert(1)</script> {{ 7*7 }} ' OR 1=1 --", "<script>alert(1)</script> {{ 7*7 }} ' OR 1=1 --"),
        ("x" * 20_000, "x" * 20_000),
    ],
)
def test_a_text_arrives_as_it_was_written(alpha, write, arrived, sent, stored):
    assert write(alpha, text=sent).status_code == 303
    assert arrived(alpha)[0].text == stored


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "x" * 20_001},
        {"text": "🌧️ und שלום " * 9000},
        {"text": " \n\x00 "},
        {"name": ""},
        {"name": " \x00 "},
        {"name": "x" * 101},
        {"subject": "x" * 151},
        {"email": ""},
        {"email": "nobody"},
        {"email": "a@b"},
        {"email": "a@b@c.example"},
        {"email": "ada@visitor.test\r\nBcc: everybody@example.org"},
        {"email": "ada@visitor.test, eve@visitor.test"},
        {"email": '"><script>@visitor.test'},
        {"email": "Ada <ada@visitor.test>"},
        {"email": "x" * 300 + "@visitor.test"},
        {"email": "ada@127.0.0.1"},
        {"email": "ada@visitor..test"},
        {"email": "\u202eada@visitor.test\x00 x"},
    ],
)
def test_what_cannot_be_answered_comes_back_with_its_words(alpha, write, arrived, changes):
    answer = write(alpha, **changes)
    assert answer.status_code == 422
    assert "Please look at" in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "<script>@" not in answer.text
    if "text" not in changes:
        assert WORDS["text"] in answer.text
    assert not arrived(alpha)


@pytest.mark.parametrize("left_out", ["name", "email", "text"])
def test_a_field_that_is_not_sent_is_asked_for(alpha, client_for, arrived, left_out):
    browser = client_for(alpha)
    form = filled_in(browser.get("/contact").text, **WORDS)
    del form[left_out]
    answer = browser.post("/contact", data=form)
    assert answer.status_code == 422
    assert f'href="#{left_out}"' in answer.text
    assert not arrived(alpha)


def test_words_that_come_back_stay_words(alpha, write):
    answer = write(alpha, name="", text='</textarea><script>alert("x")</script>', subject='" autofocus onfocus="x')
    assert "<script>alert" not in answer.text
    assert '" autofocus' not in answer.text


def test_what_is_no_form_is_refused_and_breaks_nothing(alpha, client_for, arrived):
    browser = client_for(alpha)
    token = printed_token(browser.get("/contact").text)
    strange = [
        {"json": {**WORDS, "csrf_token": token}},
        {"json": {"csrf_token": 5, "name": ["x"], "email": None, "text": {}}},
        {"data": b"\xff\x00" * 500, "content_type": "application/octet-stream"},
        {"data": json.dumps(WORDS), "content_type": FORM},
        {"data": b"name=%ff%fe&email=%00&text=%ed%a0%80&csrf_token=" + token.encode(), "content_type": FORM},
        {"data": {"csrf_token": token, "name": (io.BytesIO(b"x"), "name.txt"), "text": (io.BytesIO(b"x"), "x.txt")}},
        {"data": {"csrf_token": [token, "other"], "name": ["", "Ada"]}},
        {},
    ]
    for sent in strange:
        assert browser.post("/contact", **sent).status_code == 422, sent
    assert not arrived(alpha)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_are_not_for_this_page(alpha, client_for, method):
    assert client_for(alpha).open("/contact", method=method).status_code == 405
