"""Rooms in real browsers: what arrives by itself, what is kept without a connection, and how pages look."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app import Freehold, create_app
from app.accounts import User, hash_password
from app.chat import Line, Room
from app.config import Config
from app.tenancy import db, tenant_context
from tests.browser.test_journey import CHROMIUM, ROOT, axe, chromium, person  # noqa: F401 (the two last are fixtures)
from tests.conftest import PASSWORD
from tests.running import answers, free_port, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

# The line arrives, and the answer to it never does.
LOSE_THE_FIRST = """
const ask = window.fetch;
window.fetch = async (...asked) => {
  const answer = await ask(...asked);
  if (!String(asked[0]).endsWith("/lines")) return answer;
  window.fetch = ask;
  throw new TypeError("lost");
};
"""
LINES = "#room-{}-lines > li[data-line]"


@dataclass
class House:
    """Alpha, served by a process of its own, and entered from this one."""

    app: Freehold
    port: int

    def at(self, path: str) -> str:
        return f"http://alpha.localhost:{self.port}{path}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        tenant = self.app.extensions["tenancy"].registry.by_slug("alpha")
        with self.app.app_context(), tenant_context(tenant):
            yield
            db.session.commit()

    def start(self, name: str, by: str = "owner", closed: bool = False, members: tuple[str, ...] = ()) -> int:
        with self.inside():
            room = Room.start(name, by=known(by), closed=closed)
            for member in members:
                room.invite(known(member), by=known(by))
            return room.id

    def say(self, room_id: int, *texts: str, by: str = "owner") -> list[int]:
        with self.inside():
            return [there(room_id).say(text, by=known(by)).id for text in texts]


def known(name: str) -> User:
    return User.by_email(f"{name}@alpha.test")


def there(room_id: int) -> Room:
    return db.session.get(Room, room_id)


@pytest.fixture(scope="module")
def house(furnished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home, port = tmp_path_factory.mktemp("rooms") / "home", free_port()
    shutil.copytree(furnished_home, home)
    app = create_app(Config.load({"FREEHOLD_HOME": str(home)}))
    house = House(app, port)
    with house.inside():
        for name in ("ann", "ben"):
            User.join(f"{name}@alpha.test", name.capitalize(), hashed=hash_password(PASSWORD))
    serving = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "FREEHOLD_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/", "alpha.localhost"))
        yield house
    finally:
        serving.terminate()
        serving.wait(20)
        app.extensions["tenancy"].close()


@pytest.fixture
def page_of(house: House, person: Any) -> Callable[..., Any]:  # noqa: F811
    """Open a room in a browser of one of the people."""

    def opened(name: str, room_id: int, **window: Any) -> Any:
        page = person(**window)
        page.goto(house.at("/sign-in"))
        page.get_by_label("E-mail").fill(f"{name}@alpha.test")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(re.compile(r"/desk/$"))
        page.goto(house.at(f"/desk/chat/rooms/{room_id}"))
        return page

    return opened


def write(page: Any, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")


def shown(page: Any, room_id: int) -> list[str]:
    """Return the lines of a page as they stand there."""
    return page.eval_on_selector_all(LINES.format(room_id), "lines => lines.map((line) => line.outerHTML)")


def bottom_of(place: Any) -> float:
    box = place.bounding_box()
    return box["y"] + box["height"]


def scrolled(page: Any, top: int) -> None:
    page.evaluate("(top) => { document.querySelector('.log').scrollTop = top; }", top)


def test_a_line_appears_in_other_browsers_by_itself_and_is_said_aloud(house: House, page_of: Any):
    room = house.start("Aloud")
    ann, ben = page_of("ann", room), page_of("ben", room)
    write(ann, "The kettle is *on*")
    ben.locator(f"{LINES.format(room)} em", has_text="on").wait_for()
    until(lambda: ben.locator("[data-news]").text_content() == "Ann: The kettle is on", 10)
    ann.locator("[data-unsent] li").wait_for(state="detached")
    assert ann.locator(LINES.format(room)).count() == 1
    assert ann.locator("[data-news]").text_content() == "", "nobody is told what they said themselves"
    assert "line-mine" in ann.locator(LINES.format(room)).get_attribute("class")
    assert "line-mine" not in ben.locator(LINES.format(room)).get_attribute("class")


def test_enter_sends_and_shift_enter_breaks(house: House, page_of: Any):
    room = house.start("Keys")
    ann = page_of("ann", room)
    box = ann.locator("#text")
    box.press("Enter")
    box.fill("One")
    box.press("Shift+Enter")
    box.type("two")
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True})
    assert box.input_value() == "One\ntwo", "whoever chooses a character with Enter has not finished"
    box.press("Enter")
    ann.locator(LINES.format(room), has_text="two").wait_for()
    assert ann.locator(LINES.format(room)).count() == 1
    box.press("ArrowUp")
    ann.wait_for_url(re.compile("/lines/"))
    assert ann.locator("#text").input_value().strip() == "One\ntwo"


def test_where_fingers_write_enter_breaks(house: House, page_of: Any):
    ann = page_of("ann", house.start("Fingers"), width=360, has_touch=True, is_mobile=True)
    ann.locator("#text").type("One")
    ann.locator("#text").press("Enter")
    ann.locator("#text").type("two")
    assert ann.locator("#text").input_value() == "One\ntwo"
    assert ann.locator("[data-keys]").is_hidden()


def test_what_is_written_without_a_connection_is_kept_and_sent_once(house: House, page_of: Any):
    room = house.start("Cellar")
    ann = page_of("ann", room)
    ann.context.set_offline(True)
    write(ann, "First"), write(ann, "Second")
    ann.locator("#text").fill("A thought")
    ann.locator("[data-unsent] li", has_text="Not sent yet").wait_for()
    ann.context.set_offline(False)
    ann.locator("[data-unsent] li").first.wait_for(state="detached", timeout=10_000)
    ann.locator(LINES.format(room), has_text="Second").wait_for()
    ann.reload()
    assert [text.split("\n")[-1] for text in ann.locator(LINES.format(room)).all_inner_texts()] == ["First", "Second"]
    assert ann.locator("#text").input_value() == "A thought"


def test_an_answer_that_is_lost_costs_no_second_line(house: House, page_of: Any):
    room = house.start("Lost")
    ann = page_of("ann", room)
    ann.evaluate(LOSE_THE_FIRST)
    write(ann, "Once")
    ann.locator("[data-unsent] li", has_text="Not sent yet").wait_for()
    ann.locator("[data-unsent] li").wait_for(state="detached", timeout=15_000)
    ann.reload()
    assert ann.locator(LINES.format(room)).count() == 1


def test_a_line_that_is_refused_stays_with_its_text(house: House, page_of: Any):
    room = house.start("Refused")
    ann = page_of("ann", room)
    ann.route("**/lines", lambda route: route.fulfill(status=403))
    write(ann, "Not yet")
    ann.locator(".is-refused", has_text="Load this page again").wait_for()
    ann.unroute("**/lines")
    ann.reload()
    ann.get_by_role("button", name="Retry").click()
    ann.locator(LINES.format(room), has_text="Not yet").wait_for()
    ann.route("**/lines", lambda route: route.fulfill(status=403))
    write(ann, "Never mind")
    ann.get_by_role("button", name="Take back").click()
    assert ann.locator("#text").input_value() == "Never mind"


def test_the_log_follows_the_newest_line_or_offers_to(house: House, page_of: Any):
    room = house.start("Long")
    house.say(room, *(f"Line {number}" for number in range(90)))
    ann = page_of("ann", room)
    ann.get_by_role("link", name="Go to the first new line").wait_for()
    house.say(room, "Look")
    ann.locator(LINES.format(room), has_text="Look").wait_for()
    assert "Look" in ann.locator(f"{LINES.format(room)}:last-child").inner_text()
    assert ann.locator("[data-jump]").is_hidden() == ann.evaluate(
        "document.querySelector('.chat').dataset.following === 'true'"
    )
    scrolled(ann, 0)
    ann.locator("[data-jump]", has_text="Jump to newest").wait_for()
    house.say(room, "Here")
    ann.locator("[data-jump]", has_text="1 new line").wait_for()
    assert ann.evaluate("document.querySelector('.log').scrollTop") == 0
    ann.locator("[data-jump]").click()
    ann.locator("[data-jump]").wait_for(state="hidden")
    assert ann.locator(LINES.format(room), has_text="Here").is_visible()


def test_earlier_lines_come_in_above_and_the_place_is_kept(house: House, page_of: Any):
    room = house.start("Archive")
    house.say(room, *(f"Line {number}" for number in range(90)))
    ann = page_of("ann", room)
    scrolled(ann, 0)
    first = ann.locator(LINES.format(room)).first
    text, bottom = first.inner_text(), bottom_of(first)
    ann.get_by_role("link", name="Earlier lines").click()
    until(lambda: ann.locator(LINES.format(room)).count() == 80, 10)
    same = ann.locator(LINES.format(room)).nth(40)
    assert text.split("\n")[-1] in same.inner_text()
    assert abs(bottom_of(same) - bottom) < 2
    ann.get_by_role("link", name="Earlier lines").click()
    until(lambda: ann.locator(LINES.format(room)).count() == 90, 10)
    assert ann.get_by_role("link", name="Earlier lines").is_hidden()


def test_rooms_count_what_is_new_until_it_is_read(house: House, page_of: Any):
    here, other = house.start("Here"), house.start("Other")
    ann = page_of("ann", here)
    house.say(other, "One", "Two")
    count = ann.locator(f".rooms-room[data-room='{other}'] .rooms-unread")
    until(lambda: count.get_attribute("data-count") == "2", 10)
    assert re.match(r"\(\d+\+?\) ", ann.title())
    ann.locator(f".rooms-room[data-room='{other}']").click()
    until(lambda: count.is_hidden(), 10)
    ann.reload()
    assert count.is_hidden()


def test_without_scripts_all_of_it_is_plain_pages_and_forms(house: House, page_of: Any):
    room = house.start("Plain")
    house.say(room, *(f"Line {number}" for number in range(60)))
    ann = page_of("ann", room, java_script_enabled=False)
    ann.locator(f".rooms-room[data-room='{room}']").click()
    assert ann.locator("#newest").bounding_box()["y"] < 800, "the newest line is in view"
    ann.locator("#text").fill("By hand")
    ann.get_by_role("button", name="Send").click()
    own = ann.locator(LINES.format(room), has_text="By hand")
    own.hover()
    own.get_by_role("link", name=re.compile("Change the line")).click()
    ann.locator("#text").fill("By my own hand")
    ann.get_by_role("button", name="Save").click()
    assert ann.locator(".line:target", has_text="By my own hand").count() == 1
    house.say(room, "News")
    ann.goto(house.at(f"/desk/chat/rooms/{room}"))
    ann.get_by_role("button", name="Mark as read").click()
    assert ann.get_by_role("button", name="Mark as read").count() == 0


def test_what_was_missed_makes_the_page_equal_to_a_fresh_one(house: House, page_of: Any):
    room = house.start("Missed")
    kept, changed, removed = house.say(room, "Kept", "Helo", "Gone")
    ann = page_of("ann", room)
    ann.context.set_offline(True)
    house.say(room, "New *one*", "Another", by="ben")
    with house.inside():
        db.session.get(Line, changed).edit("Hello", by=known("owner"))
        db.session.get(Line, removed).remove(by=known("owner"))
    ann.context.set_offline(False)
    ann.locator(f"#line-{removed}", has_text="removed").wait_for(timeout=10_000)
    caught_up = shown(ann, room)
    ann.reload()
    assert caught_up == shown(ann, room)
    assert len(caught_up) == 5
    assert ann.locator(f"#line-{kept}").count() == 1


def test_whoever_is_taken_out_sees_nothing_more_of_a_room(house: House, page_of: Any):
    room = house.start("Board", closed=True, members=("ann", "ben"))
    house.say(room, "In confidence")
    ann, ben = page_of("ann", room), page_of("ben", room)
    ann.locator("#text").fill("Half a sentence")
    with house.inside():
        there(room).remove(known("ann"), by=known("owner"))
    ann.get_by_text("You are no longer in this room").wait_for(timeout=5_000)
    ben.locator(f"#room-{room}-size", has_text="2 people").wait_for()
    house.say(room, "Between us")
    ben.get_by_text("Between us").wait_for()
    assert "confidence" not in ann.content()
    assert "Between us" not in ann.content()
    assert ann.get_by_label("What you were writing").input_value() == "Half a sentence"
    assert ann.locator(f".rooms-room[data-room='{room}']").count() == 0


def test_a_room_one_is_let_into_appears_by_itself(house: House, page_of: Any):
    ann = page_of("ann", 1)
    room = house.start("Committee", closed=True)
    house.start("Garden")
    ann.locator(".rooms-room", has_text="Garden").wait_for()
    assert ann.locator(".rooms-room", has_text="Committee").count() == 0
    with house.inside():
        there(room).invite(known("ann"), by=known("owner"))
    ann.locator(".rooms-room", has_text="Committee").wait_for()
    assert ann.locator(".rooms-room[aria-current]").inner_text().strip() == "general"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_is_accessible(house: House, page_of: Any, width: int, scheme: str):
    room = house.start(f"A name of some length {width} {scheme}", closed=True, members=("ann",))
    lines = house.say(
        room, "Hello", "| a | b |\n|---|---|\n| 1 | 2 |", "x" * 300, "مرحبا", "```\n" + "long " * 60 + "\n```", by="ann"
    )
    house.say(room, "New to Ann")
    ann = page_of("ann", room, width=width, scheme=scheme)
    troubles = []
    pages = [f"rooms/{room}", f"rooms/{room}?at={lines[0]}", "rooms/new", f"lines/{lines[0]}", "rooms/1"]
    for path in pages:
        ann.goto(house.at(f"/desk/chat/{path}"))
        ann.wait_for_load_state("load")
        if path == pages[0]:
            ann.locator("#people summary").click()
        wider = ann.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        troubles += [f"{path} is {wider} px too wide"] if wider > 0 else []
        troubles += [f"{path}: {trouble}" for trouble in axe(ann)]
    assert not troubles, "\n".join(troubles)
