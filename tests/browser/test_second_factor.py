"""Second factors in a real browser: an app set up without scripts, and a passkey made and used."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.test_journey import AT_REST, WIDTHS, Village, axe, chromium, person, pytestmark, sign_in, village
from tests.conftest import Authenticator

__all__ = ["chromium", "person", "pytestmark", "village"]

SECURITY = "/desk/profile/security/"


def give_password(page: Any, village: Village, host: str, email: str) -> None:
    page.goto(village.at(host, "/sign-in"))
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(village.passwords[email])
    page.get_by_role("button", name="Sign in").click()


def looks_right(page: Any) -> list[str]:
    """Return what is wrong with the page that is open, at each width, by day and by night."""
    troubles = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(AT_REST)
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            troubles += [f"{width} {scheme}: {trouble}" for trouble in axe(page)]
            troubles += [f"{width}: {wider} px too wide"] if wider > 0 else []
    return troubles


@pytest.fixture
def passkey() -> Any:
    """Return a function that gives a page's browser a device that makes passkeys and answers by itself."""

    def plug_in(page: Any) -> None:
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    return plug_in


def test_an_app_is_set_up_without_scripts_and_a_recovery_code_lets_in(village: Village, person: Any):
    owner, elsewhere = person(java_script_enabled=False), person(java_script_enabled=False)
    sign_in(owner, village, "meridian", "owner@meridian.test")
    owner.goto(village.at("meridian", "/desk/profile/"))
    owner.get_by_role("link", name="Look after them").click()
    owner.get_by_role("button", name="Set up an app").click()
    assert owner.locator(".qr").is_visible()
    kept = Authenticator(owner.content())
    assert len(kept.codes) == 10
    owner.get_by_label("Code from the app").fill(kept.code())
    owner.get_by_role("button", name="Finish").click()
    owner.get_by_text("Your app is set up").wait_for()

    give_password(elsewhere, village, "meridian", "owner@meridian.test")
    assert elsewhere.locator("h1").inner_text() == "One more proof"
    elsewhere.get_by_role("link", name="Use a recovery code").click()
    elsewhere.get_by_label("Code").fill(kept.codes[0])
    elsewhere.get_by_role("button", name="Sign in").click()
    elsewhere.wait_for_url(re.compile("/desk/$"))


def test_a_passkey_is_made_and_lets_in_where_the_browser_is_not_known(village: Village, person: Any, passkey: Any):
    owner = person()
    passkey(owner)
    sign_in(owner, village, "foodbank", "owner@foodbank.test")
    owner.goto(village.at("foodbank", SECURITY))
    assert looks_right(owner) == []
    owner.get_by_role("link", name="Add a passkey").click()
    owner.get_by_label("Name").fill("This laptop")
    assert looks_right(owner) == []
    owner.get_by_role("button", name="Make the passkey").click()
    owner.get_by_role("heading", name="Your recovery codes").wait_for()
    assert looks_right(owner) == []
    owner.get_by_role("link", name="I have kept them").click()
    assert owner.get_by_text("This laptop").is_visible()

    # The device stays plugged in, and the browser forgets who it was.
    owner.context.clear_cookies()
    give_password(owner, village, "foodbank", "owner@foodbank.test")
    button = owner.get_by_role("button", name="Use a passkey")
    button.wait_for()
    assert looks_right(owner) == []
    button.click()
    owner.wait_for_url(re.compile("/desk/$"))


def test_the_page_on_which_an_operator_sets_up_an_app_is_one_to_like(village: Village, person: Any):
    operator = person()
    give_password(operator, village, "platform", "operator@platform.test")
    assert operator.locator("h1").inner_text() == "A second lock for your door"
    assert looks_right(operator) == []
    kept = Authenticator(operator.content())
    operator.get_by_label("Code from the app").fill("000000")
    operator.get_by_role("button", name="Finish and come in").click()
    assert "not right" in operator.get_by_role("alert").inner_text()
    assert looks_right(operator) == []
    assert Authenticator(operator.content()).key == kept.key, "a slip of the hand makes nobody begin anew"
    operator.get_by_label("Code from the app").fill(kept.code())
    operator.get_by_role("button", name="Finish and come in").click()
    operator.wait_for_url(re.compile(r"localhost:\d+/$"))
