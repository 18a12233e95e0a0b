"""An owner brings somebody in, gives them more to do, and lets them go: two real browsers, one of them without scripts."""

from __future__ import annotations

import re
from typing import Any

from tests.browser.test_journey import Village, chromium, person, pytestmark, sign_in, village

__all__ = ["chromium", "person", "pytestmark", "village"]

PASSWORD = "four unrelated words"


def test_an_owner_invites_promotes_and_deactivates(village: Village, person: Any):
    owner, guest = person(), person(width=360, java_script_enabled=False)
    sign_in(owner, village, "riverside", "owner@riverside.test")
    owner.goto(village.at("riverside", "/desk/"))
    owner.get_by_role("link", name="People").click()
    owner.get_by_role("link", name="Invite somebody").first.click()
    owner.get_by_label("E-mail").fill("guest@example.org")
    owner.get_by_role("button", name="Send the invitation").click()
    link = owner.locator("#link").inner_text()

    guest.goto(link)
    guest.get_by_label(re.compile("Your name")).fill("Gus Guest")
    guest.get_by_label(re.compile("password")).fill(PASSWORD)
    guest.get_by_role("button", name="Accept and come in").click()
    assert "Welcome to Riverside" in guest.content()
    guest.goto(village.at("riverside", "/desk/settings/"))
    assert "You cannot do this here" in guest.content()

    owner.goto(village.at("riverside", "/desk/people/"))
    owner.get_by_role("link", name="Gus Guest").click()
    owner.get_by_role("radio", name="Owner").check()
    owner.get_by_role("button", name="Change the role").click()
    owner.get_by_text("is an owner now").wait_for()

    guest.goto(village.at("riverside", "/desk/settings/"))
    assert "/sign-in" in guest.url
    guest.get_by_label("E-mail").fill("guest@example.org")
    guest.get_by_label("Password").fill(PASSWORD)
    guest.get_by_role("button", name="Sign in").click()
    assert guest.locator("h1").inner_text() == "Settings"

    owner.get_by_role("button", name="Deactivate").click()
    owner.get_by_text("cannot sign in any more").wait_for()
    guest.goto(village.at("riverside", "/desk/"))
    assert "/sign-in" in guest.url
