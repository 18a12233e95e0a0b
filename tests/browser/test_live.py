"""Open pages keep up by themselves: first against a stream that can do what a real one seldom does, then against the real one."""

from __future__ import annotations

import itertools
import json
import mimetypes
import os
import queue
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Error as PageLeft

from app.pages import CONTENT_SECURITY_POLICY, STATIC
from tests.browser.test_journey import (  # noqa: F401 (some are fixtures)
    AT_REST,
    CHROMIUM,
    Village,
    axe,
    chromium,
    person,
    sign_in,
    village,
)
from tests.running import descendants, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

# What the page's own scripts would do: keep what they are told.
JOURNAL = """
window.told = [];
for (const name of ["event", "refreshed", "connection"])
  document.addEventListener(`freehold:${name}`, (event) => window.told.push([name, event.detail]));
"""
# A phone freezes hidden tabs. A browser without a screen does not, so the tab that leads loses its voice instead.
MUTE = """() => {
  window.voice = BroadcastChannel.prototype.postMessage;
  BroadcastChannel.prototype.postMessage = () => {};
}"""
UNMUTE = "() => { BroadcastChannel.prototype.postMessage = window.voice; }"
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""
WORRIES = """new MutationObserver(() => { window.worried = true; })
  .observe(document.querySelector("[data-live-banner]"), {childList: true})"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Room</title>
<link rel="stylesheet" href="/static/tokens.css"><link rel="stylesheet" href="/static/base.css">
<link rel="stylesheet" href="/static/components.css"><link rel="stylesheet" href="/static/live.css">
<script src="/static/vendor/htmx.js" defer></script><script src="/static/vendor/hx-upsert.js" defer></script>
<script src="/static/focus.js" type="module"></script><script src="/static/live.js" type="module"></script></head>
<body data-live="{live}" data-person="1">
<main><h1>Room</h1>
<ul id="lines" data-live-refresh style="block-size: 8rem; overflow: auto" tabindex="0">{lines}</ul>
<section id="state" data-live-refresh><p class="count">{count}</p>
<label>Colour <select name="colour"><option>red</option><option>blue</option></select></label>
<label><input type="checkbox" name="loud"> Loud</label></section>
<form id="reply" method="post" data-live-refresh><input type="hidden" name="client_id" value="{live}">
<label>Words <textarea name="words"></textarea></label><button class="button button-primary">Send</button></form>{more}</main>
<p class="live-banner" role="status" data-live-banner data-lost="Not connected." data-outdated="Out of date."></p>
</body></html>"""


class Room:
    """A little site with one page and its stream; `lines` is what the page shows now, `log` what happened."""

    def __init__(self) -> None:
        self.epoch, self.lines, self.log, self.more = "aaaaaaaa", {}, [], ""
        self.streams: list[queue.Queue[bytes | None]] = []
        self.asked: list[str] = []
        self.refusal = self.page_refusal = self.fetched = 0
        self.forgotten = 0
        self.url = ""

    def at(self, number: int | None = None) -> str:
        return f"{self.epoch}-{len(self.log) if number is None else number}"

    def page(self) -> str:
        lines = "".join(line(number, words) for number, words in sorted(self.lines.items()))
        return PAGE.format(live=self.at(), lines=lines, count=len(self.lines), more=self.more)

    def say(self, words: str, number: int | None = None) -> int:
        """Write a line, or another text in a line, and tell everybody."""
        number = number or len(self.lines) + 1
        self.lines[number] = words
        return self.happens("LinePosted", f'<hx-upsert hx-target="#lines">{line(number, words)}</hx-upsert>', number)

    def happens(self, kind: str, html: str, number: int = 0) -> int:
        told = {
            "kind": kind,
            "subject": f"line:{number}",
            "audience": "room:1",
            "actor": 1,
            "payload": {},
            "html": html,
        }
        self.log.append(told)
        self.send("message", told, self.at())
        return len(self.log)

    def send(self, event: str, data: object, position: str = "") -> None:
        for stream in list(self.streams):
            stream.put(message(event, data, position))

    def cut(self) -> None:
        for stream in list(self.streams):
            stream.put(None)
        until(lambda: not self.streams)

    def since(self, position: str) -> list[bytes]:
        """Return what somebody at `position` has to hear first."""
        epoch, _, number = position.partition("-")
        if epoch != self.epoch or not number.isdigit() or not self.forgotten <= int(number) <= len(self.log):
            return [message("reset", {"reason": "unknown"}, self.at())]
        missed = range(int(number), len(self.log))
        return [message("message", self.log[index], self.at(index + 1)) for index in missed]


def line(number: int, words: str) -> str:
    return f'<li id="line-{number}"><a href="#line-{number}">{words}</a></li>'


def message(event: str, data: object, position: str = "") -> bytes:
    marked = f"id: {position}\n" if position else ""
    return f"{marked}event: {event}\ndata: {json.dumps(data)}\n\n".encode()


class Door(BaseHTTPRequestHandler):
    """Serves the room: its page, its stream, and our static files under our policy for scripts."""

    room: Room

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path.startswith("/static/"):
            self.answer(200, (STATIC / asked.path.removeprefix("/static/")).read_bytes(), asked.path)
        elif asked.path == "/live":
            self.stream(parse_qs(asked.query)["after"][0])
        elif asked.path != "/":
            self.answer(404, b"", "no.txt")
        else:
            self.room.fetched += 1
            self.answer(self.room.page_refusal or 200, self.room.page().encode(), "page.html")

    def answer(self, status: int, body: bytes, name: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", mimetypes.guess_type(name)[0] or "text/plain")
        self.send_header(
            "Content-Security-Policy", CONTENT_SECURITY_POLICY.replace("style-src", "style-src 'unsafe-inline'")
        )
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, after: str) -> None:
        self.room.asked.append(after)
        if self.room.refusal:
            return self.answer(self.room.refusal, b"no", "no.txt")
        waiting: queue.Queue[bytes | None] = queue.Queue()
        self.room.streams.append(waiting)
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b":\n\n" + b"".join(self.room.since(after)))
            while (told := self.next_of(waiting)) is not None:
                self.wfile.write(told)
        except OSError:
            pass
        finally:
            self.room.streams.remove(waiting)
        return None

    @staticmethod
    def next_of(waiting: queue.Queue[bytes | None]) -> bytes | None:
        """Return what to write next: a comment when nothing came, so that a browser that has gone is noticed."""
        try:
            return waiting.get(timeout=0.3)
        except queue.Empty:
            return b":\n\n"

    def log_message(self, *_: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of browsers that went away."""


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    site = Site(("127.0.0.1", 0), type("RoomDoor", (Door,), {"room": room}))
    room.url = f"http://127.0.0.1:{site.server_port}/"
    Thread(target=site.serve_forever, daemon=True).start()
    for words in ("one", "two", "three"):
        room.say(words)
    yield room
    with suppress(AssertionError):
        room.cut()
    site.shutdown()
    site.server_close()


@pytest.fixture
def browser(person: Callable[..., Any], room: Room) -> Any:  # noqa: F811
    """Return a browser that keeps a journal of what pages are told."""
    context = person().context
    context.add_init_script(JOURNAL)
    return context


@pytest.fixture
def tab(browser: Any, room: Room) -> Callable[[], Any]:
    """Return a function that opens the room in a new tab and waits until it hears."""

    def opened() -> Any:
        page = browser.new_page()
        page.goto(room.url)
        hears(page)
        return page

    return opened


def soon(page: Any, condition: Callable[[], Any]) -> None:
    """Wait for what is to happen while the page goes on."""
    until(lambda: condition() or page.wait_for_timeout(20), seconds=10)


def hears(page: Any, is_up: bool = True) -> None:
    soon(page, lambda: (told(page, "connection") or [{}])[-1].get("up") is is_up)


def shown(page: Any) -> list[str]:
    with suppress(PageLeft):
        return page.locator("#lines li").all_inner_texts()
    return []


def shows(page: Any, *lines: str) -> None:
    soon(page, lambda: shown(page) == list(lines))


def told(page: Any, name: str) -> list[Any]:
    return [detail for said, detail in page.evaluate("told") if said == name]


def is_before(page: Any) -> bool:
    """Tell whether the page has not been loaded again since the test marked it."""
    with suppress(PageLeft):
        return bool(page.evaluate("window.before"))
    return True


def banner(page: Any) -> str:
    return page.locator("[data-live-banner]").inner_text()


def test_a_line_appears_changes_and_goes_by_itself(tab: Any, room: Room):
    page = tab()
    room.say("four")
    shows(page, "one", "two", "three", "four")
    room.say("two, in other words", 2)
    shows(page, "one", "two, in other words", "three", "four")
    room.happens("LineRemoved", '<hx-partial hx-target="#line-1" hx-swap="delete"></hx-partial>')
    shows(page, "two, in other words", "three", "four")
    assert [event["kind"] for event in told(page, "event")] == ["LinePosted", "LinePosted", "LineRemoved"]
    assert told(page, "event")[0] == {
        "kind": "LinePosted", "subject": "line:4", "audience": "room:1", "actor": 1, "payload": {}, "id": "aaaaaaaa-4",
    }  # fmt: skip


def test_what_concerns_another_page_is_told_and_shown_nowhere(tab: Any, room: Room):
    page = tab()
    room.happens("Elsewhere", '<hx-upsert hx-target="#other"><li id="line-9">nine</li></hx-upsert>')
    room.happens("Elsewhere", '<hx-partial hx-target="#gone" hx-swap="outerHTML"><p>gone</p></hx-partial>')
    room.happens("Silent", "")
    room.say("four")
    shows(page, "one", "two", "three", "four")
    assert "nine" not in page.content()
    assert [event["kind"] for event in told(page, "event")] == ["Elsewhere", "Elsewhere", "Silent", "LinePosted"]


def test_what_comes_twice_counts_once(tab: Any, room: Room):
    page = tab()
    room.say("four")
    room.send("message", room.log[3], "aaaaaaaa-4")
    room.send("message", room.log[1], "aaaaaaaa-2")
    room.say("five")
    shows(page, "one", "two", "three", "four", "five")
    assert [event["id"] for event in told(page, "event")] == ["aaaaaaaa-4", "aaaaaaaa-5"]


def test_what_cannot_be_applied_stops_nothing(tab: Any, room: Room):
    page = tab()
    for stream in room.streams:
        stream.put(b"id: aaaaaaaa-4\nevent: message\ndata: no json\n\n")
    room.log.append({})
    room.happens("Odd", '<hx-partial hx-target="#lines" hx-swap="sideways">?</hx-partial>')
    room.say("four")
    shows(page, "one", "two", "three", "four")


def test_many_at_once_keep_their_order(tab: Any, room: Room):
    page = tab()
    for number in range(4, 204):
        room.say(f"line {number}")
    shows(page, "one", "two", "three", *(f"line {number}" for number in range(4, 204)))
    assert [event["id"] for event in told(page, "event")] == [room.at(number) for number in range(4, 204)]


def test_after_a_cut_it_goes_on_where_it_was(tab: Any, room: Room):
    page = tab()
    room.say("four")
    shows(page, "one", "two", "three", "four")
    room.cut()
    room.say("five")
    room.say("one, again", 1)
    shows(page, "one, again", "two", "three", "four", "five")
    assert room.asked == ["aaaaaaaa-3", "aaaaaaaa-4"]
    assert len(told(page, "event")) == 3
    assert told(page, "refreshed") == []


def test_a_beat_moves_the_position(tab: Any, room: Room):
    page = tab()
    room.log += [{}, {}]
    room.send("beat", {}, room.at())
    room.cut()
    room.say("four")
    shows(page, "one", "two", "three", "four")
    assert room.asked == ["aaaaaaaa-3", "aaaaaaaa-5"]


@pytest.fixture
def timed(browser: Any, room: Room) -> Any:
    """Return a tab whose clock the test moves on."""
    page = browser.new_page()
    page.clock.install()
    page.goto(room.url)
    hears(page)
    return page


def test_silence_for_45_seconds_is_a_lost_connection(timed: Any, room: Room):
    for _ in range(3):
        timed.clock.run_for(20_000)
        room.send("beat", {}, room.at())
        timed.wait_for_timeout(100)
    assert len(room.asked) == 1
    timed.clock.run_for(52_000)
    soon(timed, lambda: len(room.asked) == 2)


def test_while_refused_it_asks_more_and_more_seldom(timed: Any, room: Room):
    room.refusal = 503
    room.cut()
    timed.wait_for_timeout(200)
    tries: list[int] = []
    for _ in range(300):
        timed.clock.run_for(1_000)
        timed.wait_for_timeout(10)
        tries.append(len(room.asked))
    first_ten_seconds, last_minute = tries[10] - 1, tries[-1] - tries[-61]
    assert 2 <= first_ten_seconds <= 14  # some attempts are two requests: the stream, and the question why not
    assert 2 <= last_minute <= 40
    assert tries[-1] < 90


def test_a_banner_tells_of_a_lost_connection_after_five_seconds_and_goes(timed: Any, room: Room):
    room.refusal = 503
    room.cut()
    hears(timed, False)
    assert banner(timed) == ""
    timed.clock.run_for(5_000)
    assert banner(timed) == "Not connected."
    assert timed.get_by_role("status").inner_text() == "Not connected."
    room.refusal = 0
    timed.clock.run_for(30_000)
    soon(timed, lambda: banner(timed) == "")


def test_a_short_cut_needs_no_banner(tab: Any, room: Room):
    page = tab()
    page.evaluate(WORRIES)
    room.cut()
    soon(page, lambda: room.streams)
    page.wait_for_timeout(5_000)
    assert not page.evaluate("window.worried")


def test_coming_back_online_connects_at_once(timed: Any, room: Room):
    timed.context.set_offline(True)
    hears(timed, False)
    room.say("four")
    timed.clock.run_for(300_000)
    timed.context.set_offline(False)
    shows(timed, "one", "two", "three", "four")


def test_a_reset_shows_the_page_as_it_is_now(tab: Any, room: Room):
    page = tab()
    page.locator("#lines").evaluate("(list) => { list.dataset.mine = 1; list.scrollTop = 5 }")
    room.epoch, room.lines = "bbbbbbbb", {2: "two", 3: "three, restored", 7: "seven"}
    room.send("reset", {"reason": "restored"}, room.at())
    shows(page, "two", "three, restored", "seven")
    assert page.locator(".count").inner_text() == "3"
    assert page.locator("input[name=client_id]").input_value() == "bbbbbbbb-3"
    assert len(told(page, "refreshed")) == 1
    room.say("eight", 8)
    shows(page, "two", "three, restored", "seven", "eight")
    assert room.asked == ["aaaaaaaa-3"]


def test_a_reset_on_connecting_is_one_fetch_and_no_loop(tab: Any, room: Room):
    page = tab()
    room.cut()
    room.forgotten = 10
    room.log += [{}] * 10
    room.lines = {9: "nine"}
    shows(page, "nine")
    page.wait_for_timeout(500)
    assert room.fetched == 2
    room.say("ten", 10)
    shows(page, "nine", "ten")


def test_a_reset_without_a_position_asks_anew(tab: Any, room: Room):
    page = tab()
    room.epoch, room.lines = "bbbbbbbb", {1: "one, restored"}
    room.send("reset", {"reason": "restored"})
    shows(page, "one, restored")
    room.say("two", 2)
    shows(page, "one, restored", "two")


@pytest.mark.parametrize("write", ["textarea", "select", "checkbox"])
def test_a_reset_leaves_alone_what_somebody_writes(tab: Any, room: Room, write: str):
    page = tab()
    if write == "textarea":
        page.get_by_label("Words").fill("half a sente")
    elif write == "select":
        page.get_by_label("Colour").select_option("blue")
    else:
        page.get_by_label("Loud").check()
    page.get_by_role("link", name="two").focus()
    room.epoch, room.lines = "bbbbbbbb", {2: "two", 3: "three, restored"}
    room.send("reset", {"reason": "restored"}, room.at())
    shows(page, "two", "three, restored")
    is_reply = write == "textarea"
    assert page.get_by_label("Words").input_value() == ("half a sente" if is_reply else "")
    assert page.locator("input[name=client_id]").input_value() == ("aaaaaaaa-3" if is_reply else "bbbbbbbb-3")
    assert page.locator(".count").inner_text() == ("2" if is_reply else "3")
    assert page.get_by_label("Colour").input_value() == ("blue" if write == "select" else "red")
    assert page.get_by_label("Loud").is_checked() == (write == "checkbox")
    assert page.evaluate("document.activeElement.textContent") == "two"


def test_a_reset_while_the_site_is_away_waits_for_it(tab: Any, room: Room):
    page = tab()
    room.page_refusal = 503
    room.epoch, room.lines = "bbbbbbbb", {1: "one, restored"}
    room.send("reset", {"reason": "restored"}, room.at())
    room.say("two", 2)
    soon(page, lambda: room.fetched == 2)
    assert shown(page) == ["one", "two", "three"]
    room.page_refusal = 0
    shows(page, "one, restored", "two")


def test_a_page_that_is_gone_is_left_unless_somebody_writes(tab: Any, room: Room):
    page, other = tab(), tab()
    for each in (page, other):
        each.evaluate("window.before = true")
    other.get_by_label("Words").fill("half a sente")
    room.page_refusal = 404
    room.send("reset", {"reason": "restored"}, room.at())
    soon(other, lambda: banner(other) == "Out of date.")
    assert other.get_by_label("Words").input_value() == "half a sente"
    soon(page, lambda: not is_before(page))
    assert is_before(other)


def test_the_end_loads_the_page_again_in_every_tab(tab: Any, room: Room):
    pages = [tab(), tab(), tab()]
    for page in pages:
        page.evaluate("window.before = true")
    room.lines = {1: "Sign in"}
    room.refusal = 503
    room.send("end", {"reason": "signed out"})
    for page in pages:
        shows(page, "Sign in")
        assert not is_before(page)


def test_a_refusal_for_who_is_not_signed_in_loads_the_page_again(tab: Any, room: Room):
    pages = [tab(), tab()]
    room.lines = {1: "Sign in"}
    room.refusal = 401
    room.cut()
    for page in pages:
        shows(page, "Sign in")


def test_a_page_that_is_sent_away_at_once_again_waits(tab: Any, room: Room):
    page = tab()
    room.refusal = 401
    room.cut()
    page.wait_for_timeout(6_000)
    assert room.fetched <= 3


def test_tabs_share_one_stream(tab: Any, room: Room):
    pages = [tab(), tab(), tab()]
    room.say("four")
    for page in pages:
        shows(page, "one", "two", "three", "four")
        assert len(told(page, "event")) == 1
    assert room.asked == ["aaaaaaaa-3"]
    assert len(room.streams) == 1


def test_a_tab_that_comes_late_gets_what_it_missed(browser: Any, tab: Any, room: Room):
    first = tab()
    late = browser.new_page()
    late.route(
        "**/live.js*",
        lambda route: (
            room.say("four"),
            room.say("five"),
            shows(first, "one", "two", "three", "four", "five"),
            route.continue_(),
        ),
    )
    late.goto(room.url)
    shows(late, "one", "two", "three", "four", "five")
    room.say("six")
    shows(late, "one", "two", "three", "four", "five", "six")
    assert [event["id"] for event in told(late, "event")] == ["aaaaaaaa-4", "aaaaaaaa-5", "aaaaaaaa-6"]
    assert told(late, "refreshed") == []
    assert len(room.asked) == 1


def test_a_tab_that_missed_more_than_is_kept_shows_the_page_as_it_is_now(browser: Any, tab: Any, room: Room):
    first = tab()
    late = browser.new_page()

    def meanwhile(route: Any) -> None:
        for number in range(4, 510):
            room.say(f"changed {number}", 3)
        shows(first, "one", "two", "changed 509")
        route.continue_()

    late.route("**/live.js*", meanwhile)
    late.goto(room.url)
    shows(late, "one", "two", "changed 509")
    assert len(told(late, "refreshed")) == 1
    room.say("four", 4)
    shows(late, "one", "two", "changed 509", "four")
    assert len(room.asked) == 1


def test_when_the_leading_tab_goes_another_leads_and_nothing_is_lost(tab: Any, room: Room):
    first, *others = [tab(), tab(), tab()]
    room.say("four")
    shows(others[0], "one", "two", "three", "four")
    first.close()
    room.say("five")
    for page in others:
        shows(page, "one", "two", "three", "four", "five")
        assert [event["id"] for event in told(page, "event")] == ["aaaaaaaa-4", "aaaaaaaa-5"]
    soon(others[0], lambda: len(room.streams) == 1)


def test_a_tab_that_moves_on_leads_no_longer(tab: Any, room: Room):
    first, second = tab(), tab()
    for number in (4, 5, 6):
        first.goto(f"{room.url}?{number}")
        room.say(f"line {number}")
        shows(first, "one", "two", "three", *(f"line {seen}" for seen in range(4, number + 1)))
    shows(second, "one", "two", "three", "line 4", "line 5", "line 6")
    assert len(told(second, "event")) == 3


def test_a_leader_that_does_not_answer_is_replaced_when_somebody_looks(tab: Any, room: Room):
    leading, looked_at = tab(), tab()
    leading.evaluate(MUTE)
    room.say("four")
    looked_at.evaluate(HIDE, False)
    shows(looked_at, "one", "two", "three", "four")
    leading.evaluate(UNMUTE)
    soon(looked_at, lambda: len(room.streams) == 1)
    room.say("five")
    for page in (leading, looked_at):
        shows(page, "one", "two", "three", "four", "five")
        assert [event["id"] for event in told(page, "event")] == ["aaaaaaaa-4", "aaaaaaaa-5"]


def test_a_leader_that_is_silent_for_45_seconds_is_replaced(browser: Any, tab: Any, room: Room):
    leading = tab()
    waiting = browser.new_page()
    waiting.clock.install()
    waiting.goto(room.url)
    hears(waiting)
    leading.evaluate(MUTE)
    room.say("four")
    waiting.clock.run_for(40_000)
    waiting.wait_for_timeout(500)
    assert len(room.asked) == 1
    waiting.clock.run_for(10_000)
    shows(waiting, "one", "two", "three", "four")
    assert len(room.asked) == 2


def test_a_hidden_tab_leaves_a_silent_leader_alone(browser: Any, tab: Any, room: Room):
    leading = tab()
    hidden = browser.new_page()
    hidden.clock.install()
    hidden.goto(room.url)
    hears(hidden)
    hidden.evaluate(HIDE, True)
    leading.evaluate(MUTE)
    hidden.clock.run_for(120_000)
    hidden.wait_for_timeout(500)
    assert len(room.asked) == 1


def test_all_tabs_survive_a_reset_together(tab: Any, room: Room):
    pages = [tab(), tab(), tab()]
    room.epoch, room.lines = "bbbbbbbb", {1: "one, restored"}
    room.send("reset", {"reason": "restored"}, room.at())
    room.say("two", 2)
    for page in pages:
        shows(page, "one, restored", "two")
    room.say("three", 3)
    for page in pages:
        shows(page, "one, restored", "two", "three")
        assert len(told(page, "refreshed")) == 1
    assert len(room.streams) == 1


def test_two_people_in_one_browser_do_not_share(browser: Any, tab: Any, room: Room):
    tab()
    other = browser.new_page()
    other.route(
        room.url,
        lambda route: route.fulfill(
            body=room.page().replace('data-person="1"', 'data-person="2"'), content_type="text/html"
        ),
    )
    other.goto(room.url)
    hears(other)
    assert len(room.streams) == 2


@pytest.mark.parametrize("missing", ["Navigator.prototype, 'locks'", "window, 'BroadcastChannel'"])
def test_where_tabs_cannot_share_each_listens_for_itself(browser: Any, tab: Any, room: Room, missing: str):
    browser.add_init_script(f"Object.defineProperty({missing}, {{value: undefined}})")
    pages = [tab(), tab()]
    room.say("four")
    for page in pages:
        shows(page, "one", "two", "three", "four")
    assert len(room.streams) == 2
    room.cut()
    room.say("five")
    for page in pages:
        shows(page, "one", "two", "three", "four", "five")


def test_where_tabs_cannot_share_a_hidden_one_does_without(browser: Any, tab: Any, room: Room):
    browser.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', {value: undefined})")
    page = tab()
    page.evaluate(HIDE, True)
    soon(page, lambda: not room.streams)
    room.say("four")
    page.wait_for_timeout(1_000)
    assert len(room.asked) == 1
    page.evaluate(HIDE, False)
    shows(page, "one", "two", "three", "four")


def test_what_has_the_focus_keeps_it_when_it_is_replaced(tab: Any, room: Room):
    room.more = '<div class="error-summary" tabindex="-1">Too long</div>'
    page = tab()
    assert page.evaluate("document.activeElement.className") == "error-summary"
    page.get_by_label("Words").press_sequentially("abc")
    page.get_by_label("Words").evaluate("(field) => field.setSelectionRange(1, 1)")
    room.say("four")
    room.say("two, changed", 2)
    shows(page, "one", "two, changed", "three", "four")
    page.keyboard.type("X")
    assert page.get_by_label("Words").input_value() == "aXbc"


def test_a_link_that_is_replaced_hands_the_focus_on(tab: Any, room: Room):
    page = tab()
    page.get_by_role("link", name="two").focus()
    room.say("two, changed", 2)
    shows(page, "one", "two, changed", "three")
    assert page.evaluate("document.activeElement.textContent") == "two, changed"
    room.happens("LineRemoved", '<hx-partial hx-target="#line-2" hx-swap="delete"></hx-partial>')
    shows(page, "one", "three")


def test_without_a_position_nothing_is_asked(browser: Any, room: Room):
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.route(
        room.url,
        lambda route: route.fulfill(body=re.sub(' data-live="[^"]*"', "", room.page()), content_type="text/html"),
    )
    page.goto(room.url)
    page.wait_for_timeout(300)
    assert room.asked == []
    assert said == []


def test_the_banner_is_accessible_and_fits(person: Any, room: Room):  # noqa: F811
    page = person(bypass_csp=True)
    room.refusal = 503
    page.goto(room.url)
    until(lambda: banner(page) or page.wait_for_timeout(100))
    for width, scheme in itertools.product((360, 1280), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.evaluate(AT_REST)
        assert axe(page) == [], f"{width} px, {scheme}"
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        box = page.locator("[data-live-banner]").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


@pytest.fixture
def at_home(village: Village, person: Callable[..., Any]) -> Callable[..., Any]:  # noqa: F811
    """Return a function that opens a page of the demo in a browser of its own, as somebody who is signed in there."""

    def opened(email: str, path: str = "/desk/chat/", host: str = "riverside") -> Any:
        page = person()
        page.context.add_init_script(JOURNAL)
        sign_in(page, village, host, email)
        page.goto(village.at(host, path))
        hears(page)
        return page

    return opened


def writes(page: Any, words: str) -> None:
    page.locator("#composer textarea").fill(words)
    page.keyboard.press("Enter")


def reads(page: Any, words: str, seconds: float = 10) -> None:
    page.get_by_text(words, exact=True).first.wait_for(timeout=seconds * 1000)


def test_colleagues_read_each_other_at_once_and_neighbours_do_not(at_home: Callable[..., Any]):
    owner, tom = at_home("owner@riverside.test"), at_home("tom@riverside.test")
    neighbour = at_home("owner@foodbank.test", host="foodbank")
    errors: list[str] = []
    tom.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    writes(owner, "The tide turns at noon.")
    reads(tom, "The tide turns at noon.")
    assert "LinePosted" in [event["kind"] for event in told(tom, "event")]
    assert "LinePosted" not in [event["kind"] for event in told(neighbour, "event")]
    assert "The tide turns" not in neighbour.content()
    assert errors == []


def test_what_was_missed_equals_the_page_as_it_is(at_home: Callable[..., Any]):
    owner, tom = at_home("owner@riverside.test"), at_home("tom@riverside.test")
    tom.context.set_offline(True)
    hears(tom, False)
    for number in range(5):
        writes(owner, f"While Tom was away, {number}")
        reads(owner, f"While Tom was away, {number}")
    tom.context.set_offline(False)
    reads(tom, "While Tom was away, 4", seconds=10)
    lines = "[...document.querySelectorAll('[data-line]')].map((line) => line.id + ' ' + line.innerText)"
    live = tom.evaluate(lines)
    tom.reload()
    assert live[-10:] == tom.evaluate(lines)[-10:]


def test_pages_outlive_the_process_that_feeds_them(at_home: Callable[..., Any]):
    owner, tom = at_home("owner@riverside.test"), at_home("tom@riverside.test")
    for process in feeding():
        os.kill(process, signal.SIGKILL)
    hears(tom, False)
    writes(owner, "Did anybody hear that?")
    reads(tom, "Did anybody hear that?", seconds=20)
    assert told(tom, "refreshed") == []


def feeding() -> set[int]:
    """Return the processes, of those that this test has started, that hold the streams."""
    return {pid for pid in descendants(os.getpid()) if "/run/live.sock" in Path(f"/proc/{pid}/cmdline").read_text()}


def test_signing_out_in_one_tab_ends_all(at_home: Callable[..., Any]):
    first = at_home("hannah@riverside.test")
    second, third = first.context.new_page(), first.context.new_page()
    for page in (second, third):
        page.goto(first.url)
        hears(page)
    second.locator(".shell-person summary").click()
    second.get_by_role("button", name="Sign out").click()
    for page in (first, third):
        page.wait_for_url(re.compile("/sign-in"), timeout=10_000)


def test_a_paused_site_ends_its_pages(village: Village, person: Any, at_home: Callable[..., Any]):  # noqa: F811
    member = at_home("owner@meridian.test", host="meridian")
    operator = person()
    sign_in(operator, village, "platform", "operator@platform.test")
    operator.goto(village.at("platform", "/tenants/meridian"))
    operator.get_by_label(re.compile("Reason", re.IGNORECASE)).fill("A visit by the browser test")
    operator.get_by_role("button", name=re.compile("Suspend|Pause")).click()
    member.get_by_role("heading", name="This site is paused").wait_for(timeout=10_000)


def test_pages_without_a_stream_say_nothing_of_it(village: Village, person: Any):  # noqa: F811
    page = person()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, village, "platform", "operator@platform.test")
    for path in ("/", "/tenants/", "/no-such-page"):
        page.goto(village.at("platform", path))
        assert page.locator("[data-live], [data-live-banner]").count() == 0
    assert not [url for url in asked if "/live" in url]
