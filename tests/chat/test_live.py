"""What open pages get: the same bytes as a fresh page, for everybody who may see them."""

import pytest
from lxml.html import fromstring, tostring

from app.accounts import User
from app.chat import Line
from app.facilities import live
from app.tenancy import db, tenant_context
from tests.chat.conftest import person, room


@pytest.fixture
def fragments(app):
    """Return what the process `live` prints for events, outside of any request."""

    def printed(tenant, *events) -> str:
        with app.app_context(), tenant_context(tenant, writes=False):
            return "".join(live.facts(event)["html"] for event in events)

    return printed


def elements(html: str) -> dict[str, str]:
    """Return the lines of a page or fragment by id, without what the page alone knows: who reads it."""
    found = fromstring(f"<div>{html}</div>").xpath("//li[@data-line]")
    for element in found:
        element.set("class", element.get("class").replace(" line-mine", ""))
        element.tail = None
    return {element.get("id"): tostring(element).decode() for element in found}


def test_what_is_pushed_equals_what_a_fresh_page_shows(alpha, people, say, inside, events_of, fragments, browser_of):
    people(alpha, "Ann")
    lines = [say(alpha, f"Line *{number}*", by=name) for number, name in enumerate(["Ann", "Ann", "owner", "Ann"])]
    with inside(alpha):
        db.session.get(Line, lines[1]).edit("Changed", by=person(alpha, "Ann"))
        db.session.get(Line, lines[2]).remove(by=person(alpha, "owner"))
        room(1).tell("A letter", "letter:1", leads_to="/desk/inbox/1")
    happened = events_of(alpha, "LinePosted", "LineEdited", "LineRemoved")
    assert len(happened) == 7
    page = elements(browser_of(alpha, "Ann").get("/desk/chat/rooms/1").text)
    assert elements(fragments(alpha, *happened)) == page
    assert len(page) == 5


def test_a_new_line_goes_to_the_end_of_its_room_and_a_changed_one_to_its_place(
    alpha, say, inside, events_of, fragments
):
    line_id = say(alpha, "Hello")
    with inside(alpha):
        db.session.get(Line, line_id).edit("Hello!", by=person(alpha, "owner"))
    posted, edited = events_of(alpha, "LinePosted", "LineEdited")
    assert '<hx-upsert hx-target="#room-1-lines" key="data-line" sort>' in fragments(alpha, posted)
    assert f'<hx-partial hx-target="#line-{line_id}" hx-swap="outerHTML">' in fragments(alpha, edited)


def test_fragments_carry_nothing_personal(alpha, people, start, say, inside, events_of, fragments):
    people(alpha, "Ann")
    board = start(alpha, "Board", by="Ann", closed=True, members=("owner",))
    say(alpha, "Hello", by="Ann", room_id=board)
    with inside(alpha):
        room(board).leave(person(alpha, "Ann"))
        assert db.session.query(User).count() == 2
    happened = events_of(alpha, "RoomStarted", "MemberInvited", "MemberRemoved", "LinePosted")
    assert len(happened) == 4
    html = fragments(alpha, *happened)
    assert f'id="room-{board}"' in html
    assert "1 person" in html
    for personal in ("csrf", "line-mine", "aria-current", "may-remove"):
        assert personal not in html


def test_whoever_left_is_not_shown_who_is_in_the_room_afterwards(alpha, people, start, inside, events_of, fragments):
    people(alpha, "Ann", "Ben")
    board = start(alpha, "Board", closed=True, members=("Ann",))
    with inside(alpha):
        room(board).leave(person(alpha, "Ann"))
        room(board).invite(person(alpha, "Ben"), by=person(alpha, "owner"))
    for_ann = [each for each in events_of(alpha, "MemberRemoved", "RoomLeft") if each.audience.startswith("person:")]
    assert len(for_ann) == 1
    assert "Ben" not in fragments(alpha, *for_ann)


def test_text_that_looks_like_a_fragment_stays_text(alpha, say, inside, events_of, fragments):
    with inside(alpha):
        person(alpha, "owner").name = '"<hx-partial hx-target=body>'
    say(alpha, '<hx-partial hx-target="body">gone</hx-partial> `<hx-upsert>` [x](/y "<hx-partial>")')
    html = fragments(alpha, *events_of(alpha, "LinePosted"))
    assert html.count("<hx-") == html.count("</hx-") == 1


def test_nothing_is_pushed_for_a_line_that_is_gone(alpha, say, inside, events_of, fragments):
    line_id = say(alpha, "Hello")
    with inside(alpha):
        db.session.delete(db.session.get(Line, line_id))
    assert fragments(alpha, *events_of(alpha, "LinePosted")) == ""
