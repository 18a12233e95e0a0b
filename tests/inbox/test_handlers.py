"""From the contact form to the inbox, in one transaction."""

import pytest
from sqlalchemy import select

from app.content import Submission
from app.inbox import Contact, Conversation
from app.tenancy import db


@pytest.fixture
def submit(inside):
    def send(tenant, **given) -> int:
        fields = {
            "name": "Ada Lovelace",
            "email": "Ada@Example.org",
            "subject": "A plot",
            "text": "Is there a free plot?",
        }
        with inside(tenant):
            return Submission.receive("printed", **(fields | given)).id

    return send


def test_a_form_becomes_a_conversation(alpha, inside, submit, told, messages):
    submission = submit(alpha)
    assert told(alpha) == ["SubmissionReceived", "ConversationOpened"]
    assert messages(alpha) == [("in", "Is there a free plot?")]
    with inside(alpha):
        conversation = db.session.scalars(select(Conversation)).one()
        assert (conversation.submission_id, conversation.subject, conversation.state) == (submission, "A plot", "open")
        assert (conversation.contact.email, conversation.contact.name) == ("ada@example.org", "Ada Lovelace")


@pytest.mark.parametrize("text", ["Is there a free plot?", "One two three four five six seven eight nine ten, eleven."])
def test_a_form_without_subject_says_its_first_words_once(alpha, inside, submit, text):
    submit(alpha, subject="", text=text)
    with inside(alpha):
        conversation = db.session.scalars(select(Conversation)).one()
        assert not conversation.has_subject
        said = conversation.subject.removesuffix("…") + conversation.preview_below_subject.removeprefix("…")
        assert said == text


def test_the_same_form_twice_is_one_conversation(alpha, submit, messages):
    assert submit(alpha) == submit(alpha)
    assert len(messages(alpha)) == 1


def test_two_forms_of_one_person_are_two_conversations_with_one_contact(alpha, inside, submit):
    submit(alpha)
    submit(alpha, subject="Another thing")
    with inside(alpha):
        assert Conversation.count() == 2
        assert len(db.session.scalars(select(Contact)).all()) == 1


def test_a_form_taken_for_spam_opens_nothing(alpha, inside, submit, told):
    submit(alpha, spam="the trap was filled in")
    assert told(alpha) == ["SubmissionReceived", "ConversationMarkedSpam"]
    with inside(alpha):
        assert db.session.scalars(select(Conversation.state)).all() == ["spam"]


def test_without_a_commit_there_is_neither_form_nor_conversation(alpha, app, in_tenant, inside, told):
    with app.app_context(), in_tenant(alpha):
        Submission.receive("printed", name="Ada", email="ada@example.org", text="x")
        db.session.rollback()
    assert told(alpha) == []
    with inside(alpha):
        assert Conversation.count() == 0
