"""Long rooms, a page at a time, and how lines stand to one another."""

from datetime import UTC, datetime, timedelta

import pytest

from app.branding import Site
from app.chat import Line, log
from app.tenancy import db
from tests.chat.conftest import person, room

NOON = datetime(2027, 3, 6, 12, 0, tzinfo=UTC)


@pytest.fixture
def long_room(alpha, inside) -> list[int]:
    """Return the ids of a hundred lines in `general`."""
    with inside(alpha):
        return [room(1).say(f"Line {number}", by=person(alpha, "owner")).id for number in range(100)]


def ids(page: log.Page) -> list[int]:
    return [shown.line.id for shown in page.lines]


def test_a_room_is_read_page_by_page_in_both_directions(alpha, inside, long_room):
    with inside(alpha):
        page = log.newest(room(1))
        assert (ids(page), page.has_earlier, page.has_later) == (long_room[60:], True, False)
        page = log.before(room(1), page.first_id)
        assert (ids(page), page.has_earlier, page.has_later) == (long_room[20:60], True, True)
        page = log.before(room(1), page.first_id)
        assert (ids(page), page.has_earlier, page.has_later) == (long_room[:20], False, True)
        page = log.after(room(1), page.last_id)
        assert ids(page) == long_room[20:60]


def test_a_line_is_shown_among_those_around_it(alpha, inside, long_room):
    with inside(alpha):
        assert ids(log.around(room(1), long_room[50])) == long_room[30:70]
        assert ids(log.around(room(1), long_room[0])) == long_room[:20]


def test_pages_hold_the_lines_of_their_room_alone(alpha, inside, start, say, long_room):
    boats = start(alpha, "Boats")
    line = say(alpha, "Afloat", room_id=boats)
    with inside(alpha):
        page = log.newest(room(boats))
        assert (ids(page), page.has_earlier) == ([line], False)
        assert ids(log.before(room(boats), 10**18)) == [line]
        assert log.after(room(boats), 10**18).lines == []


def shown_at(alpha, inside, *lines) -> list[log.Shown]:
    """Write lines as (name, kind, moment), and return how they are shown."""
    with inside(alpha):
        for name, kind, moment in lines:
            author = person(alpha, name).id if kind == "said" else None
            written = {"source": "x", "html": "<p>x</p>", "created_at": moment}
            db.session.add(Line(room_id=1, author_id=author, author_name=name, kind=kind, **written))
        db.session.flush()
        return list(log.newest(room(1)).lines)


def test_lines_of_one_breath_stand_under_one_name(alpha, people, inside):
    people(alpha, "Ann")
    shown = shown_at(
        alpha,
        inside,
        ("owner", "said", NOON),
        ("owner", "said", NOON + timedelta(minutes=4)),
        ("owner", "said", NOON + timedelta(minutes=9)),
        ("Ann", "said", NOON + timedelta(minutes=10)),
        ("Inbox", "told", NOON + timedelta(minutes=10)),
        ("Inbox", "told", NOON + timedelta(minutes=11)),
    )
    assert [each.follows for each in shown] == [False, True, False, False, False, True]


def test_days_begin_by_the_clocks_of_the_organisation(alpha, inside):
    with inside(alpha):
        Site.mine().speak("en", "Pacific/Auckland")
    before_midnight = datetime(2027, 3, 6, 10, 58, tzinfo=UTC)
    shown = shown_at(
        alpha, inside, ("owner", "said", before_midnight), ("owner", "said", before_midnight + timedelta(minutes=3))
    )
    assert [(each.time, each.opens_day, each.follows) for each in shown] == [
        ("23:58", True, False),
        ("00:01", True, False),
    ]
    assert shown[1].day == "Sunday, 7 March 2027"


def test_a_line_is_shown_alone_as_it_is_on_its_page(alpha, inside, long_room):
    with inside(alpha):
        pages = [log.newest(room(1)), log.before(room(1), long_room[60])]
        for shown in (each for page in pages for each in page.lines):
            assert log.show(shown.line) == shown
