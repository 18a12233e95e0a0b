"""Saying, changing, removing, and what the system tells."""

import pytest
from sqlalchemy import func, select

from app.chat import Line
from app.tenancy import db
from app.tenancy.errors import Refused
from tests.chat.conftest import person, room


def line(line_id) -> Line:
    found = db.session.get(Line, line_id)
    assert found is not None
    return found


def test_a_line_is_markdown_and_its_html_is_shown_as_text(alpha, say, inside):
    line_id = say(alpha, 'A **bold** <script>x</script> [way](https://a.example "<hx-partial hx-target=body>")')
    with inside(alpha):
        html = line(line_id).html
    assert "<strong>bold</strong>" in html
    assert "<script" not in html
    assert "<hx-" not in html


@pytest.mark.parametrize("text", ["", "  \n ", "\x00\x01"])
def test_a_line_says_something(alpha, inside, text):
    with inside(alpha), pytest.raises(Refused, match="nothing"):
        room(1).say(text, by=person(alpha, "owner"))


def test_a_line_is_of_a_bearable_length(alpha, inside):
    with inside(alpha), pytest.raises(Refused, match="10,000"):
        room(1).say("x" * 10_001, by=person(alpha, "owner"))


@pytest.mark.parametrize(
    "text", ["שלום עולם", "🛶 🚣‍♀️", "a\r\nb", "\u202eevil", "x" * 10_000, "[" * 5_000, "*_" * 5_000]
)
def test_awkward_text_is_kept_as_it_was_written(alpha, say, inside, text):
    line_id = say(alpha, text)
    with inside(alpha):
        assert line(line_id).source == text.replace("\r\n", "\n")
        assert line(line_id).html


def test_a_line_sent_twice_is_written_once(alpha, say, events_of):
    first, again = (say(alpha, "Hello", client_id="abc") for _ in range(2))
    assert first == again
    (posted,) = events_of(alpha, "LinePosted")
    assert (posted.subject, posted.audience, posted.payload) == (f"line:{first}", "room:1", {"room": 1})


def test_a_line_sent_again_after_a_change_is_still_the_same_line(alpha, say, inside):
    line_id = say(alpha, "Helo", client_id="abc")
    with inside(alpha):
        line(line_id).edit("Hello", by=person(alpha, "owner"))
    assert say(alpha, "Helo", client_id="abc") == line_id
    with inside(alpha):
        assert line(line_id).source == "Hello"


def test_another_text_in_a_form_that_was_sent_before_is_not_lost(alpha, say):
    assert say(alpha, "Hello", client_id="abc") != say(alpha, "Goodbye", client_id="abc")


def test_two_people_and_two_rooms_may_use_the_same_client_id(alpha, people, start, say):
    people(alpha, "Ann")
    boats = start(alpha, "Boats")
    lines = {
        say(alpha, "Hello", client_id="1"),
        say(alpha, "Hello", by="Ann", client_id="1"),
        say(alpha, "Hello", room_id=boats, client_id="1"),
    }
    assert len(lines) == 3


def test_a_change_is_told_once_and_the_same_text_is_no_change(alpha, say, inside, events_of):
    line_id = say(alpha, "Helo")
    with inside(alpha):
        for text in ("Helo", "Hello", "Hello "):
            line(line_id).edit(text, by=person(alpha, "owner"))
        assert line(line_id).html == "<p>Hello</p>\n"
        assert line(line_id).edited_at is not None
    assert [each.subject for each in events_of(alpha, "LineEdited")] == [f"line:{line_id}"]


def test_a_removed_line_leaves_its_place_and_nothing_of_its_text(alpha, say, inside, events_of, tenancy):
    line_id = say(alpha, "Zanzibar")
    with inside(alpha):
        for _ in range(2):
            line(line_id).remove(by=person(alpha, "owner"))
        assert (line(line_id).source, line(line_id).html, Line.count()) == ("", "", 0)
        with pytest.raises(Refused):
            line(line_id).edit("Back", by=person(alpha, "owner"))
    (removed,) = events_of(alpha, "LineRemoved")
    assert removed.subject == f"line:{line_id}"


def test_the_system_tells_a_thing_once(alpha, inside, events_of):
    with inside(alpha):
        told = [room(1).tell("A letter", "letter:1", leads_to="/desk/inbox/1", name="Inbox").id for _ in range(2)]
        assert told[0] == told[1]
        assert line(told[0]).html == '<p><a href="/desk/inbox/1">A letter</a></p>'
        assert (line(told[0]).kind, line(told[0]).author_id, line(told[0]).author_name) == ("told", None, "Inbox")
        with pytest.raises(Refused):
            line(told[0]).edit("Another", by=person(alpha, "owner"))
    assert len(events_of(alpha, "LinePosted")) == 1


def test_what_the_system_tells_is_plain_whatever_stands_in_it(alpha, inside):
    with inside(alpha):
        told = room(1).tell("<b>x</b> [y](https://evil.example) https://evil.example", "letter:1")
        assert told.html == "<p>&lt;b&gt;x&lt;/b&gt; [y](https://evil.example) https://evil.example</p>"


def test_the_numbers_of_lines_are_never_given_twice(alpha, say, inside):
    line_id = say(alpha, "Gone")
    with inside(alpha):
        db.session.delete(line(line_id))
    assert say(alpha, "New") > line_id


def test_the_other_house_hears_nothing(alpha, beta, say, inside, events_of):
    say(alpha, "Hello")
    with inside(beta):
        assert db.session.scalar(select(func.count()).select_from(Line)) == 0
    assert events_of(beta, "LinePosted") == []
