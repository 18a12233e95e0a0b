"""Rooms brought back from a preview: their lines at their places, and nobody reads more than they could."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select, update

from app.accounts import User
from app.backups import returns
from app.backups.returns import AlreadyHere
from app.chat import Line, Room
from app.chat.models import Membership
from app.chat.unread import unread_counts
from app.facilities import live
from app.tenancy import db, tenant_context, utcnow
from app.tenancy.errors import Refused
from tests.backups.past import preview_of
from tests.chat.conftest import person


@pytest.fixture
def bring(at):
    """Bring a room back in somebody's name and return its id here."""

    def back(tenant, preview, room_id, by="owner") -> int:
        path = at(tenant, lambda: returns.bring_back(preview, "room", room_id, by=person(tenant, by)))
        return int(path.removeprefix("/desk/chat/rooms/"))

    return back


@pytest.fixture
def states(at):
    def read(tenant, preview, by="owner", search="") -> dict[str, str]:
        found = at(tenant, lambda: returns.items(preview, "room", search, user=person(tenant, by)))
        return {item.title: item.state for item in found}

    return read


@pytest.fixture
def lose(at):
    """Take a room, or one line, out of a tenant's file for good."""

    def away(tenant, room_id=None, line_id=None):
        row = delete(Line).where(Line.id == line_id) if line_id else delete(Room).where(Room.id == room_id)
        at(tenant, lambda: db.session.execute(row))

    return away


def lines(at, tenant, room_id):
    names = ("id", "author_id", "author_name", "source", "html", "created_at", "edited_at", "removed_at", "told_for")

    def work():
        found = db.session.scalars(select(Line).where(Line.room_id == room_id).order_by(Line.id))
        return [{name: getattr(line, name) for name in names} for line in found]

    return at(tenant, work)


def insiders(at, tenant, room_id) -> set[str]:
    inside = select(User.name).join(Membership, Membership.user_id == User.id).where(Membership.room_id == room_id)
    return set(at(tenant, lambda: db.session.scalars(inside).all()))


def test_a_room_that_is_missing_comes_back_with_its_lines_at_their_places(
    app, alpha, people, start, say, inside, bring, states, lose, at
):
    people(alpha, "Ann", "Ben")
    tea = start(alpha, "Tea", by="Ann")
    said = [say(alpha, text, by=by, room_id=tea) for text, by in (("Tea?", "Ann"), ("**Yes**", "Ben"), ("Oh", "Ann"))]
    with inside(alpha):
        db.session.get(Line, said[1]).edit("*Yes*", by=person(alpha, "Ben"))
        db.session.get(Line, said[2]).remove(by=person(alpha, "Ann"))
        db.session.get(Room, tea).tell("A letter <came>", "conversation:7", leads_to="/desk/inbox/7")
        db.session.get(Room, tea).mark_read(person(alpha, "Ann"), said[2] + 1)
    then = lines(at, alpha, tea)
    past = preview_of(app, alpha)
    assert states(alpha, past) == {"Tea": "same", "general": "same"}
    lose(alpha, tea)
    assert states(alpha, past)["Tea"] == "missing"
    assert bring(alpha, past, tea) == tea
    assert lines(at, alpha, tea) == then
    room = at(alpha, lambda: db.session.get(Room, tea))
    assert (room.name, room.kind, room.created_by) == ("Tea", "open", 2)
    assert states(alpha, past)["Tea"] == "same"
    with inside(alpha):
        assert tea not in unread_counts(person(alpha, "Ann")), "it is no news to those who had read it"


def test_a_room_that_is_here_gets_the_lines_it_has_lost_between_those_it_has(app, alpha, say, bring, states, lose, at):
    first, second, third = (say(alpha, text) for text in ("One", "Two", "Three"))
    then = lines(at, alpha, 1)
    past = preview_of(app, alpha)
    lose(alpha, line_id=second)
    say(alpha, "Four, today")
    assert states(alpha, past) == {"general": "changed"}
    bring(alpha, past, 1)
    assert lines(at, alpha, 1)[:3] == then
    assert [line["source"] for line in lines(at, alpha, 1)] == ["One", "Two", "Three", "Four, today"]
    assert states(alpha, past) == {"general": "same"}
    assert (first, third) == (then[0]["id"], then[2]["id"])


def test_the_second_time_it_is_here_already(app, alpha, start, say, bring, lose, at):
    tea = start(alpha, "Tea")
    say(alpha, "Tea?", room_id=tea)
    past = preview_of(app, alpha)
    lose(alpha, tea)
    bring(alpha, past, tea)
    with pytest.raises(AlreadyHere) as refused:
        bring(alpha, past, tea)
    assert refused.value.path == f"/desk/chat/rooms/{tea}"
    assert len(lines(at, alpha, tea)) == 1


def test_one_whose_number_and_name_are_taken_comes_beside_and_only_once(
    app, alpha, start, say, bring, states, lose, at
):
    tea = start(alpha, "Tea")
    say(alpha, "Tea?", room_id=tea)
    past = preview_of(app, alpha)
    lose(alpha, tea)
    assert start(alpha, "TEA") == tea, "SQLite gives the highest number again"
    say(alpha, "Another tea", room_id=tea)
    back = bring(alpha, past, tea)
    assert at(alpha, lambda: db.session.get(Room, back)).name == "Tea 2"
    assert [line["source"] for line in lines(at, alpha, back)] == ["Tea?"]
    assert [line["source"] for line in lines(at, alpha, tea)] == ["Another tea"]
    assert states(alpha, past)["Tea"] == "same"
    with pytest.raises(AlreadyHere):
        bring(alpha, past, tea)


def test_lines_whose_numbers_are_taken_keep_their_order(app, alpha, start, say, bring, lose, at):
    tea = start(alpha, "Tea")
    said = [say(alpha, text, room_id=tea) for text in ("One", "Two", "Three")]
    past = preview_of(app, alpha)
    lose(alpha, tea)
    taken = {"id": said[1], "room_id": 1, "author_name": "Ann", "source": "x", "html": "<p>x</p>"}
    at(alpha, lambda: db.session.add(Line(**taken)))
    bring(alpha, past, tea)
    back = lines(at, alpha, tea)
    assert [line["source"] for line in back] == ["One", "Two", "Three"]
    assert back[0]["id"] == said[0]
    assert said[2] < back[1]["id"] < back[2]["id"]


def test_what_somebody_took_away_for_good_stays_away(app, alpha, say, inside, bring, states, lose, at):
    private, other = say(alpha, "My number is 555"), say(alpha, "Hello")
    past = preview_of(app, alpha)
    with inside(alpha):
        db.session.get(Line, private).remove(by=person(alpha, "owner"))
    assert states(alpha, past) == {"general": "same"}
    lose(alpha, line_id=other)
    bring(alpha, past, 1)
    assert [line["source"] for line in lines(at, alpha, 1)] == ["", "Hello"]


# Who may.


def test_owners_find_no_closed_room_that_they_were_not_in(app, alpha, people, start, say, bring, states, lose, at):
    people(alpha, "Ann")
    board = start(alpha, "Board", by="Ann", closed=True)
    say(alpha, "In confidence", by="Ann", room_id=board)
    past = preview_of(app, alpha)
    for is_lost in (False, True):
        if is_lost:
            lose(alpha, board)
        assert states(alpha, past, by="owner") == {"general": "same"}
        with pytest.raises(Refused) as hidden:
            bring(alpha, past, board, by="owner")
        with pytest.raises(Refused) as unknown:
            bring(alpha, past, 99, by="owner")
        assert hidden.value.advice == unknown.value.advice, "the answer does not tell that there is one"
    assert at(alpha, lambda: db.session.get(Room, board)) is None
    assert states(alpha, past, by="Ann")["Board"] == "missing"
    assert bring(alpha, past, board, by="Ann") == board


def test_who_was_let_into_a_closed_room_since_reads_nothing_of_it_in_the_preview(
    app, alpha, people, start, say, inside, bring, states, lose
):
    people(alpha, "Ann")
    board = start(alpha, "Board", by="Ann", closed=True)
    line_id = say(alpha, "In confidence", by="Ann", room_id=board)
    past = preview_of(app, alpha)
    with inside(alpha):
        db.session.get(Room, board).invite(person(alpha, "owner"), by=person(alpha, "Ann"))
    lose(alpha, line_id=line_id)
    assert "Board" not in states(alpha, past)
    with pytest.raises(Refused, match="not in the preview"):
        bring(alpha, past, board)


def test_who_was_taken_out_since_neither_finds_it_nor_comes_back_into_it(
    app, alpha, people, start, say, inside, bring, states, lose, at
):
    people(alpha, "Ann", "Ben")
    board = start(alpha, "Board", by="Ann", closed=True, members=("owner", "Ben"))
    line_id = say(alpha, "In confidence", by="Ann", room_id=board)
    past = preview_of(app, alpha)
    with inside(alpha):
        db.session.get(Room, board).remove(person(alpha, "owner"), by=person(alpha, "Ann"))
    lose(alpha, line_id=line_id)
    for is_lost in (False, True):
        if is_lost:
            lose(alpha, board)
        assert "Board" not in states(alpha, past, by="owner")
        with pytest.raises(Refused, match="not in the preview"):
            bring(alpha, past, board, by="owner")
    bring(alpha, past, board, by="Ann")
    assert insiders(at, alpha, board) == {"Ann", "Ben"}
    assert at(alpha, lambda: db.session.get(Room, board)).kind == "closed"


def test_a_closed_room_comes_back_to_no_account_that_only_has_the_address(
    app, alpha, people, start, say, bring, states, lose, at
):
    people(alpha, "Ann", "Ben")
    board = start(alpha, "Board", closed=True, members=("Ann", "Ben"))
    line_id = say(alpha, "I resign", by="Ben", room_id=board)
    past = preview_of(app, alpha)
    lose(alpha, board)
    passed_on = update(User).where(User.email == "ben@alpha.test").values(created_at=utcnow())
    at(alpha, lambda: db.session.execute(passed_on))
    assert "Board" not in states(alpha, past, by="Ben")
    bring(alpha, past, board)
    assert insiders(at, alpha, board) == {"Ann", "Olive of Alpha Allotments"}
    line = lines(at, alpha, board)[0]
    assert (line["id"], line["author_id"], line["author_name"]) == (line_id, None, "Ben")


def test_lines_of_a_closed_room_never_come_into_one_that_is_open_today(app, alpha, start, say, bring, lose, at):
    board = start(alpha, "Board", closed=True)
    line_id = say(alpha, "In confidence", room_id=board)
    past = preview_of(app, alpha)
    lose(alpha, line_id=line_id)
    at(alpha, lambda: db.session.execute(update(Room).where(Room.id == board).values(kind="open")))
    with pytest.raises(Refused, match="open to everybody now"):
        bring(alpha, past, board)
    assert lines(at, alpha, board) == []


def test_the_log_tells_of_it_those_who_are_in_it(app, alpha, people, start, say, bring, lose, events_of, work):
    people(alpha, "Ann")
    board = start(alpha, "Board", closed=True)
    say(alpha, "In confidence", room_id=board)
    past = preview_of(app, alpha)
    lose(alpha, board)
    bring(alpha, past, board)
    told = events_of(alpha, "RoomReturned")
    assert [(event.subject, event.audience, event.actor) for event in told] == [(f"room:{board}", f"room:{board}", 1)]
    assert work(alpha) == 0
    with app.app_context(), tenant_context(alpha, origin="live", writes=False):
        assert 'hx-target="#chat-rooms"' in live.facts(told[0])["html"]


def test_what_one_house_brings_back_is_not_in_another_with_the_same_numbers(
    app, alpha, beta, start, say, bring, lose, at
):
    assert start(alpha, "Tea") == start(beta, "Tea")
    assert say(alpha, "Tea?", room_id=2) == say(beta, "Beer?", room_id=2)
    past = preview_of(app, alpha)
    lose(alpha, 2)
    theirs = lines(at, beta, 2)
    bring(alpha, past, 2)
    assert lines(at, beta, 2) == theirs
