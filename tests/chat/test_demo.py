"""What is said in the rooms of the three demo organisations on the first day."""

import pytest
from sqlalchemy import select

from app.accounts import User
from app.chat import Line, Room
from app.chat.demo import ROOMS, fill
from app.demo import MEMBERS, ORGANISATIONS, OWNERS
from app.inbox.demo import fill as fill_inbox
from app.tenancy import db, tenant_context, utcnow


@pytest.fixture(params=ORGANISATIONS)
def organisation(request, app, tenancy):
    """Make one of the three, with its people, its inbox and its rooms."""
    slug = request.param
    with app.app_context():
        tenant = tenancy.lifecycle.create(slug, ORGANISATIONS[slug])
        with tenant_context(tenant):
            for email, name in {OWNERS[slug]: "Robin Owner", **MEMBERS[slug]}.items():
                User.join(email, name, role="owner" if email == OWNERS[slug] else "agent")
            db.session.commit()
        fill_inbox(slug)
        fill(slug)
    return tenant


def test_rooms_have_lines_in_the_order_of_their_times(organisation, inside):
    with inside(organisation):
        rooms = list(db.session.scalars(select(Room)))
        assert {room.name for room in rooms} == {"general", *(place.name for place in ROOMS[organisation.slug])}
        assert any(not room.is_open for room in rooms)
        for room in rooms:
            times = list(db.session.scalars(select(Line.created_at).where(Line.room_id == room.id).order_by(Line.id)))
            assert len(times) >= 2
            assert times == sorted(times)
            assert times[-1] <= utcnow()


def test_the_inbox_rang_once_for_each_conversation_that_is_no_spam(organisation, inside, work):
    work(organisation)
    with inside(organisation):
        told = list(db.session.scalars(select(Line).where(Line.kind == "told")))
    assert len(told) == 5
    assert len({line.told_for for line in told}) == 5


def test_filling_twice_doubles_nothing(app, organisation, inside):
    with inside(organisation):
        before = Room.count(), Line.count()
    with app.app_context():
        fill(organisation.slug)
    with inside(organisation):
        assert (Room.count(), Line.count()) == before
