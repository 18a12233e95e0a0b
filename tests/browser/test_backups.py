"""Going back in time in a real browser, with the real archivist: a look, single steps followed by themselves, and a return."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.test_journey import (  # noqa: F401 (the fixtures are named below)
    CHROMIUM,
    Village,
    axe,
    chromium,
    person,
    sign_in,
    village,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

BACKUPS = "/desk/settings/backups/"
SOON = 60_000  # milliseconds


def say(page: Any, village: Village, text: str) -> None:  # noqa: F811
    page.goto(village.at("foodbank", "/desk/chat/rooms/1"))
    page.locator("textarea").first.fill(text)
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.keyboard.press("Enter")
    # A line that the page still holds for unsent would be sent again from the next page.
    page.locator("p.line-note").filter(has_text="Sending…").first.wait_for(state="hidden")


def wait_for_copy(page: Any, village: Village, words: str) -> None:  # noqa: F811
    """Look at the page of backups until a moment tells of `words`."""
    for _ in range(60):
        page.goto(village.at("foodbank", BACKUPS))
        if page.get_by_text(words).count():
            return
        page.wait_for_timeout(1000)
    raise AssertionError(f"No moment tells of {words!r}: {page.inner_text('main')}")


def test_an_owner_looks_at_the_past_and_goes_back(village: Village, person: Any):  # noqa: F811
    owner = person(360)
    sign_in(owner, village, "foodbank", "owner@foodbank.test")
    wait_for_copy(owner, village, "Look at this moment")  # what happens before the first copy, no moment tells
    say(owner, village, "This stays.")
    wait_for_copy(owner, village, "1 line posted")
    owner.get_by_role("button", name="Look at this moment").first.click()
    owner.get_by_role("link", name="Open the preview").wait_for(timeout=SOON)
    assert axe(owner) == []
    owner.get_by_role("link", name="Bring back single things").click()
    assert axe(owner) == []
    owner.go_back()
    owner.get_by_role("link", name="Open the preview").click()
    owner.wait_for_url(re.compile(r"foodbank-preview.*/desk/"))
    for path in ("/", "/desk/", "/desk/chat/rooms/1", "/contact"):
        owner.goto(village.at("foodbank-preview", path))
        assert owner.get_by_text("You are looking at Oak Street Food Bank").is_visible(), path
        assert axe(owner) == [], path
        wider = owner.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, path
    owner.get_by_role("link", name="Back to today").first.click()

    say(owner, village, "This is regretted.")
    owner.goto(village.at("foodbank", BACKUPS + "order"))
    owner.get_by_role("link", name="Put this moment in place").click()
    owner.get_by_label("Name of the organisation").fill("Oak Street Food Bank")
    owner.get_by_role("button", name="Go back to this moment").click()
    owner.wait_for_url(re.compile("/sign-in"), timeout=SOON)
    assert owner.get_by_text("The organisation stands as of").is_visible()
    sign_in(owner, village, "foodbank", "owner@foodbank.test")
    owner.goto(village.at("foodbank", "/desk/chat/rooms/1"))
    assert "This stays." in owner.content()
    assert "This is regretted." not in owner.content()
    owner.goto(village.at("foodbank", BACKUPS))
    assert owner.get_by_role("link", name="go back to how it stood").is_visible()
