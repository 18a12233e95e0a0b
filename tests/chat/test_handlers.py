"""A line rings in `general` when somebody writes to the organisation."""

import re

import pytest
from sqlalchemy import select

from app.chat import Line
from app.chat.handlers import tell_of_conversation
from app.inbox import Contact, Conversation
from app.tenancy import db
from tests.chat.conftest import room


@pytest.fixture
def write_in(inside):
    """Begin a conversation from outside, and return its id."""

    def begin(tenant, subject="Shed keys", name="Vera", **given) -> int:
        with inside(tenant):
            return Conversation.open_from(Contact.at("vera@example.org", name), subject, "Hello?", **given).id

    return begin


@pytest.fixture
def told(inside):
    def find(tenant) -> list[Line]:
        with inside(tenant):
            return list(db.session.scalars(select(Line).where(Line.kind == "told").order_by(Line.id)))

    return find


def test_a_new_conversation_rings_in_general(alpha, beta, write_in, work, told):
    conversation = write_in(alpha)
    assert told(alpha) == []
    assert work(alpha) >= 1
    (line,) = told(alpha)
    assert line.source == "Somebody has written to us."
    assert f'href="/desk/inbox/{conversation}"' in line.html
    assert (line.room_id, line.told_for) == (1, f"conversation:{conversation}")
    assert told(beta) == []


def test_it_rings_once_however_often_the_job_runs(alpha, write_in, work, told, inside, events_of):
    write_in(alpha)
    work(alpha)
    (opened,) = events_of(alpha, "ConversationOpened")
    with inside(alpha):
        tell_of_conversation(opened)
    assert len(told(alpha)) == len(events_of(alpha, "LinePosted")) == 1


def test_spam_rings_nowhere(alpha, write_in, work, told):
    write_in(alpha, is_spam=True)
    work(alpha)
    assert told(alpha) == []


def test_what_turned_out_to_be_spam_rings_no_more(alpha, write_in, work, told, inside):
    conversation = write_in(alpha)
    with inside(alpha):
        db.session.get(Conversation, conversation).state = "spam"
    work(alpha)
    assert told(alpha) == []


def test_who_wrote_and_what_only_the_inbox_tells(alpha, write_in, work, told):
    write_in(alpha, subject="Shed keys", name="Vera")
    work(alpha)
    (line,) = told(alpha)
    assert "Vera" not in line.html
    assert "Shed keys" not in line.html
    assert re.findall(r'href="([^"]*)"', line.html) == ["/desk/inbox/1"]


def test_a_house_without_general_gets_it_again(alpha, write_in, work, told, inside):
    with inside(alpha):
        db.session.delete(room(1))
    write_in(alpha)
    work(alpha)
    assert len(told(alpha)) == 1
