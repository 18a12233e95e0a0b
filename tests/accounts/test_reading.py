"""By whose clocks people read, and how dates and numbers are written for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event, select

from app.accounts import User
from app.branding import Site
from app.chat.models import Line, Room
from app.content.models import Entry
from app.facilities import events, storage
from app.facilities.reader import LANGUAGES, Reader
from app.tenancy import db
from tests.accounts.people import browser_of, join, post
from tests.accounts.test_live import Reader as Stream

THEN = datetime(2026, 3, 7, 23, 5, 9, tzinfo=UTC)


def read_in(browser, language="de", time_zone="Asia/Tokyo"):
    return post(browser, "/desk/profile/reading", language=language, time_zone=time_zone)


@pytest.mark.parametrize(
    ("language", "moment", "number", "size"),
    [
        ("en-GB", "8 March 2026, 08:05 JST", "1,234,567", "1.5 GiB"),
        ("en-US", "March 8, 2026, 8:05\u202fAM JST", "1,234,567", "1.5 GiB"),
        ("de", "8. März 2026, 08:05 JST", "1.234.567", "1,5 GiB"),
        ("fr", "8 mars 2026, 08:05 JST", "1\u202f234\u202f567", "1,5 GiB"),
        ("pl", "8 marca 2026, 08:05 JST", "1\u00a0234\u00a0567", "1,5 GiB"),
    ],
)
def test_dates_times_and_numbers_are_written_as_in_each_language(language, moment, number, size):
    reader = Reader(language, "Asia/Tokyo")
    assert (reader.moment(THEN), reader.number(1234567), reader.size(3 << 29)) == (moment, number, size)


def test_every_language_that_is_offered_is_known():
    for language in LANGUAGES:
        assert "2026" in Reader(language).weekday(THEN)


def test_a_person_reads_by_their_own_clocks_and_everybody_else_by_the_organisations(at, alpha, signed_in, app):
    def furnish():
        Site.mine().speak("en", "America/New_York")
        post = Entry.write("post", "News", "Words")
        post.publish()
        db.session.get(User, 1).created_at = post.published_at = THEN
        db.session.add(
            Line(room_id=1, author_name="Freehold", kind="told", source="x", html="<p>x</p>", created_at=THEN)
        )

    join(at, alpha)
    at(alpha, furnish)
    owner, mia = signed_in(alpha), browser_of(app, alpha, "mia@example.test")
    assert read_in(owner).status_code == 303
    page = owner.get("/desk/people/").text
    assert 'lang="de" datetime="2026-03-07T23:05:09+00:00" title="8. März 2026, 08:05 JST">8. März 2026</time>' in page
    assert 'time-zone="Asia/Tokyo"' in page, "what is near is told in words by the browser, by the same clocks"
    assert "7 March 2026, 18:05 EST" in mia.get("/desk/people/").text
    assert "Sonntag, 8. März 2026" in owner.get("/desk/chat/rooms/1").text
    assert "Saturday, 7 March 2026" in mia.get("/desk/chat/rooms/1").text
    assert "By the clocks in Asia/Tokyo" in owner.get("/desk/content/entries/new?kind=post").text
    for browser in (owner, mia):
        assert "7 March 2026" in browser.get("/posts/news").text, "pages of the site are the same for all"
    read_in(owner, "en-GB", "")
    assert "7 March 2026, 18:05 EST" in owner.get("/desk/people/").text


@pytest.mark.parametrize("asked", [{"time_zone": "Mars/Olympus"}, {"language": "tlh"}, {"language": "../de"}])
def test_what_is_not_offered_is_not_taken(at, alpha, signed_in, asked):
    assert read_in(signed_in(alpha), **asked).status_code == 422
    assert at(alpha, lambda: db.session.get(User, 1).language) == "en-GB"


def test_open_pages_hear_of_a_line_as_each_of_their_readers_reads_it(at, alpha, signed_in, app):
    join(at, alpha)
    owner, mia = signed_in(alpha), browser_of(app, alpha, "mia@example.test")
    read_in(owner)
    end = at(alpha, lambda: str(events.position()))
    streams = [Stream(browser, end) for browser in (owner, mia)]
    line = at(alpha, lambda: db.session.scalar(select(Room)).say("Good morning", by=db.session.get(User, 1)))
    for stream, reader in zip(streams, (Reader("de", "Asia/Tokyo"), Reader()), strict=True):
        heard = next(found["html"] for found in iter(stream.next, None) if found.get("kind") == "LinePosted")
        assert f">{reader.time(line.created_at)}</time>" in heard
        assert reader.weekday(line.created_at) in heard


@pytest.fixture
def statements():
    """Return how many statements something asks of the databases."""
    asked = []

    def note(connection, cursor, statement, *rest):
        asked.append(statement)

    def count(work):
        asked.clear()
        work()
        return len(asked)

    event.listen(Engine, "before_cursor_execute", note)
    yield count
    event.remove(Engine, "before_cursor_execute", note)


def test_to_read_in_another_way_and_to_have_a_picture_costs_no_page_a_query(at, alpha, signed_in, statements):
    def choose():
        db.session.get(User, 1).read_in("de", "Asia/Tokyo")
        for number in (1, mia):
            person = db.session.get(User, number)
            person.show_picture(storage.put(b"a picture"))
            room = db.session.scalar(select(Room))
            room.say("Good evening", by=person)
        room.mark_read(db.session.get(User, 1), room.newest_id())
        person.deactivate(by=db.session.get(User, 1))  # no page lists them, and yet their line has their picture

    mia = join(at, alpha)
    at(alpha, lambda: db.session.scalar(select(Room)).say("Good morning", by=db.session.get(User, 1)))
    owner, pages = signed_in(alpha), ("/desk/", "/desk/people/", "/desk/chat/rooms/1", "/desk/inbox/")
    before = {page: statements(lambda page=page: owner.get(page)) for page in pages}
    at(alpha, choose)
    assert {page: statements(lambda page=page: owner.get(page)) for page in pages} == before
    assert all(before.values())
