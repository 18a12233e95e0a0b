"""An owner's first day: two real browsers, neither with scripts. Passkeys, which need them, are in `test_second_factor`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

from tests.browser.test_journey import ROOT, Village, chromium, person, pytestmark, village
from tests.conftest import Authenticator

__all__ = ["chromium", "person", "pytestmark", "village"]

OWNER, OWNERS_PASSWORD = "first@harbour.test", "tide table in the hall"
GUEST, GUESTS_PASSWORD = "guest@example.org", "four unrelated words"


def test_an_owners_first_day(village: Village, person: Any):
    owner, guest = person(java_script_enabled=False), person(width=360, java_script_enabled=False)
    app = owner_comes_in(village, owner)
    somebody_is_invited_and_accepts(village, owner, guest)
    the_guest_is_made_an_owner(village, owner, guest)
    phone = person(width=360, java_script_enabled=False)
    a_new_browser_needs_the_app_and_is_signed_out_again(village, owner, phone, app)
    the_audit_tells_of_it(village, owner)
    the_guest_is_let_go(village, owner, guest)


def owner_comes_in(village: Village, owner: Any) -> Authenticator:
    """Use the set-up link that the operator got, then set up an authenticator app."""
    owner.goto(set_up_link(village))
    owner.get_by_label(re.compile("Your name")).fill("Ola Owner")
    owner.get_by_label(re.compile("password")).fill(OWNERS_PASSWORD)
    owner.get_by_role("button", name="Set password and come in").click()
    owner.wait_for_url(re.compile("/desk/$"))
    owner.goto(village.at("harbour", "/desk/profile/security/"))
    owner.get_by_role("button", name="Set up an app").click()
    app = Authenticator(owner.content())
    owner.get_by_label("Code from the app").fill(app.code())
    owner.get_by_role("button", name="Finish").click()
    owner.get_by_text("Your app is set up").wait_for()
    return app


def somebody_is_invited_and_accepts(village: Village, owner: Any, guest: Any) -> None:
    owner.goto(village.at("harbour", "/desk/"))
    owner.get_by_role("link", name="People").click()
    owner.get_by_role("link", name="Invite somebody").first.click()
    owner.get_by_label("E-mail").fill(GUEST)
    owner.get_by_role("button", name="Send the invitation").click()
    guest.goto(owner.locator("#link").inner_text())
    guest.get_by_label(re.compile("Your name")).fill("Gus Guest")
    guest.get_by_label(re.compile("password")).fill(GUESTS_PASSWORD)
    guest.get_by_role("button", name="Accept and come in").click()
    assert "Welcome to Harbour Sailors" in guest.content()
    assert guest.goto(village.at("harbour", "/desk/settings/")).status == 404


def the_guest_is_made_an_owner(village: Village, owner: Any, guest: Any) -> None:
    to_the_guest(village, owner)
    owner.get_by_role("radio", name="Owner").check()
    owner.get_by_role("button", name="Change the role").click()
    owner.get_by_text("Gus Guest has the role Owner now").wait_for()

    guest.goto(village.at("harbour", "/desk/settings/"))
    assert "/sign-in" in guest.url, "whoever may do more signs in again"
    give_password(guest, GUEST, GUESTS_PASSWORD)
    assert guest.locator("h1").inner_text() == "Name and look"


def a_new_browser_needs_the_app_and_is_signed_out_again(
    village: Village, owner: Any, phone: Any, app: Authenticator
) -> None:
    phone.goto(village.at("harbour", "/sign-in"))
    give_password(phone, OWNER, OWNERS_PASSWORD)
    assert phone.locator("h1").inner_text() == "One more proof"
    phone.get_by_role("link", name="Use a recovery code").click()
    phone.get_by_label("Code").fill(app.codes[0])
    phone.get_by_role("button", name="Sign in").click()
    phone.wait_for_url(re.compile("/desk/$"))

    owner.goto(village.at("harbour", "/desk/profile/"))
    owner.get_by_role("button", name=re.compile("^Sign out .+ on")).click()
    assert phone.goto(village.at("harbour", "/desk/")).url.partition("?")[0].endswith("/sign-in")


def the_audit_tells_of_it(village: Village, owner: Any) -> None:
    owner.goto(village.at("harbour", "/desk/settings/audit/"))
    told = owner.locator("main").inner_text()
    assert "Ola Owner invited" in told
    assert "Ola Owner made Gus Guest" in told
    assert "signed in from" in told
    assert GUESTS_PASSWORD not in owner.content()


def the_guest_is_let_go(village: Village, owner: Any, guest: Any) -> None:
    to_the_guest(village, owner)
    owner.get_by_role("button", name="Deactivate").click()
    owner.get_by_text("cannot sign in any more").wait_for()
    assert "/sign-in" in guest.goto(village.at("harbour", "/desk/")).url


def set_up_link(village: Village) -> str:
    """Make a new organisation as an operator does; returns the link for its first owner."""
    command = [sys.executable, "-m", "app.cli", "tenants", "create", "harbour", "--name", "Harbour Sailors"]
    settings = {**os.environ, "FREEHOLD_HOME": str(village.home), "PORT": str(village.port)}
    done = subprocess.run(
        [*command, "--owner", OWNER], cwd=ROOT, env=settings, check=True, capture_output=True, text=True
    )
    return re.search(r"http://\S+/set-up/\S+", done.stdout).group()


def to_the_guest(village: Village, owner: Any) -> None:
    owner.goto(village.at("harbour", "/desk/people/"))
    owner.get_by_role("link", name="Gus Guest").click()


def give_password(page: Any, email: str, password: str) -> None:
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
