"""One thread through all, in three browsers: a visitor writes, it stands in the inbox, it rings in `general`, people answer.

With scripts every page shows it by itself; without them the same forms and a reload do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from app.accounts import User
from app.chat import Line, Room
from app.inbox import Conversation
from app.tenancy import db
from tests.browser.test_journey import CHROMIUM, chromium, person  # noqa: F401 (the two last are fixtures)
from tests.conftest import PASSWORD
from tests.running import until
from tests.town import Town, copied, town_at

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

BY_ITSELF = 10_000  # milliseconds, at most, until an open page shows what has happened
AT_ONCE = 2.0  # seconds from the return of the network until a page is what a fresh one is
MANY = 31  # lines, fewer than a page; the last of them is neither changed nor taken away
# Without the first one, over which a page puts its day and its author.
LINES = """() => [...document.querySelectorAll("ol[id$='-lines'] > li[data-line]")].slice(1)
  .map((line) => [line.id, line.innerText])"""
ROWS = """() => [...document.querySelectorAll(".conversations > li")]
  .map((row) => [row.id, row.querySelector(".list-main").innerText, row.querySelector(".conversation-holder").innerText])"""


@pytest.fixture(scope="module")
def town(furnished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town_at(copied(furnished_home, tmp_path_factory.mktemp("thread"))) as town:
        yield town


def signed_in(town: Town, page: Any, name: str, path: str) -> Any:
    """Return the page at `path`, opened by somebody of alpha who has signed in."""
    page.goto(town.at("alpha", "/sign-in"))
    page.get_by_label("E-mail").fill(f"{name}@alpha.test")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(r"/desk/$"))
    page.goto(town.at("alpha", path))
    return page


def write(town: Town, page: Any, subject: str, words: str = "May I come on Saturday?") -> None:
    """Send the contact form as a visitor of alpha."""
    page.goto(town.at("alpha", "/contact"))
    page.get_by_label("Your name").fill("Vera Visitor")
    page.get_by_label("Your e-mail address").fill("vera@visitor.test")
    page.get_by_label("Subject").fill(subject)
    page.get_by_label("Your message").fill(words)
    page.get_by_role("button", name="Send message").click()
    page.wait_for_url(re.compile(r"/contact/thanks$"))


def general(town: Town) -> str:
    return f"/desk/chat/rooms/{town.general('alpha')}"


def line(page: Any, words: str) -> Any:
    return page.locator("ol[id$='-lines'] > li[data-line]", has_text=words)


def row(page: Any, words: str) -> Any:
    return page.locator("#conversations-open > .conversation-row", has_text=words)


def stays(page: Any) -> Any:
    """Return the page, marked so that `has_stayed` can tell whether it was loaded again."""
    page.evaluate("window.before = true")
    return page


def has_stayed(page: Any) -> bool:
    return bool(page.evaluate("window.before"))


def say(page: Any, words: str) -> None:
    page.locator("#text").fill(words)
    page.locator("#text").press("Enter")


def change(town: Town, page: Any, words: str, new: str = "") -> None:
    """Change the text of a line of one's own by its page, or take it away, and come back to the room."""
    line(page, words).locator(".line-change").click()
    if new:
        page.locator("textarea[name=text]").fill(new)
        page.get_by_role("button", name="Save").click()
    else:
        page.get_by_role("button", name="Remove this line").click()
    page.wait_for_url(re.compile(r"/desk/chat/rooms/"))
    page.goto(town.at("alpha", general(town)))


def is_told(town: Town, subject: str) -> bool:
    """Tell whether alpha's room has a line about the conversation."""
    with town.inside("alpha"):
        found = db.session.scalar(select(Conversation.id).where(Conversation.subject == subject))
        return found is not None and bool(
            db.session.scalar(select(Line.id).where(Line.told_for == f"conversation:{found}"))
        )


def the_letter(town: Town, subject: str) -> str:
    """Return the text of the one letter with this subject, when it has left."""
    letters = until(lambda: [found for found in read(town) if found["Subject"] == f"Re: {subject}"])
    assert len(letters) == 1
    return letters[0].get_content()


def read(town: Town) -> list[Any]:
    return [message_from_bytes(file.read_bytes(), policy=policy.SMTP) for file in town.letters()]


def test_what_a_visitor_writes_rings_and_is_answered_by_itself(town: Town, person: Any):  # noqa: F811
    visitor, ann = person(), signed_in(town, person(), "ann", general(town))
    ben = stays(signed_in(town, person(), "ben", "/desk/inbox/"))
    stays(ann)
    write(town, visitor, "Saturday's boats")
    row(ben, "Saturday's boats").wait_for(timeout=BY_ITSELF)
    ring = line(ann, "Somebody has written to us.")
    ring.wait_for(timeout=BY_ITSELF)
    assert has_stayed(ben)
    assert has_stayed(ann)
    ring.get_by_role("link", name="Somebody has written").click()
    ann.wait_for_url(re.compile(r"/desk/inbox/\d+$"))
    stays(ann)
    ann.get_by_label("Your reply").fill("Yes, come at nine.")
    ann.get_by_role("button", name="Send", exact=True).click()
    ann.locator(".letter-sent").wait_for(timeout=BY_ITSELF)
    row(ben, "Saturday's boats").wait_for(state="detached", timeout=BY_ITSELF)
    assert has_stayed(ben)
    assert the_letter(town, "Saturday's boats").startswith("Yes, come at nine.")


def test_a_line_is_seen_changed_and_gone_by_itself(town: Town, person: Any):  # noqa: F811
    ann, ben = (signed_in(town, person(), name, general(town)) for name in ("ann", "ben"))
    stays(ben)
    say(ann, "The boathouse is open")
    line(ben, "The boathouse is open").wait_for(timeout=BY_ITSELF)
    change(town, ann, "The boathouse is open", "The boathouse is shut")
    line(ben, "The boathouse is shut").wait_for(timeout=BY_ITSELF)
    gone = line(ben, "The boathouse is shut").get_attribute("id")
    change(town, ann, "The boathouse is shut")
    ben.locator(f"#{gone}", has_text="This line was removed.").wait_for(timeout=BY_ITSELF)
    assert line(ben, "The boathouse is").count() == 0
    assert has_stayed(ben)


def happens_much(town: Town, words: str) -> None:
    """Have lines written, changed and taken away, some of them such as were there before."""
    with town.inside("alpha", writes=True):
        room, owner = Room.named("general"), User.by_email("owner@alpha.test")
        before = db.session.query(Line).where(
            Line.kind == "said", Line.author_id == owner.id, Line.removed_at.is_(None)
        )
        before = list(before)
        said = [room.say(f"{words} {number}", by=owner) for number in range(MANY)]
        for one in (*before[::2], *said[:-1:3]):
            one.edit(f"{one.source}, changed", by=owner)
        for one in (*before[1::2], *said[1:-1:4]):
            one.remove(by=owner)


def becomes(page: Any, what: str, expected: list[Any]) -> None:
    """Wait until a page ends in what is expected, which a fresh one shows."""
    deadline = time.monotonic() + 15
    while (shown := page.evaluate(what)[-len(expected) :]) != expected and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    assert shown == expected


@pytest.mark.parametrize(("seconds", "pace"), [(4, 3), pytest.param(60, 1, marks=pytest.mark.prove)])
def test_after_a_cut_a_page_is_what_a_fresh_one_is(town: Town, person: Any, seconds: int, pace: int):  # noqa: F811
    happens_much(town, f"before a cut of {seconds}")
    ben = stays(signed_in(town, person(), "ben", general(town)))
    list_of_ben = ben.context.new_page()
    list_of_ben.goto(town.at("alpha", "/desk/inbox/"))
    stays(list_of_ben)
    ben.locator("#text").press_sequentially("Half a sent")
    line(ben, f"before a cut of {seconds} {MANY - 1}").wait_for(timeout=BY_ITSELF)
    ben.context.set_offline(True)
    cut = time.monotonic()
    subject = f"Written during a cut of {seconds}"
    write(town, person(), subject)
    happens_much(town, f"during a cut of {seconds}")
    until(lambda: is_told(town, subject))
    fresh = signed_in(town, person(), "ben", general(town))
    ben.wait_for_timeout(max(0, seconds - (time.monotonic() - cut)) * 1000)
    expected = fresh.evaluate(LINES)
    fresh.goto(town.at("alpha", "/desk/inbox/"))
    listed = fresh.evaluate(ROWS)
    assert line(ben, "during a cut").count() == 0
    ben.context.set_offline(False)
    back = time.monotonic()
    becomes(ben, LINES, expected)
    becomes(list_of_ben, ROWS, listed)
    assert time.monotonic() - back < AT_ONCE * pace
    assert len({name for name, _ in ben.evaluate(LINES)}) == len(ben.evaluate(LINES))
    ben.keyboard.type("ence")
    assert ben.locator("#text").input_value() == "Half a sentence"
    assert has_stayed(ben)
    assert has_stayed(list_of_ben)


def test_what_is_written_survives_events_and_a_reset(town: Town, person: Any):  # noqa: F811
    write(town, person(), "To be answered in a while")
    ben = signed_in(town, person(), "ben", "/desk/inbox/")
    row(ben, "To be answered in a while").get_by_role("link").click()
    ben.get_by_label("Your reply").fill("Dear Vera, I have")
    room = stays(ben.context.new_page())
    room.goto(town.at("alpha", general(town)))
    room.locator("#text").press_sequentially("I am about to")
    stays(ben)
    stays(room)
    happens_much(town, "while people write")
    line(room, f"while people write {MANY - 1}").wait_for(timeout=BY_ITSELF)
    with town.inside("alpha", writes=True):
        db.session.execute(text("UPDATE stamp SET epoch = epoch + 1"), bind_arguments={"mapper": Line})
        Room.named("general").say("in another life", by=User.by_email("owner@alpha.test"))
    line(room, "in another life").wait_for(timeout=BY_ITSELF)
    happens_much(town, "after a reset")
    line(room, f"after a reset {MANY - 1}").wait_for(timeout=BY_ITSELF)
    assert room.locator("#text").input_value() == "I am about to"
    assert ben.get_by_label("Your reply").input_value() == "Dear Vera, I have"
    assert has_stayed(ben)
    assert has_stayed(room)
    becomes(room, LINES, signed_in(town, person(), "ben", general(town)).evaluate(LINES))


def test_signing_out_in_one_tab_ends_the_other_and_what_was_written_is_kept(town: Town, person: Any):  # noqa: F811
    ben = signed_in(town, person(), "ben", "/desk/inbox/")
    room = ben.context.new_page()
    room.goto(town.at("alpha", general(town)))
    room.locator("#text").fill("Not sent yet")
    say_on = signed_in(town, person(), "ann", general(town))
    say(say_on, "Is ben still here?")
    line(room, "Is ben still here?").wait_for(timeout=BY_ITSELF)
    ben.locator(".shell-person summary").click()
    ben.get_by_role("button", name="Sign out").click()
    room.wait_for_url(re.compile(r"/sign-in"), timeout=BY_ITSELF)
    say(say_on, "Only for those who are")
    assert room.locator("li[data-line]").count() == 0
    signed_in(town, room, "ben", general(town))
    assert room.locator("#text").input_value() == "Not sent yet"


def test_without_scripts_the_same_by_forms_and_reloads(town: Town, person: Any):  # noqa: F811
    visitor = person(java_script_enabled=False)
    ann = signed_in(town, person(java_script_enabled=False), "ann", general(town))
    ben = signed_in(town, person(java_script_enabled=False), "ben", "/desk/inbox/")
    write(town, visitor, "By hand")
    ben.reload()
    row(ben, "By hand").get_by_role("link").click()
    until(lambda: is_told(town, "By hand"))
    ann.reload()
    assert line(ann, "Somebody has written to us.").count()
    ann.locator("#text").fill("I take it")
    ann.get_by_role("button", name="Send").click()
    line(ann, "I take it").wait_for()
    talk = ben.context.new_page()
    talk.goto(town.at("alpha", general(town)))
    assert line(talk, "I take it").count() == 1
    change(town, ann, "I take it", "You take it")
    talk.reload()
    assert line(talk, "You take it").count() == 1
    change(town, ann, "You take it")
    talk.reload()
    assert line(talk, "take it").count() == 0
    ben.get_by_label("Your reply").fill("By hand too.")
    ben.get_by_role("button", name="Send", exact=True).click()
    ben.wait_for_url(re.compile(r"#message-\d+$"))
    until(lambda: ben.reload() and ben.locator(".letter-sent").count())
    assert the_letter(town, "By hand").startswith("By hand too.")
