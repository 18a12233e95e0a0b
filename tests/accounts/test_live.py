"""The stream: who gets what, from where, and when it ends."""

import json
import queue as queues
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from app.accounts import Session, User
from app.accounts.models import SignInRules
from app.facilities import events, live
from app.tenancy import db, tenant_context, utcnow
from tests.conftest import PASSWORD, _client, sign_in
from tests.running import until

HAPPENED = events.kind("TestHeard", "A test says so.", subject="thing")
NOTED = events.kind("TestJotted", "A test says so, with a word.", subject="thing", payload={"word": "a word"})
ROOM = set()


@events.audience("testroom")
def of_room(key, people):
    return people & ROOM


@live.fragment("TestHeard")
def printed(event):
    return f"<p>{event.subject_id}</p>"


class Reader:
    """Reads a stream in a thread of its own, as a browser would."""

    def __init__(self, browser, after="", **headers):
        path = f"/live?after={after}" if after else "/live"
        self.answer = browser.get(path, buffered=False, headers=headers)
        self.messages, self.is_over = queues.Queue(), False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        if self.answer.status_code == 200:
            for frame in self.answer.response:
                lines = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n"))
                self.messages.put({**json.loads(lines["data"]), "name": lines["event"], "id": lines.get("id")})
        self.is_over = True
        self.answer.close()

    def next(self, seconds=3):
        return self.messages.get(timeout=seconds)

    def heard(self, seconds=1.2):
        """Return all that comes within `seconds`."""
        time.sleep(seconds)
        found = []
        while not self.messages.empty():
            found.append(self.messages.get())
        return found


@pytest.fixture
def record(app):
    def run(tenant, *numbers, audience="members"):
        with app.app_context(), tenant_context(tenant):
            for number in numbers:
                events.record(HAPPENED, number, audience=audience)
            db.session.commit()
            return str(events.position())

    return run


@pytest.fixture
def end_of(app):
    def run(tenant):
        with app.app_context(), tenant_context(tenant, writes=False):
            return str(events.position())

    return run


@pytest.fixture
def member(app):
    def join(tenant, email="mia@example.test"):
        from app.accounts import hash_password

        with app.app_context(), tenant_context(tenant):
            user = User.join(email, "Mia", hashed=hash_password(PASSWORD))
            db.session.commit()
            user_id = user.id
        browser = _client(app, tenant.primary_host)
        sign_in(browser, email)
        return browser, user_id

    return join


@pytest.fixture(autouse=True)
def _nobody_in_the_room():
    ROOM.clear()


def subjects(messages):
    return [message["subject"] for message in messages if message["name"] == "message"]


def test_a_visitor_gets_no_stream(client_for, alpha):
    assert client_for(alpha).get("/live").status_code == 401


def test_an_event_comes_by_itself_with_its_fragment(signed_in, alpha, end_of, record):
    reader = Reader(signed_in(alpha), end_of(alpha))
    assert reader.next()["name"] == "beat"
    at = record(alpha, 7)
    message = reader.next()
    assert (message["name"], message["subject"], message["html"], message["id"]) == (
        "message",
        "thing:7",
        "<p>7</p>",
        at,
    )


def test_what_was_missed_comes_exactly_once_and_in_order(signed_in, alpha, record):
    at = record(alpha, 1, 2)
    record(alpha, 3, 4, 5)
    reader = Reader(signed_in(alpha), at)
    record(alpha, 6)
    assert subjects(reader.heard()) == ["thing:3", "thing:4", "thing:5", "thing:6"]


def test_last_event_id_counts_more_than_the_address(signed_in, alpha, record):
    first = record(alpha, 1)
    second = record(alpha, 2)
    record(alpha, 3)
    reader = Reader(signed_in(alpha), first, **{"Last-Event-ID": second})
    assert subjects(reader.heard()) == ["thing:3"]


def test_nothing_is_lost_or_doubled_while_streams_open(signed_in, alpha, end_of, record):
    browser, start = signed_in(alpha), end_of(alpha)
    readers = []
    writer = threading.Thread(target=lambda: [record(alpha, number) for number in range(150)])
    writer.start()
    for _ in range(10):
        readers.append(Reader(browser, start))
        time.sleep(0.05)
    writer.join()
    for reader in readers:
        assert subjects(reader.heard(0.8)) == [f"thing:{number}" for number in range(150)]


@pytest.mark.parametrize(
    "place",
    ["", "garbage", "0-0", "*", "abcd1234-5", "abcd1234--5", "a" * 5000, "ab cd-1", "12345678-99999999999999999999"],
)
def test_a_place_that_means_nothing_begins_anew(signed_in, alpha, record, place):
    at = record(alpha, 1)
    reader = Reader(signed_in(alpha), place.replace(" ", "%20"))
    message = reader.next()
    assert (message["name"], message["id"]) == ("reset", at)


def test_a_place_in_another_tenants_log_begins_anew(signed_in, alpha, beta, record, end_of):
    elsewhere = record(beta, 1)
    record(alpha, 1, 2, 3)
    reader = Reader(signed_in(alpha), elsewhere)
    message = reader.next()
    assert (message["name"], message["id"]) == ("reset", end_of(alpha))


def test_a_place_still_to_come_begins_anew(signed_in, alpha, record):
    epoch, _, number = record(alpha, 1).partition("-")
    assert Reader(signed_in(alpha), f"{epoch}-{int(number) + 1}").next()["name"] == "reset"


def test_a_place_whose_followers_are_forgotten_begins_anew(app, signed_in, alpha, record):
    at = record(alpha, 1)
    record(alpha, 2, 3)
    with app.app_context(), tenant_context(alpha):
        db.session.execute(update(events.Event).values(created_at=utcnow() - timedelta(days=31)))
        db.session.commit()
        events.retire()
        db.session.commit()
    assert Reader(signed_in(alpha), at).next()["name"] == "reset"


def test_a_place_from_before_a_restore_begins_anew_and_open_streams_do_too(
    app, tenancy, signed_in, alpha, record, end_of
):
    at = record(alpha, 1)
    reader = Reader(signed_in(alpha), at)
    assert reader.next()["name"] == "beat"
    file = tenancy.placements.open_file(alpha.id)
    file.execute("UPDATE stamp SET epoch = epoch + 1")
    file.close()
    message = reader.next()
    assert (message["name"], message["id"]) == ("reset", end_of(alpha))
    assert Reader(signed_in(alpha), at).next()["name"] == "reset"


def test_each_sees_only_what_they_may_see_at_that_moment(signed_in, member, alpha, end_of, record):
    owner, (mia, mia_id) = signed_in(alpha), member(alpha)
    start = end_of(alpha)
    ours, hers = Reader(owner, start), Reader(mia, start)
    record(alpha, 1, audience="testroom:5")
    time.sleep(1.2)
    ROOM.add(mia_id)
    record(alpha, 2, audience="testroom:5")
    record(alpha, 3, audience=f"person:{mia_id}")
    record(alpha, 4, audience="may:settings.manage")
    record(alpha, 5, audience="nobody")
    time.sleep(1.2)
    ROOM.clear()
    record(alpha, 6, audience="testroom:5")
    assert subjects(hers.heard()) == ["thing:2", "thing:3"]
    assert subjects(ours.heard(0)) == ["thing:4"]


def test_what_was_missed_is_shown_only_to_who_may_see_it_now(member, alpha, end_of, record):
    mia, mia_id = member(alpha)
    start = end_of(alpha)
    ROOM.add(mia_id)
    record(alpha, 1, audience="testroom:5")
    ROOM.clear()
    record(alpha, 2)
    assert subjects(Reader(mia, start).heard()) == ["thing:2"]


def sign_out(app, browser, user_id, tenant):
    with app.app_context(), tenant_context(tenant):
        db.session.execute(delete(Session).where(Session.user_id == user_id))
        db.session.commit()


def close_account(app, browser, user_id, tenant):
    with app.app_context(), tenant_context(tenant):
        db.session.get(User, user_id).state = "closed"
        db.session.commit()


def suspend(app, browser, user_id, tenant):
    app.extensions["tenancy"].lifecycle.suspend(tenant.slug, "late")


def ask_for_a_factor(app, browser, user_id, tenant):
    with app.app_context(), tenant_context(tenant):
        SignInRules.decide("everybody", by_letter=False)
        db.session.commit()


def archive(app, browser, user_id, tenant):
    app.extensions["tenancy"].lifecycle.archive(tenant.slug)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (sign_out, "signed out"),
        (close_account, "signed out"),
        (ask_for_a_factor, "signed out"),
        (suspend, "paused"),
        (archive, "closed"),
    ],
)
def test_a_stream_ends_within_a_second_of(app, member, alpha, beta, signed_in, end_of, end, reason):
    browser, user_id = member(alpha)
    reader, other = Reader(browser, end_of(alpha)), Reader(signed_in(beta), end_of(beta))
    assert reader.next()["name"] == other.next()["name"] == "beat"
    end(app, browser, user_id, alpha)
    message = reader.next(1.0)
    assert (message["name"], message["reason"]) == ("end", reason)
    until(lambda: reader.is_over, 1)
    assert not other.is_over


def test_a_session_that_has_run_out_ends_its_stream(app, signed_in, alpha, end_of, monkeypatch):
    monkeypatch.setattr(live, "BEAT", 0.2)
    browser = signed_in(alpha)
    with app.app_context(), tenant_context(alpha):
        db.session.execute(update(Session).values(expires_at=utcnow() + timedelta(seconds=1)))
        db.session.commit()
    reader = Reader(browser, end_of(alpha))
    until(lambda: reader.is_over, 3)
    assert reader.heard(0)[-1]["reason"] == "signed out"


def test_who_reads_too_slowly_is_let_go_and_comes_back_where_they_were(
    app, signed_in, alpha, end_of, record, monkeypatch
):
    monkeypatch.setattr(live, "MOST_WAITING", 2000)
    browser, start = signed_in(alpha), end_of(alpha)
    asleep = browser.get(f"/live?after={start}", buffered=False)  # nobody reads it
    record(alpha, *range(40))
    hub = app.extensions["freehold.live"]
    until(lambda: hub.counters.let_go == 1)
    frames = [frame.decode() for frame in asleep.response]
    place = frames[-1].split("id: ")[1].split("\n")[0]
    asleep.close()
    monkeypatch.setattr(live, "MOST_WAITING", 1 << 20)
    got = sum("event: message" in frame for frame in frames)
    assert 0 < got < 40
    assert subjects(Reader(browser, place).heard()) == [f"thing:{number}" for number in range(got, 40)]


def test_one_browser_cannot_hold_all_streams_but_always_gets_one(signed_in, alpha, end_of, monkeypatch):
    monkeypatch.setattr(live, "PER_SESSION", 3)
    browser = signed_in(alpha)
    readers = [Reader(browser, end_of(alpha)) for _ in range(4)]
    assert all(reader.next() for reader in readers)
    until(lambda: readers[0].is_over)
    assert not any(reader.is_over for reader in readers[1:])


def test_one_organisation_cannot_hold_all_streams(signed_in, alpha, beta, end_of, monkeypatch):
    monkeypatch.setattr(live, "PER_TENANT", 2)
    readers = [Reader(signed_in(alpha), end_of(alpha)) for _ in range(2)]
    assert all(reader.next() for reader in readers)
    refusal = signed_in(alpha).get("/live")
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (429, "30")
    assert Reader(signed_in(beta), end_of(beta)).next()["name"] == "beat"


def test_a_fragment_that_cannot_be_printed_costs_the_others_nothing(app, signed_in, alpha, end_of, monkeypatch):
    def broken(event):
        raise RuntimeError("cannot be printed")

    monkeypatch.setitem(live._fragments, "TestJotted", [broken])
    reader = Reader(signed_in(alpha), end_of(alpha))
    with app.app_context(), tenant_context(alpha):
        events.record(NOTED, 1, audience="members", word="x")
        events.record(HAPPENED, 2, audience="members")
        db.session.commit()
    found = [message for message in reader.heard() if message["name"] == "message"]
    assert [message["html"] for message in found] == ["", "<p>2</p>"]


def test_a_beat_tells_how_far_the_log_is_though_nothing_was_for_this_person(
    signed_in, member, alpha, end_of, record, monkeypatch
):
    monkeypatch.setattr(live, "BEAT", 0.3)
    mia, _ = member(alpha)
    reader = Reader(mia, end_of(alpha))
    at = record(alpha, 1, 2, audience="may:settings.manage")
    until(lambda: (found := reader.heard(0.4)) and found[-1]["name"] == "beat" and found[-1]["id"] == at, 4)


def test_no_stream_is_left_behind_when_its_reader_goes(app, signed_in, alpha, end_of):
    browser = signed_in(alpha)
    answer = browser.get(f"/live?after={end_of(alpha)}", buffered=False)
    next(iter(answer.response))
    hub = app.extensions["freehold.live"]
    assert hub.report()["streams"] == 1
    answer.close()
    assert hub.report()["streams"] == 0


def test_the_house_holds_no_connection_between_two_looks(app, tenancy, signed_in, alpha, end_of):
    reader = Reader(signed_in(alpha), end_of(alpha))
    assert reader.next()["name"] == "beat"
    until(lambda: tenancy.pool.leased_count() == 0)
    assert not reader.is_over
    with app.app_context(), tenant_context(alpha):
        assert db.session.scalar(select(Session.id)) is not None


def test_what_is_too_large_for_a_stream_has_the_page_fetch_it_and_stops_nobody(
    signed_in, alpha, end_of, record, monkeypatch
):
    monkeypatch.setitem(live._fragments, "TestHeard", [lambda event: "x" * (2 << 20)])
    reader = Reader(signed_in(alpha), end_of(alpha))
    assert reader.next()["name"] == "beat"
    at = record(alpha, 1)
    message = reader.next()
    assert (message["name"], message["id"]) == ("reset", at)
    monkeypatch.setitem(live._fragments, "TestHeard", [printed])
    record(alpha, 2)
    assert reader.next()["html"] == "<p>2</p>"


def test_who_does_not_even_read_that_it_is_over_is_cut_off(app, signed_in, alpha, end_of, monkeypatch):
    monkeypatch.setattr(live, "LAST_WORDS", 0.2)
    answer = signed_in(alpha).get(f"/live?after={end_of(alpha)}", buffered=False)
    (house,) = app.extensions["freehold.live"]._houses.values()
    (stream,) = house.streams
    is_cut = threading.Event()
    stream.cut = is_cut.set
    sign_out(app, None, stream.person, alpha)
    assert is_cut.wait(5)
    answer.close()
