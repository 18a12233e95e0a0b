"""What a conversation does: each verb, the event it records, and what it leaves alone."""

import hashlib
import hmac

import pytest
from sqlalchemy import select

from app.accounts import User
from app.facilities.events import Event
from app.inbox import Box, Contact, Conversation, Message
from app.inbox.texts import as_html, preview
from app.tenancy import db
from app.tenancy.errors import Refused


def owner_of(tenant) -> User:
    found = User.by_email(f"owner@{tenant.slug}.test")
    assert found is not None
    return found


def state_of(inside, tenant, conversation_id) -> str:
    with inside(tenant):
        return db.session.get(Conversation, conversation_id).state


def test_every_tenant_has_one_box_that_takes_letters_at_its_domain(alpha, beta, inside):
    for tenant in (alpha, beta):
        with inside(tenant):
            assert [box.address for box in db.session.scalars(select(Box))] == [f"inbox@{tenant.primary_host}"]


def test_a_tenant_from_before_there_was_an_inbox_gets_its_box_when_it_needs_one(alpha, inside, begin, signed_in):
    with inside(alpha):
        db.session.delete(Box.main())
    assert f"inbox@{alpha.primary_host}" in signed_in(alpha).get("/desk/inbox/").text
    begin(alpha)
    with inside(alpha):
        assert Box.main().id


def test_a_conversation_is_opened_with_what_was_written(alpha, inside, begin, told, messages):
    number = begin(alpha, "  Plots\n& prices ", "Is there\r\na free plot?\x00\n\nAda")
    assert messages(alpha) == [("in", "Is there\na free plot?\n\nAda")]
    assert told(alpha) == ["ConversationOpened"]
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        assert (conversation.subject, conversation.state, conversation.number) == ("Plots & prices", "open", 1)
        assert conversation.preview == "Is there a free plot? Ada"
        event = db.session.scalars(select(Event)).one()
        assert (event.subject_id, event.audience, event.actor, event.payload) == (number, "inbox", None, {})


def test_spam_lies_in_its_folder_and_opens_nothing(alpha, inside, begin, told):
    assert state_of(inside, alpha, begin(alpha, is_spam=True)) == "spam"
    assert told(alpha) == ["ConversationMarkedSpam"]


def test_numbers_go_up_and_what_has_no_subject_is_named_after_its_writer(alpha, inside, begin):
    begin(alpha)
    second = begin(alpha, " \n ")
    with inside(alpha):
        conversation = db.session.get(Conversation, second)
        assert (conversation.number, conversation.subject) == (2, "Message from Ada Lovelace")


def test_one_address_is_one_contact_who_keeps_the_first_name(alpha, inside):
    with inside(alpha):
        first = Contact.at("Ada@Example.org", "Ada")
        assert Contact.at(" ada@example.ORG ", "Somebody else") is first
        assert first.name == "Ada"


def test_a_reply_waits_for_the_customer_and_takes_what_nobody_has(alpha, inside, begin, act, told):
    number = begin(alpha)
    act(alpha, number, "reply", "Yes, one.")
    assert told(alpha)[1:] == ["ConversationAssigned", "ReplyWritten"]
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        assert (conversation.state, conversation.assignee.email) == ("waiting", "owner@alpha.test")
        assert conversation.preview == "Yes, one."


def test_a_reply_leaves_who_has_it_alone(alpha, inside, begin, act, told, colleague):
    number = begin(alpha)
    colleague(alpha)
    with inside(alpha):
        colin = User.by_email("colin@alpha.test")
        db.session.get(Conversation, number).assign_to(colin, by=colin)
    act(alpha, number, "reply", "Yes, one.")
    with inside(alpha):
        assert db.session.get(Conversation, number).assignee.name == "Colin Colleague"
    assert told(alpha)[-1] == "ReplyWritten"


def test_the_same_sending_twice_is_one_message_and_one_event(alpha, begin, act, told, messages):
    number = begin(alpha)
    for verb in ("reply", "note"):
        first = act(alpha, number, verb, "Yes, one.", client_id=f"mark-{verb}")
        before = told(alpha)
        assert act(alpha, number, verb, " Yes, one. ", client_id=f"mark-{verb}") == first
        assert told(alpha) == before
    assert [kind for kind, _ in messages(alpha)] == ["in", "out", "note"]


def test_an_old_mark_under_new_words_is_refused_rather_than_lost(alpha, begin, act, messages):
    number, other = begin(alpha), begin(alpha)
    act(alpha, number, "reply", "Yes, one.", client_id="mark")
    for conversation_id, verb, text in (
        (number, "reply", "No."),
        (number, "note", "Yes, one."),
        (other, "reply", "Yes, one."),
    ):
        with pytest.raises(Refused, match="already"):
            act(alpha, conversation_id, verb, text, client_id="mark")
    assert len(messages(alpha)) == 3


def test_two_people_may_use_the_same_mark(alpha, inside, begin, act, colleague, messages):
    number = begin(alpha)
    colleague(alpha)
    act(alpha, number, "note", "One.", client_id="mark")
    with inside(alpha):
        db.session.get(Conversation, number).note("Two.", by=User.by_email("colin@alpha.test"), client_id="mark")
    assert len(messages(alpha)) == 3


def test_a_note_changes_neither_the_preview_nor_the_place_in_the_list(alpha, inside, begin, act, told):
    number = begin(alpha)
    with inside(alpha):
        before = db.session.get(Conversation, number).last_message_at
    act(alpha, number, "note", "He was rude last year.")
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        assert (conversation.preview, conversation.last_message_at) == ("Is there a free plot?", before)
        assert conversation.state == "open"
    assert told(alpha)[-1] == "NoteWritten"


def test_closing_reopening_and_spam_are_each_told_once(alpha, inside, begin, act, told):
    number = begin(alpha)
    for verb, state, kind in (
        ("close", "closed", "ConversationClosed"),
        ("reopen", "open", "ConversationReopened"),
        ("mark_spam", "spam", "ConversationMarkedSpam"),
        ("reopen", "open", "ConversationReopened"),
    ):
        for _ in range(2):
            act(alpha, number, verb)
        assert state_of(inside, alpha, number) == state
        assert told(alpha)[-1] == kind
    assert len(told(alpha)) == 5


@pytest.mark.parametrize(("before", "after"), [("close", "open"), ("reply", "open"), ("mark_spam", "spam")])
def test_what_the_customer_writes_further_opens_it_again_but_not_out_of_the_spam(
    alpha, inside, begin, act, told, before, after
):
    number = begin(alpha)
    act(alpha, number, before, *(["Yes."] if before == "reply" else []))
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        conversation.receive("And the price?", conversation.contact)
    assert state_of(inside, alpha, number) == after
    assert told(alpha)[-1] == "MessageReceived"


def test_it_is_given_to_a_member_once_and_taken_back(alpha, inside, begin, told):
    number = begin(alpha)
    with inside(alpha):
        owner = owner_of(alpha)
        for user in (owner, owner, None, None):
            db.session.get(Conversation, number).assign_to(user, by=owner)
        events = db.session.scalars(select(Event).where(Event.kind == "ConversationAssigned")).all()
        assert [event.payload for event in events] == [
            {"assignee": owner.id, "previous": None},
            {"assignee": None, "previous": owner.id},
        ]


def test_it_is_not_given_to_somebody_who_has_left(alpha, inside, begin, colleague):
    number = begin(alpha)
    colleague(alpha)
    with inside(alpha):
        colin = User.by_email("colin@alpha.test")
        colin.state = "closed"
        with pytest.raises(Refused, match="can no longer sign in"):
            db.session.get(Conversation, number).assign_to(colin, by=owner_of(alpha))


def test_spam_and_what_has_no_address_are_not_answered(alpha, begin, act, messages):
    spam, nowhere = begin(alpha, is_spam=True), begin(alpha, address="not an address")
    with pytest.raises(Refused, match="among the spam"):
        act(alpha, spam, "reply", "Stop.")
    with pytest.raises(Refused, match="No letter can reach"):
        act(alpha, nowhere, "reply", "Hello?")
    assert act(alpha, nowhere, "note", "Left no address.")
    assert [kind for kind, _ in messages(alpha)] == ["in", "in", "note"]


def test_a_letters_id_is_one_that_only_this_tenants_key_can_make(alpha, tenancy, inside, begin, act):
    reply = act(alpha, begin(alpha), "reply", "Yes.")
    with inside(alpha):
        message = db.session.get(Message, reply)
        name, _, mac = message.letter_id.strip("<>").partition("@")[0].rpartition(".")
        assert message.letter_id.endswith(f"@{alpha.primary_host}>")
        assert name.startswith(f"{message.conversation_id}.{message.id}.")
    key = tenancy.keys.tenant_subkey(alpha.id, "letters")
    assert mac == hmac.new(key, f"{alpha.id}:{name}".encode(), hashlib.sha256).hexdigest()[:32]


def test_a_number_given_out_again_after_a_restore_makes_another_letter(alpha, inside, begin, act):
    number = begin(alpha)
    names = []
    for _ in range(2):
        reply = act(alpha, number, "reply", "Yes.")
        with inside(alpha):
            message = db.session.get(Message, reply)
            names.append((message.id, message.letter_name))
            db.session.delete(message)
    assert names[0][0] == names[1][0]
    assert names[0][1] != names[1][1]


def test_who_leaves_for_good_leaves_their_words_behind(alpha, inside, begin, colleague):
    number = begin(alpha)
    colleague(alpha)
    with inside(alpha):
        colin = User.by_email("colin@alpha.test")
        conversation = db.session.get(Conversation, number)
        conversation.assign_to(colin, by=colin)
        conversation.note("Remember the shed.", by=colin)
        db.session.flush()
        db.session.delete(colin)
    with inside(alpha):
        assert db.session.get(Conversation, number).assignee is None
        note = db.session.scalars(select(Message).where(Message.kind == "note")).one()
        assert note.shown_name == "Somebody who has left"


def test_conversations_and_messages_are_counted(alpha, begin, act, runner):
    act(alpha, begin(alpha), "reply", "Yes.")
    shown = runner("tenants", "show", "alpha", "--json").output
    assert '"conversations": 1' in shown
    assert '"messages": 2' in shown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\ntwo\n\nthree", "<p>One<br>\ntwo</p>\n<p>three</p>\n"),
        ("# no *heading*\n1. no list", "<p># no *heading*<br>\n1. no list</p>\n"),
        ("<script>x</script> & <b>", "<p>&lt;script&gt;x&lt;/script&gt; &amp; &lt;b&gt;</p>\n"),
        (
            "see https://example.org/a?b=1&c",
            '<p>see <a href="https://example.org/a?b=1&amp;c">https://example.org/a?b=1&amp;c</a></p>\n',
        ),
        ("javascript:alert(1)", "<p>javascript:alert(1)</p>\n"),
        ("", ""),
    ],
)
def test_a_plain_text_is_shown_as_it_was_written(text, html):
    assert as_html(text) == html


def test_long_and_strange_texts_are_taken_in_good_time(alpha, begin, inside):
    number = begin(
        alpha, "ב" * 3000, "x" * 100_000 + "\n\u202egnp.exe 👩‍🚀\x07\n" + "a." * 40_000, name="\r\nBcc: me@x.org" * 90
    )
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        assert len(conversation.subject) == 200
        assert len(conversation.preview) == 140
        assert "\n" not in conversation.contact.name


def test_the_beginning_of_a_long_text_stands_in_lists():
    assert preview("One\n\ntwo") == "One two"
    assert preview("a " * 500).endswith(" a…")
    assert len(preview("x" * 1000)) == 140
