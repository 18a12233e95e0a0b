"""Who sees which room, at this moment."""

from app.chat import Line, policy
from app.facilities import events
from app.tenancy import db
from tests.chat.conftest import person, room


def names(who) -> list[str]:
    return [each.name for each in db.session.scalars(policy.visible_rooms(who))]


def seers(audience, *who) -> set[str]:
    known = {each.id: each.name for each in who}
    return {known[seer] for seer in events.may_see(audience, known)}


def test_open_rooms_are_everybodys_and_closed_ones_their_members_alone(alpha, people, start, say, inside):
    people(alpha, "Ann", "Ben")
    board = start(alpha, "Board", by="Ann", closed=True)
    line_id = say(alpha, "In confidence", by="Ann", room_id=board)
    with inside(alpha):
        ann, ben, owner = person(alpha, "Ann"), person(alpha, "Ben"), person(alpha, "owner")
        assert names(ann) == ["Board", "general"]
        assert names(ben) == names(owner) == ["general"], "owners read no room that they are not in"
        assert [each.id for each in db.session.scalars(policy.visible_lines(ann))] == [line_id]
        assert db.session.scalars(policy.visible_lines(ben)).all() == []
        assert seers(f"room:{board}", ann, ben, owner) == {"Ann"}
        assert seers("room:1", ann, ben) == {"Ann", "Ben"}


def test_who_leaves_hears_of_that_alone(alpha, people, start, inside):
    people(alpha, "Ann", "Ben", "Cat")
    board = start(alpha, "Board", by="Ann", closed=True, members=("Ben",))
    with inside(alpha):
        ann, ben, cat = (person(alpha, name) for name in ("Ann", "Ben", "Cat"))
        room(board).remove(ben, by=ann)
        assert seers(f"room:{board}", ann, ben, cat) == {"Ann"}
        assert seers(f"person:{ben.id}", ann, ben, cat) == {"Ben"}


def test_whoever_is_closed_out_of_the_organisation_sees_no_room(alpha, people, inside):
    people(alpha, "Ann")
    with inside(alpha):
        person(alpha, "Ann").state = "closed"
        assert seers("room:1", person(alpha, "Ann"), person(alpha, "owner")) == {"Olive of Alpha Allotments"}


def test_a_room_that_is_not_there_is_seen_by_nobody(alpha, inside):
    with inside(alpha):
        assert seers("room:99", person(alpha, "owner")) == set()


def test_words_are_changed_by_their_author_and_removed_by_owners_too(alpha, people, say, inside):
    people(alpha, "Ann", "Ben")
    line_id = say(alpha, "Hello", by="Ann")
    with inside(alpha):
        line = db.session.get(Line, line_id)
        told = room(1).tell("A letter", "letter:1")
        ann, ben, owner = person(alpha, "Ann"), person(alpha, "Ben"), person(alpha, "owner")
        assert [policy.may_edit(each, line) for each in (ann, ben, owner)] == [True, False, False]
        assert [policy.may_remove_line(each, line) for each in (ann, ben, owner)] == [True, False, True]
        assert [policy.may_edit(each, told) for each in (ann, owner)] == [False, False]
        assert [policy.may_remove_line(each, told) for each in (ann, owner)] == [False, True]
