"""What open pages get when something happens in the inbox."""

import pytest
from bs4 import BeautifulSoup
from sqlalchemy import select

from app.accounts import User
from app.facilities import events, live
from app.facilities.events import Event
from app.inbox import Conversation, Message
from app.tenancy import db, tenant_context


@pytest.fixture
def news(app):
    """Return what a tenant's newest event brings to open pages, printed as the process live does: outside of any request."""

    def print_it(tenant) -> BeautifulSoup:
        with app.app_context(), tenant_context(tenant, origin="live", writes=False):
            event = db.session.scalars(select(Event).order_by(Event.id.desc()).limit(1)).one()
            return BeautifulSoup(live.facts(event)["html"], "html.parser")

    return print_it


def target(news: BeautifulSoup, selector: str):
    return news.find(attrs={"hx-target": selector})


def test_a_new_conversation_comes_into_the_lists_it_lies_in(alpha, begin, news):
    number = begin(alpha, "A <b>plot</b>")
    printed = news(alpha)
    for folder in ("open", "unassigned"):
        upsert = target(printed, f"#conversations-{folder}")
        assert upsert.name == "hx-upsert"
        assert upsert.find("li")["id"] == f"conversation-row-{number}"
        assert upsert.find("a").text == "A <b>plot</b>"
    for folder in ("waiting", "closed", "spam"):
        assert target(printed, f"#conversations-{folder}") is None
    assert target(printed, "#inbox-count-open").text.strip() == "1"
    assert "Ada Lovelace writes" in target(printed, "#inbox-news").text


@pytest.mark.parametrize(
    ("verb", "folder", "state"),
    [("close", "closed", "closed"), ("mark_spam", "spam", "spam"), ("reply", "waiting", "waiting")],
)
def test_it_leaves_the_lists_it_no_longer_lies_in(alpha, begin, act, news, verb, folder, state):
    number = begin(alpha)
    act(alpha, number, verb, *(["Yes."] if verb == "reply" else []))
    printed = news(alpha)
    assert target(printed, f"#conversation-row-{number}")["hx-swap"] == "delete"
    assert target(printed, f"#conversations-{folder}")
    assert target(printed, "#conversations-open") is None
    assert target(printed, "#inbox-count-open").text.strip() == "0"
    assert target(printed, f"#inbox-count-{folder}").text.strip() == "1"
    assert target(printed, f"#conversation-{number}-state").find("p")["data-state"] == state
    assert target(printed, "#inbox-news") is None


def test_whose_it_was_and_whose_it_is_see_their_own_count(alpha, inside, begin, colleague, news):
    number = begin(alpha)
    colleague(alpha)
    with inside(alpha):
        owner, colin = User.by_email("owner@alpha.test"), User.by_email("colin@alpha.test")
        conversation = db.session.get(Conversation, number)
        conversation.assign_to(owner, by=owner)
        conversation.assign_to(colin, by=colin)
        ids = owner.id, colin.id
    printed = news(alpha)
    assert [target(printed, f"#inbox-count-mine-{user_id}").text.strip() for user_id in ids] == ["0", "1"]
    assert target(printed, f"#conversations-mine-{ids[1]}")
    assert target(printed, f"#conversations-mine-{ids[0]}") is None
    assert "Colin Colleague" in target(printed, f"#conversation-{number}-state").text


def test_the_open_conversation_shows_who_has_it_unless_somebody_is_choosing(alpha, begin, act, news):
    number = begin(alpha)
    act(alpha, number, "reply", "Yes.")
    printed = news(alpha)
    place = f"#conversation-{number}-assigning:not(:focus-within):not(:has(option:checked:not([selected])))"
    form = target(printed, place)
    assert form.find("input")["value"] == form.find("option", selected=True)["value"] == "1"
    assert target(printed, f"#conversation-{number}-way-back").text.strip() == "Back to open"
    assert "Olive: Yes." in target(printed, "#conversations-waiting").text


@pytest.mark.parametrize(("verb", "kind"), [("reply", "out"), ("note", "note")])
def test_a_message_comes_to_the_open_conversation(alpha, begin, act, news, verb, kind):
    number = begin(alpha)
    written = act(alpha, number, verb, "Yes, <one>.")
    upsert = target(news(alpha), f"#conversation-{number}-messages")
    assert upsert.find("li")["id"] == f"message-{written}"
    assert f"message-{kind}" in upsert.find("li")["class"]
    assert "Yes, <one>." in upsert.text


def test_a_customers_further_message_is_announced(alpha, inside, begin, news):
    number = begin(alpha)
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        conversation.receive("And the price?", conversation.contact)
    printed = news(alpha)
    assert "And the price?" in target(printed, f"#conversation-{number}-messages").text
    assert "Ada Lovelace writes" in target(printed, "#inbox-news").text


def test_what_became_of_a_letter_comes_to_the_open_conversation(alpha, inside, begin, act, work, news):
    number = begin(alpha)
    reply = act(alpha, number, "reply", "Yes.")
    assert "On its way" in news(alpha).text
    work(alpha)
    assert "Written to the outbox" in target(news(alpha), f"#conversation-{number}-messages").text
    with inside(alpha):
        db.session.get(Message, reply).mark_failed("The relay refused it: 550.")
    again = target(news(alpha), f"#conversation-{number}-messages").find("button")
    assert again["formaction"] == f"/desk/inbox/{number}/messages/{reply}/letter"
    assert again["form"] == "again"


def test_nothing_that_is_one_persons_own_travels_to_all(alpha, begin, act, work, news):
    number = begin(alpha)
    for verb in ("reply", "note"):
        act(alpha, number, verb, "Words.")
        assert "csrf" not in str(news(alpha))
    for verb in ("close", "reopen", "mark_spam"):
        act(alpha, number, verb)
        assert "csrf" not in str(news(alpha))


def test_what_a_visitor_writes_steers_no_page(alpha, inside, begin, news):
    evil = "</hx-upsert><hx-partial hx-target='body' hx-swap='delete'></hx-partial><script>x</script>"
    number = begin(alpha, evil, evil, name=evil)
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        conversation.receive(evil, conversation.contact)
    printed = news(alpha)
    assert target(printed, "body") is None
    assert printed.find("script") is None
    assert {each["hx-target"].split("-")[0] for each in printed.find_all(attrs={"hx-target": True})} <= {
        "#conversation",
        "#conversations",
        "#inbox",
    }


def test_an_event_about_what_is_gone_brings_nothing(alpha, inside, begin, act, news):
    number = begin(alpha)
    act(alpha, number, "note", "Words.")
    with inside(alpha):
        db.session.delete(db.session.scalars(select(Message).where(Message.kind == "note")).one())
    assert news(alpha).text.strip() == ""


def test_the_inbox_is_heard_by_active_agents_and_by_nobody_else(alpha, inside, colleague):
    colleague(alpha)
    with inside(alpha):
        assert events.may_see("inbox", {1, 2, 3}) == {1, 2}
        for change in ({"role": "editor"}, {"role": "agent", "state": "closed"}):
            for name, value in change.items():
                setattr(User.by_email("colin@alpha.test"), name, value)
            db.session.flush()
            assert events.may_see("inbox", {1, 2, 3}) == {1}
