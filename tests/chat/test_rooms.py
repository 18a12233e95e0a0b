"""Starting rooms, letting people in and out, and how far they have read."""

import pytest

from app.accounts import User
from app.chat import Room
from app.chat.unread import first_unread_id, unread_counts
from app.tenancy import db
from app.tenancy.errors import Refused
from app.tenancy.lifecycle import counts
from tests.chat.conftest import person, room


def test_every_organisation_starts_with_one_open_room(alpha, beta, inside):
    for tenant in (alpha, beta):
        with inside(tenant):
            assert (room(1).name, room(1).kind, Room.count()) == ("general", "open", 1)
            assert (counts["rooms"](), counts["lines"]()) == (1, 0)


def test_starting_a_room_tells_those_who_may_see_it(alpha, start, events_of):
    opened, closed = start(alpha, "Boats"), start(alpha, "Board", closed=True)
    told = events_of(alpha, "RoomStarted")
    assert [(each.subject, each.audience) for each in told] == [
        (f"room:{opened}", f"room:{opened}"),
        (f"room:{closed}", f"room:{closed}"),
    ]


@pytest.mark.parametrize("name", ["GENERAL", " General ", "gen\x00eral", "General\n"])
def test_two_rooms_never_have_the_same_name(alpha, inside, name):
    with inside(alpha), pytest.raises(Refused, match="already"):
        Room.start(name, by=person(alpha, "owner"))


def test_names_in_other_scripts_are_compared_as_people_read_them(alpha, start, inside):
    start(alpha, "Café STRASSE")
    with inside(alpha), pytest.raises(Refused):
        Room.start("cafe\u0301 straße", by=person(alpha, "owner"))


@pytest.mark.parametrize("name", ["", "  ", "\x00", "x" * 61])
def test_a_room_has_a_name_of_a_bearable_length(alpha, inside, name):
    with inside(alpha), pytest.raises(Refused, match="name"):
        Room.start(name, by=person(alpha, "owner"))


def test_inviting_somebody_twice_lets_them_in_once(alpha, people, start, inside, events_of):
    people(alpha, "Ann")
    board = start(alpha, "Board", closed=True, members=("Ann", "Ann"))
    with inside(alpha):
        assert [each.name for each in room(board).members()] == ["Ann", "Olive of Alpha Allotments"]
        ann = person(alpha, "Ann").id
    assert [each.payload for each in events_of(alpha, "MemberInvited")] == [{"person": ann}]


def test_an_open_room_can_neither_be_entered_nor_left(alpha, people, inside):
    people(alpha, "Ann")
    with inside(alpha):
        ann, owner = person(alpha, "Ann"), person(alpha, "owner")
        with pytest.raises(Refused, match="open to everybody"):
            room(1).invite(ann, by=owner)
        with pytest.raises(Refused, match="open to everybody"):
            room(1).leave(ann)


def test_whoever_leaves_is_told_with_those_who_stay(alpha, people, start, inside, events_of):
    people(alpha, "Ann")
    board = start(alpha, "Board", closed=True, members=("Ann",))
    with inside(alpha):
        ann = person(alpha, "Ann")
        room(board).leave(ann)
        room(board).leave(ann)
    (left,) = events_of(alpha, "MemberRemoved")
    assert (left.subject, left.actor, left.payload) == (f"room:{board}", ann.id, {"person": ann.id})
    assert left.audience == f"room:{board}"
    (told,) = events_of(alpha, "RoomLeft")
    assert (told.subject, told.audience) == (f"room:{board}", f"person:{ann.id}")


def test_a_closed_room_is_never_left_without_anybody(alpha, start, inside):
    board = start(alpha, "Board", closed=True)
    with inside(alpha), pytest.raises(Refused, match="Nobody would be left"):
        room(board).leave(person(alpha, "owner"))


def test_lines_of_others_are_unread_until_they_are_read(alpha, people, say, inside):
    people(alpha, "Ann")
    first, second = say(alpha, "One"), say(alpha, "Two")
    with inside(alpha):
        ann, owner = person(alpha, "Ann"), person(alpha, "owner")
        assert (unread_counts(ann), first_unread_id(room(1), ann)) == ({1: 2}, first)
        assert (unread_counts(owner), first_unread_id(room(1), owner)) == ({}, None)
        room(1).mark_read(ann, first)
        assert (unread_counts(ann), first_unread_id(room(1), ann)) == ({1: 1}, second)


def test_reading_never_goes_back_nor_ahead_of_what_is_there(alpha, people, say, inside):
    people(alpha, "Ann")
    line = say(alpha, "One")
    with inside(alpha):
        ann = person(alpha, "Ann")
        room(1).mark_read(ann, 10**18)
        room(1).mark_read(ann, 0)
        assert room(1).membership_of(ann).last_read_id == line
    say(alpha, "Two")
    with inside(alpha):
        assert unread_counts(person(alpha, "Ann")) == {1: 1}


def test_what_was_said_before_somebody_came_is_no_news_to_them(alpha, people, start, say, inside):
    board = start(alpha, "Board", closed=True)
    say(alpha, "Long ago"), say(alpha, "In confidence", room_id=board)
    people(alpha, "Ann")
    with inside(alpha):
        ann = person(alpha, "Ann")
        room(board).invite(ann, by=person(alpha, "owner"))
        assert unread_counts(ann) == {}
    say(alpha, "News"), say(alpha, "More news", room_id=board)
    with inside(alpha):
        assert unread_counts(person(alpha, "Ann")) == {1: 1, board: 1}


def test_removed_lines_are_not_unread_and_many_are_counted_only_so_far(alpha, people, inside):
    people(alpha, "Ann")
    with inside(alpha):
        ann, owner = person(alpha, "Ann"), person(alpha, "owner")
        room(1).say("Gone", by=owner).remove(by=owner)
        assert unread_counts(ann) == {}
        for number in range(130):
            room(1).say(str(number), by=owner)
        assert unread_counts(ann) == {1: 100}
        assert counts["lines"]() == 130


def test_a_closed_room_notes_nothing_for_those_outside(alpha, people, start, say, inside):
    people(alpha, "Ann")
    board = start(alpha, "Board", closed=True)
    line = say(alpha, "In confidence", room_id=board)
    with inside(alpha):
        room(board).mark_read(person(alpha, "Ann"), line)
        assert room(board).membership_of(person(alpha, "Ann")) is None


def test_lines_outlive_the_person_who_wrote_them(alpha, people, say, inside):
    people(alpha, "Ann")
    line_id = say(alpha, "Goodbye", by="Ann")
    with inside(alpha):
        db.session.delete(person(alpha, "Ann"))
    with inside(alpha):
        assert db.session.query(User).count() == 1
        kept = room(1).say("Who was that?", by=person(alpha, "owner")).id
        assert kept > line_id
