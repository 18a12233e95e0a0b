"""Reading, answering and putting away, through the pages of the desk."""

import os
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from lxml.html import fromstring
from sqlalchemy import select

from app.inbox import Conversation, Message
from app.tenancy import db
from tests.printed import filled_in

ACTS = ["replies", "notes", "assignment", "closing", "reopening", "spam", "messages/1/letter"]


def state_of(inside, tenant, conversation_id) -> str:
    with inside(tenant):
        return db.session.get(Conversation, conversation_id).state


def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "lxml")


def rows(page: str) -> list[str]:
    return [link.get_text() for link in soup(page).select(".conversations .list-title")]


def counts(page: str) -> dict[str, str]:
    links = soup(page).select("#inbox-folders a")
    return dict(link.get_text().split() for link in links)


@pytest.mark.parametrize("path", ["/desk/inbox/", "/desk/inbox/1"])
def test_visitors_are_asked_to_sign_in(alpha, client_for, begin, path):
    begin(alpha)
    answer = client_for(alpha).get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize("act_path", ACTS)
def test_visitors_change_nothing(alpha, client_for, begin, told, act_path):
    number = begin(alpha)
    answer = client_for(alpha).post(f"/desk/inbox/{number}/{act_path}", data={"text": "x", "assignee": "1"})
    assert answer.status_code in (302, 403)
    assert told(alpha) == ["ConversationOpened"]


@pytest.mark.parametrize("act_path", ACTS)
def test_a_member_without_the_token_changes_nothing(alpha, signed_in, begin, told, act_path):
    number = begin(alpha)
    answer = signed_in(alpha).post(f"/desk/inbox/{number}/{act_path}", data={"text": "x", "assignee": "1"})
    assert answer.status_code == 403
    assert told(alpha) == ["ConversationOpened"]


def test_the_other_houses_conversations_are_not_found(alpha, beta, signed_in, begin, send, told):
    number, other = begin(alpha), begin(beta, "Xylophones", "Only for beta.")
    further = begin(beta, "Further")
    browser = signed_in(alpha)
    assert other == number
    assert "Xylophones" not in browser.get("/desk/inbox/").text + browser.get(f"/desk/inbox/{number}").text
    assert browser.get(f"/desk/inbox/{further}").status_code == 404
    token = filled_in(browser.get(f"/desk/inbox/{number}").text)["csrf_token"]
    for act_path in ACTS:
        fields = {"csrf_token": token, "text": "x", "assignee": "0"}
        assert browser.post(f"/desk/inbox/{further}/{act_path}", data=fields).status_code == 404
    assert told(beta) == ["ConversationOpened"] * 2


def test_the_desk_is_kept_by_nobody(alpha, signed_in, begin):
    browser = signed_in(alpha)
    for path in ("/desk/inbox/", f"/desk/inbox/{begin(alpha)}"):
        assert browser.get(path).headers["Cache-Control"] == "private, no-store"


def test_an_empty_inbox_says_where_letters_leave_from(alpha, signed_in):
    page = signed_in(alpha).get("/desk/inbox/").text
    assert "inbox@alpha.localhost" in page
    assert "Nobody is waiting" in page


def test_each_folder_shows_its_own(alpha, signed_in, begin, act, send):
    browser = signed_in(alpha)
    mine, waiting, closed = (begin(alpha, subject) for subject in ("Of mine", "Answered", "Done"))
    begin(alpha, "Nobodys")
    begin(alpha, "Win a prize", is_spam=True)
    send(browser, mine, "assignment", assignee="1")
    act(alpha, waiting, "reply", "Yes.")
    act(alpha, closed, "close")
    expected = {
        "open": ["Nobodys", "Of mine"],
        "unassigned": ["Nobodys"],
        "mine": ["Of mine"],
        "waiting": ["Answered"],
        "closed": ["Done"],
        "spam": ["Win a prize"],
    }
    for folder, subjects in expected.items():
        page = browser.get(f"/desk/inbox/?folder={folder}").text
        assert rows(page) == subjects, folder
        assert counts(page) == {name.capitalize(): str(len(found)) for name, found in expected.items()}
    assert rows(browser.get("/desk/inbox/").text) == expected["open"]


def test_what_is_mine_is_not_my_colleagues(alpha, signed_in, begin, send, colleague):
    send(signed_in(alpha), begin(alpha), "assignment", assignee="1")
    colin = colleague(alpha)
    assert rows(colin.get("/desk/inbox/?folder=mine").text) == []
    assert "Olive of Alpha Allotments" in colin.get("/desk/inbox/").text


@pytest.mark.parametrize("query", ["folder=everything", "page=2", "page=0", "page=-1", "folder="])
def test_a_folder_or_page_that_is_not_there_is_not_found(alpha, signed_in, query):
    assert signed_in(alpha).get(f"/desk/inbox/?{query}").status_code == 404


def test_long_lists_are_shown_a_page_at_a_time_newest_first(alpha, signed_in, begin):
    for number in range(31):
        begin(alpha, f"Matter {number}")
    browser = signed_in(alpha)
    first, second = browser.get("/desk/inbox/").text, browser.get("/desk/inbox/?page=2").text
    assert rows(first)[0] == "Matter 30"
    assert rows(second) == ["Matter 0"]
    assert "Page 2 of 2" in second
    assert 'id="conversations-open"' in first
    assert 'id="conversations-open"' not in second


def test_a_conversation_tells_three_kinds_apart_in_words(alpha, signed_in, begin, act):
    number = begin(alpha)
    act(alpha, number, "note", "Put her first.")
    act(alpha, number, "reply", "Yes, one.")
    page = soup(signed_in(alpha).get(f"/desk/inbox/{number}").text)
    said = [
        (message["class"][-1].split("-")[-1], message.select(".message-word")[0].get_text().strip())
        for message in page.select(".message")
    ]
    assert said == [("in", "Visitor"), ("note", "Note for colleagues"), ("out", "Our reply")]
    assert [text.get_text().strip() for text in page.select(".message-text")] == [
        "Is there a free plot?",
        "Put her first.",
        "Yes, one.",
    ]


def test_what_a_visitor_writes_is_shown_and_never_run(alpha, signed_in, begin):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)><hx-partial hx-target='body' hx-swap='delete'></hx-partial>"
    number = begin(alpha, evil, evil, name=evil)
    browser = signed_in(alpha)
    for path in ("/desk/inbox/", f"/desk/inbox/{number}"):
        page = browser.get(path).text
        assert "&lt;script&gt;alert(1)" in page
        for tag in ("<script>alert", "<img src=x", "<hx-partial"):
            assert tag not in page


def test_a_reply_is_written_and_leads_to_itself(alpha, signed_in, begin, send, messages, inside, work, letters):
    browser, number = signed_in(alpha), begin(alpha)
    answer = send(browser, number, "replies", text="Yes, one.\r\nCome.")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/desk/inbox/{number}#message-2"
    assert messages(alpha)[-1] == ("out", "Yes, one.\nCome.")
    page = browser.get(f"/desk/inbox/{number}").text
    assert "Your reply is on its way." in page
    assert "On its way" in page
    assert state_of(inside, alpha, number) == "waiting"
    work(alpha)
    assert "Written to the outbox" in browser.get(f"/desk/inbox/{number}").text
    assert len(letters()) == 1


def test_the_same_form_sent_twice_is_one_reply(alpha, signed_in, begin, messages, told):
    browser, number = signed_in(alpha), begin(alpha)
    form = filled_in(browser.get(f"/desk/inbox/{number}").text, "seen", text="Yes, one.")
    for _ in range(3):
        answer = browser.post(f"/desk/inbox/{number}/replies", data=form)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/desk/inbox/{number}#message-2")
    assert len(messages(alpha)) == 2
    assert told(alpha).count("ReplyWritten") == 1


def test_send_and_close_closes_once_even_when_it_was_reopened_before_the_repeat(
    alpha, signed_in, begin, act, inside, told
):
    browser, number = signed_in(alpha), begin(alpha)
    form = filled_in(browser.get(f"/desk/inbox/{number}").text, "seen", text="Yes, one.", then="closed")
    browser.post(f"/desk/inbox/{number}/replies", data=form)
    assert state_of(inside, alpha, number) == "closed"
    act(alpha, number, "reopen")
    assert browser.post(f"/desk/inbox/{number}/replies", data=form).status_code == 303
    assert state_of(inside, alpha, number) == "open"


@pytest.mark.parametrize(("what", "kind"), [("replies", "out"), ("notes", "note")])
def test_a_page_gone_back_to_loses_no_new_words(alpha, signed_in, begin, messages, what, kind):
    browser, number = signed_in(alpha), begin(alpha)
    having = "seen" if what == "replies" else "client_id"
    page = browser.get(f"/desk/inbox/{number}").text
    form = filled_in(page, having, text="First.")
    browser.post(f"/desk/inbox/{number}/{what}", data=form)
    answer = browser.post(f"/desk/inbox/{number}/{what}", data=form | {"text": "Second, from the old page."})
    assert answer.status_code == 409
    assert "Second, from the old page." in answer.text
    forms = [form for form in fromstring(answer.text).forms if form.get("action", "").split("#")[0].endswith(what)]
    again = dict(forms[0].form_values())
    assert browser.post(f"/desk/inbox/{number}/{what}", data=again).status_code == 303
    assert messages(alpha)[1:] == [(kind, "First."), (kind, "Second, from the old page.")]


@pytest.mark.parametrize("what", ["reply", "note", "receive"])
def test_what_arrived_meanwhile_is_shown_before_a_reply_is_sent(
    alpha, signed_in, begin, act, inside, messages, letters, work, what
):
    browser, number = signed_in(alpha), begin(alpha)
    form = filled_in(browser.get(f"/desk/inbox/{number}").text, "seen", text="Yes, one.")
    if what == "receive":
        with inside(alpha):
            conversation = db.session.get(Conversation, number)
            conversation.receive("Never mind, thank you.", conversation.contact)
    else:
        act(alpha, number, what, "Never mind, thank you.")
    answer = browser.post(f"/desk/inbox/{number}/replies", data=form)
    assert answer.status_code == 409
    page = soup(answer.text)
    assert "Something arrived while you were writing" in answer.text
    (new,) = [message for message in page.select(".message") if message.select(".message-new")]
    assert "Never mind, thank you." in new.get_text()
    assert page.select("#reply-text")[0].get_text().strip() == "Yes, one."
    assert "Yes, one." not in [text for _, text in messages(alpha)]
    again = filled_in(answer.text, "seen")
    assert browser.post(f"/desk/inbox/{number}/replies", data=again).status_code == 303
    assert messages(alpha)[-1] == ("out", "Yes, one.")


def test_a_note_of_a_colleague_does_not_hold_up_a_note(alpha, signed_in, begin, act, messages):
    browser, number = signed_in(alpha), begin(alpha)
    page = browser.get(f"/desk/inbox/{number}").text
    form = next(form for form in fromstring(page).forms if form.get("action", "").split("#")[0].endswith("notes"))
    act(alpha, number, "note", "One.")
    answer = browser.post(f"/desk/inbox/{number}/notes", data=dict(form.form_values()) | {"text": "Two."})
    assert answer.status_code == 303
    assert [text for kind, text in messages(alpha) if kind == "note"] == ["One.", "Two."]


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 30, "²"])
def test_a_strange_mark_of_what_was_seen_counts_as_nothing_seen(alpha, signed_in, begin, send, seen):
    answer = send(signed_in(alpha), begin(alpha), "replies", text="Yes.", seen=seen)
    assert answer.status_code == 409
    assert "Something arrived while you were writing" in answer.text
    assert "Yes." in answer.text


@pytest.mark.parametrize("what", ["replies", "notes"])
@pytest.mark.parametrize(
    ("text", "said"),
    [("", "Please write something first."), ("  \n ", "Please write something first."), ("x" * 50_001, "too long")],
)
def test_nothing_and_too_much_are_refused_with_the_text_kept(alpha, signed_in, begin, send, messages, what, text, said):
    answer = send(signed_in(alpha), begin(alpha), what, text=text)
    assert answer.status_code == 422
    assert said in answer.text
    assert text.strip() in answer.text
    assert len(messages(alpha)) == 1
    chosen = "mode-note" if what == "notes" else "mode-reply"
    assert soup(answer.text).select(f"#{chosen}[checked]")


def test_an_answer_to_nowhere_is_refused_with_the_text_kept(alpha, signed_in, begin, send):
    answer = send(signed_in(alpha), begin(alpha, address="nowhere"), "replies", text="Many careful words.")
    assert answer.status_code == 409
    assert "No letter can reach" in answer.text
    assert "Many careful words." in answer.text


def test_spam_offers_a_note_and_no_reply(alpha, signed_in, begin, send, messages):
    browser, number = signed_in(alpha), begin(alpha, is_spam=True)
    page = browser.get(f"/desk/inbox/{number}").text
    assert 'id="reply-text"' not in page
    assert send(browser, number, "notes", text="Again him.").status_code == 303
    token = filled_in(page)["csrf_token"]
    assert (
        browser.post(f"/desk/inbox/{number}/replies", data={"csrf_token": token, "text": "x", "seen": "99"}).status_code
        == 409
    )
    assert [kind for kind, _ in messages(alpha)] == ["in", "note"]


def test_a_conversation_is_closed_and_that_can_be_undone(alpha, signed_in, begin, send, inside):
    browser, number = signed_in(alpha), begin(alpha)
    answer = send(browser, number, "closing")
    assert state_of(inside, alpha, number) == "closed"
    page = browser.get(answer.headers["Location"]).text
    assert "“A plot”" in page
    assert rows(page) == []
    undo = next(form for form in fromstring(page).forms if form.get("action", "").endswith("/reopening"))
    assert browser.post(undo.get("action"), data=dict(undo.form_values())).status_code == 303
    assert state_of(inside, alpha, number) == "open"
    assert "“A plot”" not in browser.get(answer.headers["Location"]).text


def test_spam_and_back(alpha, signed_in, begin, send, inside):
    browser, number = signed_in(alpha), begin(alpha)
    page = browser.get(send(browser, number, "spam").headers["Location"]).text
    assert "among the spam" in page
    assert state_of(inside, alpha, number) == "spam"
    send(browser, number, "reopening")
    assert state_of(inside, alpha, number) == "open"


@pytest.mark.parametrize("undo", ["", "x", "99", "9" * 40, "²", "-1"])
def test_a_strange_undo_offers_nothing(alpha, signed_in, begin, undo):
    begin(alpha)
    answer = signed_in(alpha).get("/desk/inbox/", query_string={"undo": undo})
    assert answer.status_code == 200
    assert "/reopening" not in answer.text


def test_it_is_taken_given_away_and_let_go(alpha, signed_in, begin, send, inside, colleague):
    colleague(alpha)
    browser, number = signed_in(alpha), begin(alpha)

    def holder() -> str | None:
        with inside(alpha):
            assignee = db.session.get(Conversation, number).assignee
            return assignee.name if assignee else None

    assert "Take it" in browser.get(f"/desk/inbox/{number}").text
    send(browser, number, "assignment", assignee="1")
    assert holder() == "Olive of Alpha Allotments"
    assert "Take it" not in browser.get(f"/desk/inbox/{number}").text
    send(browser, number, "assignment", assignee="2")
    assert holder() == "Colin Colleague"
    send(browser, number, "assignment", assignee="0")
    assert holder() is None


def test_a_late_click_takes_nothing_from_a_colleague(alpha, signed_in, begin, send, colleague, told):
    colin, browser, number = colleague(alpha), signed_in(alpha), begin(alpha)
    form = filled_in(browser.get(f"/desk/inbox/{number}").text, "assignee")
    assert send(colin, number, "assignment", take="1").status_code == 303
    before = told(alpha)
    for chosen in ({"assignee": "1"}, {"assignee": "0"} | {"take": "1"}):
        answer = browser.post(f"/desk/inbox/{number}/assignment", data=form | chosen)
        assert answer.status_code == 409
        assert "Colin Colleague took it meanwhile. Look again before you change it." in answer.text
        again = filled_in(answer.text, "assignee")
        assert (again["holder"], again["assignee"]) == ("2", "2")
    assert told(alpha) == before
    assert browser.post(f"/desk/inbox/{number}/assignment", data=again | {"assignee": "1"}).status_code == 303


@pytest.mark.parametrize(("now", "said"), [("0", "It was let go meanwhile."), ("1", "It became yours meanwhile.")])
def test_a_late_click_is_told_what_has_become_of_it(alpha, signed_in, begin, send, colleague, now, said):
    colin, browser, number = colleague(alpha), signed_in(alpha), begin(alpha)
    colleague(alpha, "Dora Third")
    send(colin, number, "assignment", assignee="2")
    form = filled_in(browser.get(f"/desk/inbox/{number}").text, "assignee")
    send(colin, number, "assignment", assignee=now)
    answer = browser.post(f"/desk/inbox/{number}/assignment", data=form | {"assignee": "3"})
    assert answer.status_code == 409
    assert said in answer.text


def test_the_same_assignment_sent_twice_is_one(alpha, signed_in, begin, told):
    browser, number = signed_in(alpha), begin(alpha)
    form = filled_in(browser.get(f"/desk/inbox/{number}").text, "assignee", take="1")
    for _ in range(2):
        assert browser.post(f"/desk/inbox/{number}/assignment", data=form).status_code == 303
    assert told(alpha).count("ConversationAssigned") == 1
    assert "You look after it." in browser.get(f"/desk/inbox/{number}").text


def test_the_way_back_is_called_what_it_is(alpha, signed_in, begin, act):
    browser, number = signed_in(alpha), begin(alpha)
    for verb, words, label in (("reply", ["Yes."], "Back to open"), ("close", [], "Reopen")):
        act(alpha, number, verb, *words)
        page = soup(browser.get(f"/desk/inbox/{number}").text)
        assert page.select(".act-reopen button")[0].get_text().strip() == label
        assert ("Answered, waiting for them" in page.get_text()) == (verb == "reply")


@pytest.mark.parametrize("folder", ["waiting", "closed"])
def test_no_folder_promises_that_answers_come_back(alpha, signed_in, folder):
    page = signed_in(alpha).get(f"/desk/inbox/?folder={folder}").text
    assert "write back" not in page
    assert {"waiting": "do not arrive here yet", "closed": "You can reopen it"}[folder] in page


def test_a_row_says_who_of_us_wrote_what_it_shows(alpha, signed_in, begin, act, colleague, inside):
    answered, _ = begin(alpha, "Answered"), begin(alpha, "New")
    act(alpha, answered, "reply", "Yes, one.")
    act(alpha, answered, "note", "Never shown.")
    act(alpha, answered, "reopen")
    browser, colin = signed_in(alpha), colleague(alpha)

    def previews(reader) -> list[str]:
        return [each.get_text() for each in soup(reader.get("/desk/inbox/").text).select(".conversation-preview")]

    assert sorted(previews(browser)) == ["Is there a free plot?", "You: Yes, one."]
    assert sorted(previews(colin)) == ["Is there a free plot?", "Olive: Yes, one."]
    with inside(alpha):
        db.session.scalars(select(Message).where(Message.kind == "out")).one().author_id = None
    assert "Somebody who has left: Yes, one." in previews(colin)


def test_both_fields_say_that_they_take_plain_text(alpha, signed_in, begin):
    page = soup(signed_in(alpha).get(f"/desk/inbox/{begin(alpha)}").text)
    for field in ("reply", "note"):
        assert page.select(f"#{field}-text-help")[0].get_text().endswith("Plain text.")


@pytest.mark.parametrize("assignee", ["99", "x", "-1"])
def test_it_is_given_to_nobody_who_is_not_here(alpha, signed_in, begin, send, told, assignee):
    assert send(signed_in(alpha), begin(alpha), "assignment", assignee=assignee).status_code == 422
    assert told(alpha) == ["ConversationOpened"]


def test_only_a_letter_can_be_sent_again(alpha, signed_in, begin, act, work):
    browser, number, other = signed_in(alpha), begin(alpha), begin(alpha)
    note = act(alpha, number, "note", "Ours alone.")
    reply = act(alpha, number, "reply", "Yes.")
    token = filled_in(browser.get(f"/desk/inbox/{number}").text)["csrf_token"]

    def again(conversation_id: int, message_id: int) -> int:
        path = f"/desk/inbox/{conversation_id}/messages/{message_id}/letter"
        return browser.post(path, data={"csrf_token": token}).status_code

    assert again(number, note) == 409
    assert again(other, reply) == 404
    assert again(number, 99) == 404
    assert again(number, reply) == 303


def test_a_very_long_conversation_is_shown_from_its_end(alpha, signed_in, begin, inside):
    number = begin(alpha, text="The very first words.")
    with inside(alpha):
        conversation = db.session.get(Conversation, number)
        for count in range(150):
            conversation.receive(f"Word {count}.", conversation.contact)
    browser = signed_in(alpha)
    page = browser.get(f"/desk/inbox/{number}").text
    assert "Word 149." in page
    assert "The very first words." not in soup(page).select(".messages")[0].get_text()
    assert "51 earlier messages" in page
    with inside(alpha):
        first = db.session.scalars(select(Message.id).where(Message.text == "Word 50.")).one()
    earlier = browser.get(f"/desk/inbox/{number}?before={first}").text
    assert "The very first words." in earlier
    assert "Word 49." in earlier
    assert "Word 50." not in soup(earlier).select(".messages")[0].get_text()
    assert f'id="conversation-{number}-messages"' not in earlier


@pytest.mark.parametrize("before", ["0", "1", "-5", "x", "9" * 40, "²", ""])
def test_a_strange_place_in_a_conversation_does_no_harm(alpha, signed_in, begin, before):
    number = begin(alpha)
    assert signed_in(alpha).get(f"/desk/inbox/{number}?before={before}").status_code == 200


def test_without_room_the_words_are_kept_and_nothing_is_half_written(
    small_disk, alpha, signed_in, begin, send, messages, told
):
    browser, number = signed_in(alpha), begin(alpha)
    page = browser.get(f"/desk/inbox/{number}").text
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill(ballast)
    text = "Many careful words. " * 2000
    answer = browser.post(f"/desk/inbox/{number}/replies", data=filled_in(page, "seen", text=text))
    assert answer.status_code == 507
    assert text.strip()[:200] in answer.text
    ballast.unlink()
    assert messages(alpha) == [("in", "Is there a free plot?")]
    assert told(alpha) == ["ConversationOpened"]
    assert browser.post(f"/desk/inbox/{number}/replies", data=filled_in(answer.text, "seen")).status_code == 303


def fill(path: Path) -> None:
    """Write until there is no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)
