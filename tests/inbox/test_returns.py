"""Conversations brought back from a preview: whole, closed, and without a letter to anybody."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select, update

from app.accounts import User
from app.backups import returns
from app.backups.returns import AlreadyHere
from app.facilities import live
from app.facilities.events import Event
from app.inbox import Contact, Conversation, Message
from app.inbox.returns import NOT_SENT
from app.tenancy import db, tenant_context, utcnow
from app.tenancy.due import Due
from tests.backups.past import preview_of


@pytest.fixture
def bring(at):
    """Bring a conversation back in the owner's name and return its id here."""

    def back(tenant, preview, conversation_id) -> int:
        def work():
            owner = User.by_email(f"owner@{tenant.slug}.test")
            return returns.bring_back(preview, "conversation", conversation_id, by=owner)

        return int(at(tenant, work).removeprefix("/desk/inbox/"))

    return back


@pytest.fixture
def listed(at):
    def read(tenant, preview, search=""):
        def work():
            owner = User.by_email(f"owner@{tenant.slug}.test")
            return returns.items(preview, "conversation", search, user=owner)

        return [(item.title, item.detail, item.state) for item in at(tenant, work)]

    return read


@pytest.fixture
def lose(at):
    """Take conversations, or one message of theirs, out of a tenant's file for good."""

    def away(tenant, conversation_id=None, message_id=None):
        row = Message.id == message_id if message_id else Message.conversation_id == conversation_id
        at(tenant, lambda: db.session.execute(delete(Message).where(row)))
        if conversation_id:
            at(tenant, lambda: db.session.execute(delete(Conversation).where(Conversation.id == conversation_id)))

    return away


@pytest.fixture
def answered(begin, act, work):
    """Begin a conversation and answer it, with a note; the letter has left."""

    def make(tenant, **given) -> int:
        conversation_id = begin(tenant, **given)
        act(tenant, conversation_id, "note", "A neighbour of Ben's.")
        act(tenant, conversation_id, "reply", "There is: number 7.")
        work(tenant)
        return conversation_id

    return make


def whole(at, tenant, conversation_id):
    """Return all there is to know of the messages of a conversation."""
    names = ("id", "kind", "author_id", "text", "html", "created_at", "letter_state", "letter_id", "sent_at")

    def work():
        found = db.session.scalars(
            select(Message).where(Message.conversation_id == conversation_id).order_by(Message.id)
        )
        return [{name: getattr(message, name) for name in names} for message in found]

    return at(tenant, work)


def test_one_that_is_missing_comes_back_whole_and_closed(app, alpha, answered, bring, listed, lose, at, letters, work):
    conversation_id = answered(alpha)
    then, sent = whole(at, alpha, conversation_id), len(letters())
    past = preview_of(app, alpha)
    assert listed(alpha, past) == [("A plot", "#1, with Ada Lovelace, 3 messages", "same")]
    lose(alpha, conversation_id)
    at(alpha, lambda: db.session.execute(delete(Contact)))
    assert listed(alpha, past)[0][2] == "missing"
    assert bring(alpha, past, conversation_id) == conversation_id
    assert whole(at, alpha, conversation_id) == then
    back = at(alpha, lambda: db.session.get(Conversation, conversation_id))
    assert (back.number, back.state, back.subject, back.preview) == (1, "closed", "A plot", "There is: number 7.")
    assert (back.contact.email, back.contact.name) == ("ada@example.org", "Ada Lovelace")
    assert back.last_message_at == then[-1]["created_at"]
    assert listed(alpha, past)[0][2] == "same"
    work(alpha)
    assert len(letters()) == sent == 1


def test_nothing_is_sent_again_and_nothing_is_left_to_do(app, alpha, begin, act, bring, lose, at, letters, work):
    conversation_id = begin(alpha)
    work(alpha)
    act(alpha, conversation_id, "reply", "There is: number 7.")
    past = preview_of(app, alpha)
    work(alpha)
    assert len(letters()) == 1, "it left after the moment of the backup"
    lose(alpha, conversation_id)
    before = at(alpha, lambda: db.session.scalars(select(Due.id)).all())
    bring(alpha, past, conversation_id)
    assert at(alpha, lambda: db.session.scalars(select(Due.id)).all()) == before
    work(alpha)
    assert len(letters()) == 1
    letter = at(alpha, lambda: db.session.scalars(select(Message).where(Message.kind == "out")).one())
    assert (letter.letter_state, letter.letter_error) == ("failed", NOT_SENT)


def test_one_that_is_here_gets_what_is_missing_and_stays_as_it_stands(
    app, alpha, answered, act, bring, listed, lose, at, begin
):
    conversation_id, other = answered(alpha), begin(alpha, "Water", "The tap drips.", address="ben@example.org")
    past = preview_of(app, alpha)
    then = whole(at, alpha, conversation_id)
    act(alpha, conversation_id, "reopen")
    act(alpha, conversation_id, "note", "Asked again.")
    lose(alpha, message_id=then[1]["id"])
    lose(alpha, message_id=then[2]["id"])
    assert {title: state for title, _, state in listed(alpha, past)} == {"A plot": "changed", "Water": "same"}
    bring(alpha, past, conversation_id)
    now = whole(at, alpha, conversation_id)
    assert now[:3] == then
    assert [message["text"] for message in now[3:]] == ["Asked again."]
    standing = at(alpha, lambda: db.session.get(Conversation, conversation_id))
    assert (standing.state, standing.preview) == ("open", "There is: number 7.")
    assert len(whole(at, alpha, other)) == 1


def test_the_second_time_it_is_here_already(app, alpha, answered, bring, lose, at):
    conversation_id = answered(alpha)
    past = preview_of(app, alpha)
    with pytest.raises(AlreadyHere):
        bring(alpha, past, conversation_id)
    lose(alpha, conversation_id)
    bring(alpha, past, conversation_id)
    with pytest.raises(AlreadyHere) as refused:
        bring(alpha, past, conversation_id)
    assert refused.value.path == f"/desk/inbox/{conversation_id}"
    assert len(whole(at, alpha, conversation_id)) == 3


def test_one_whose_numbers_are_taken_comes_beside_and_only_once(app, alpha, answered, begin, bring, listed, lose, at):
    conversation_id = answered(alpha)
    past = preview_of(app, alpha)
    lose(alpha, conversation_id)
    assert begin(alpha, "Water", "The tap drips.", address="ben@example.org") == conversation_id
    back = bring(alpha, past, conversation_id)
    assert back == conversation_id + 1
    assert [message["text"] for message in whole(at, alpha, back)] == [
        "Is there a free plot?",
        "A neighbour of Ben's.",
        "There is: number 7.",
    ]
    assert at(alpha, lambda: db.session.get(Conversation, back)).number == 2
    assert [message["text"] for message in whole(at, alpha, conversation_id)] == ["The tap drips."]
    assert listed(alpha, past)[0][2] == "same"
    with pytest.raises(AlreadyHere):
        bring(alpha, past, conversation_id)


def test_spam_stays_spam_and_whose_account_is_gone_has_left(app, alpha, answered, act, bring, lose, at):
    conversation_id = answered(alpha)
    act(alpha, conversation_id, "mark_spam")
    past = preview_of(app, alpha)
    lose(alpha, conversation_id)

    def pass_on():
        # The address is somebody else's now: the same number, and an account of its own.
        db.session.execute(update(User).where(User.id == 1).values(created_at=utcnow()))

    at(past, pass_on)
    bring(alpha, past, conversation_id)
    assert at(alpha, lambda: db.session.get(Conversation, conversation_id)).state == "spam"
    assert {message["author_id"] for message in whole(at, alpha, conversation_id)} == {None}


def test_the_log_tells_of_it_those_who_see_the_inbox_and_nobody_else(app, alpha, answered, bring, lose, told, work):
    conversation_id = answered(alpha)
    past = preview_of(app, alpha)
    lose(alpha, conversation_id)
    before = len(told(alpha))
    bring(alpha, past, conversation_id)
    assert told(alpha)[before:] == ["ConversationReturned"]
    assert work(alpha) == 0


def test_an_open_page_of_the_inbox_shows_it_among_the_closed(app, alpha, answered, bring, lose):
    conversation_id = answered(alpha)
    past = preview_of(app, alpha)
    lose(alpha, conversation_id)
    bring(alpha, past, conversation_id)
    with app.app_context(), tenant_context(alpha, origin="live", writes=False):
        event = db.session.scalars(select(Event).where(Event.kind == "ConversationReturned")).one()
        facts = live.facts(event)
    assert (facts["audience"], facts["subject"], facts["actor"]) == ("inbox", f"conversation:{conversation_id}", 1)
    assert 'hx-target="#conversations-closed"' in facts["html"]
    assert "#inbox-news" not in facts["html"], "nobody is to answer it"


def test_it_is_found_by_subject_or_by_whom_it_is_with(app, alpha, begin, listed):
    begin(alpha, "Water", "The tap drips.", address="ben@example.org", name="Ben")
    begin(alpha)
    past = preview_of(app, alpha)
    assert [title for title, *_ in listed(alpha, past)] == ["A plot", "Water"]
    assert [title for title, *_ in listed(alpha, past, "wat")] == ["Water"]
    assert [title for title, *_ in listed(alpha, past, "BEN@")] == ["Water"]
    assert listed(alpha, past, "%") == []


def test_what_one_house_brings_back_is_not_in_another_with_the_same_numbers(
    app, alpha, beta, answered, bring, lose, messages
):
    assert answered(alpha) == answered(beta, text="Do you play at weddings?")
    past = preview_of(app, alpha)
    lose(alpha, 1)
    theirs = messages(beta)
    bring(alpha, past, 1)
    assert messages(beta) == theirs
