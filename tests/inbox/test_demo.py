"""What the inboxes of the three demo organisations hold on the first day."""

import pytest
from sqlalchemy import select

from app.accounts import User
from app.demo import MEMBERS, ORGANISATIONS, OWNERS
from app.inbox import Conversation, Message
from app.inbox.demo import THREADS, fill
from app.tenancy import db, tenant_context, utcnow
from app.tenancy.errors import UnknownHost


@pytest.fixture(params=ORGANISATIONS)
def organisation(request, app, tenancy):
    """Make one of the three, with its people and its inbox."""
    slug = request.param
    with app.app_context():
        tenant = tenancy.lifecycle.create(slug, ORGANISATIONS[slug])
        with tenant_context(tenant):
            for email, name in {OWNERS[slug]: "Robin Owner", **MEMBERS[slug]}.items():
                User.join(email, name, role="owner" if email == OWNERS[slug] else "agent")
            db.session.commit()
        fill(slug)
    return tenant


def test_conversations_stand_in_every_state_and_none_is_from_the_future(organisation, inside):
    with inside(organisation):
        found = list(db.session.scalars(select(Conversation).order_by(Conversation.id)))
        assert len(found) == len(THREADS[organisation.slug])
        assert {conversation.state for conversation in found} == {"open", "waiting", "closed", "spam"}
        assert all(one.created_at <= one.last_message_at <= utcnow() for one in found)
        assert [one.created_at for one in found] == sorted(one.created_at for one in found)
        assert any(conversation.assignee is None for conversation in found if conversation.state == "open")
        times = [[message.created_at for message in one.messages(100)[0]] for one in found]
        assert all(each == sorted(each) for each in times)


def test_replies_are_letters_that_wait_and_notes_are_none(organisation, inside):
    with inside(organisation):
        states = {(message.kind, message.letter_state) for message in db.session.scalars(select(Message))}
    assert states == {("in", ""), ("out", "due"), ("note", "")}


def test_filling_twice_doubles_nothing_and_keeps_what_was_changed(app, organisation, inside):
    with inside(organisation):
        before = Conversation.count(), Message.count()
        closed = db.session.scalars(select(Conversation).where(Conversation.state == "closed")).one()
        closed.reopen(by=db.session.get(User, 1))
    with app.app_context():
        fill(organisation.slug)
    with inside(organisation):
        assert (Conversation.count(), Message.count()) == before
        assert db.session.get(Conversation, closed.id).state == "open"


def test_an_organisation_that_is_not_there_is_not_filled(app):
    with app.app_context(), pytest.raises(UnknownHost):
        fill("riverside")
