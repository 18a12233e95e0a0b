"""One's own page of second factors, and the page on which an organisation says who has to have one."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine

from app.accounts import User
from app.accounts.factors import PEOPLE
from app.accounts.models import Factor, RecoveryCode, SignInRules
from app.tenancy import db, utcnow
from tests.accounts.people import acts, browser_of, join, letters, post
from tests.accounts.test_second_factor import OWNER, ask, count, give_code, half_way, has_app, set_up_app
from tests.conftest import Authenticator
from tests.printed import filled_in

__all__ = ["has_app"]
HERE = "/desk/profile/security/"


def test_an_app_is_set_up_with_its_codes_and_asked_for_from_then_on(app, at, alpha, signed_in):
    owner = signed_in(alpha)
    assert "Set up an app" in owner.get(HERE).text
    kept = set_up_app(owner)
    page = owner.get(HERE).text
    assert "Your app is set up" in page
    assert "10 of 10 left" in page
    assert give_code(half_way(app, alpha), kept.codes[4]).location == "/desk/"
    assert "9 of 10 left" in owner.get(HERE).text
    assert acts(at, alpha).count("factor_added") == 1


def test_the_page_of_a_new_app_is_found_by_its_session_alone_and_gone_when_it_is_done(app, at, alpha, signed_in):
    owner, other = signed_in(alpha), signed_in(alpha)
    post(owner, HERE + "app/attempt")
    assert owner.get(HERE + "app").status_code == 200
    assert other.get(HERE + "app").location == HERE
    owner.post(HERE + "app", data=filled_in(owner.get(HERE + "app").text, "code", code="000000"))
    kept = Authenticator(owner.get(HERE + "app").text)
    give_code(owner, kept.code(), HERE + "app")
    assert owner.get(HERE + "app").location == HERE


def test_another_app_takes_the_place_of_the_first_and_leaves_the_codes(app, at, alpha, has_app, signed_in, client_for):
    browser = half_way(app, alpha)
    give_code(browser, has_app[0])
    post(browser, HERE + "app/attempt")
    page = browser.get(HERE + "app").text
    assert "recovery-codes" not in page
    key = filled_in_key(page)
    assert give_code(browser, key, HERE + "app").location == HERE
    assert count(at, alpha, Factor) == 1
    assert count(at, alpha, RecoveryCode) == 9


def filled_in_key(page):
    import pyotp
    from lxml.html import fromstring

    return pyotp.TOTP("".join(fromstring(page).get_element_by_id("key").text_content().split())).now()


def test_a_new_set_of_codes_is_shown_once_and_the_old_ones_are_dead(app, at, alpha, has_app):
    browser = half_way(app, alpha)
    give_code(browser, has_app[0])
    page = post(browser, HERE + "codes")
    assert page.status_code == 201
    assert page.headers["Cache-Control"] == "private, no-store"
    shown = page.text.split('id="recovery-codes"')[1].split("</ol>")[0]
    code = shown.split("<code>")[1].split("</code>")[0]
    assert give_code(half_way(app, alpha), has_app[1]).status_code == 422
    assert give_code(half_way(app, alpha), code).location == "/desk/"
    assert code not in browser.get(HERE).text


def test_whoever_has_no_factor_gets_no_codes(alpha, signed_in):
    assert post(signed_in(alpha), HERE + "codes").status_code == 404


def test_the_last_factor_takes_its_codes_along_unless_one_is_asked_for(app, at, alpha, signed_in):
    owner = signed_in(alpha)
    set_up_app(owner)
    ask(at, alpha, "owners")
    removal = f"{HERE}factors/1/removal"
    assert "one has to stay" in follow(owner, post(owner, removal))
    assert count(at, alpha, Factor) == 1
    ask(at, alpha, "")
    assert "taken away" in follow(owner, post(owner, removal))
    assert count(at, alpha, Factor) == count(at, alpha, RecoveryCode) == 0
    assert acts(at, alpha)[-1] == "factor_removed"


def follow(browser, answer):
    return browser.get(answer.location).text


def test_nobody_touches_the_factors_of_another(app, at, alpha, has_app):
    join(at, alpha)
    mia = browser_of(app, alpha, "mia@example.test")
    assert post(mia, f"{HERE}factors/1/removal").status_code == 404
    assert count(at, alpha, Factor) == 1


@pytest.mark.parametrize("act", ["app/attempt", "codes", "factors/1/removal", "passkeys/options"])
def test_all_of_it_wants_a_fresh_proof(app, at, alpha, has_app, act):
    browser = half_way(app, alpha)
    give_code(browser, has_app[0])
    with time_machine.travel(utcnow() + timedelta(minutes=6)):
        answer = post(browser, HERE + act)
    assert answer.status_code == 403
    assert "Is it still you?" in answer.text
    assert count(at, alpha, Factor) == 1


@pytest.mark.parametrize(
    "answer", ["", "x", "[]", "{}", '{"id": 7}', '{"id": "AA", "rawId": "AA", "type": "public-key"}']
)
def test_what_is_no_passkey_is_not_kept(at, alpha, signed_in, answer):
    owner = signed_in(alpha)
    token = filled_in(owner.get(HERE + "passkeys/new").text)["csrf_token"]
    asked = owner.post(HERE + "passkeys/options", data={"csrf_token": token}).json
    assert asked["rp"] == {"id": "alpha.localhost", "name": "Alpha Allotments"}
    assert OWNER not in asked["user"]["id"]
    sent = {"csrf_token": token, "name": "Phone", "credential": answer}
    assert owner.post(HERE + "passkeys/new", data=sent).status_code == 422
    assert count(at, alpha, Factor) == 0


def test_a_passkey_of_another_address_is_shown_as_such_and_not_asked_for(app, at, alpha, has_app):
    def move():
        user = User.by_email(OWNER)
        db.session.add(Factor(person_id=user.id, kind="passkey", name="Old key", host="old.example", credential="AA"))

    at(alpha, move)
    browser = half_way(app, alpha)
    assert "Use a passkey" not in browser.get("/sign-in/second").text
    give_code(browser, has_app[0])
    assert "Not for this address" in browser.get(HERE).text


def test_owners_say_who_has_to_and_others_do_not_find_the_page(app, at, alpha, signed_in):
    join(at, alpha)
    mia = browser_of(app, alpha, "mia@example.test")
    assert mia.get("/desk/settings/security/").status_code == 404
    assert post(mia, "/desk/settings/security/", second_factor="", by_letter="y").status_code == 404
    owner = signed_in(alpha)
    assert post(owner, "/desk/settings/security/", second_factor="nonsense").status_code == 422
    post(owner, "/desk/settings/security/", second_factor="everybody")
    assert at(alpha, lambda: SignInRules.mine().second_factor) == "everybody"
    assert is_asked(at, alpha)


def is_asked(at, tenant):
    from app.accounts.admission import door

    return at(tenant, lambda: door.asks(User.by_email("mia@example.test")))


def test_a_command_helps_who_has_lost_everything(app, at, alpha, has_app, signed_in, runner, client_for):
    browser = half_way(app, alpha)
    give_code(browser, has_app[0])
    done = runner("users", "reset-2fa", "alpha", OWNER.upper())
    assert done.exit_code == 0, done.output
    assert browser.get(HERE).status_code == 302
    assert at(alpha, lambda: PEOPLE.of(User.by_email(OWNER))) == []
    assert signed_in(alpha).get("/desk/").status_code == 200
    assert "factors_reset" in acts(at, alpha)
    refused = runner("users", "reset-2fa", "alpha", "nobody@example.test")
    assert refused.exit_code != 0


def test_a_letter_tells_of_a_factor_that_came_or_went(app, alpha, signed_in, work, runner):
    owner = signed_in(alpha)
    set_up_app(owner)
    work(alpha)
    assert "second factors at Alpha" in letters(app)[-1]["Subject"]
    post(owner, f"{HERE}factors/1/removal")
    runner("users", "reset-2fa", "alpha", OWNER)
    work(alpha)
    assert [letter["Subject"] for letter in letters(app)].count(letters(app)[-1]["Subject"]) == 3


def test_a_letter_tells_of_recovery_codes_made_anew_and_names_none(app, alpha, signed_in, work):
    owner = signed_in(alpha)
    set_up_app(owner)
    shown = post(owner, f"{HERE}codes").text
    work(alpha)
    (letter,) = [each for each in letters(app) if "recovery codes at Alpha" in each["Subject"]]
    codes = re.findall(r"(?:[A-Z2-7]{4}-)+[A-Z2-7]+", shown)
    assert codes
    assert not any(code in letter.as_string() for code in codes)


def test_the_cookie_of_a_session_opens_nothing_that_was_begun_in_it(app, alpha, signed_in, client_for):
    """Its secret, sent as an attempt's cookie, would set up an app for its person, and let in whoever did so."""
    owner, thief = signed_in(alpha), client_for(alpha)
    secret = owner.get_cookie("freehold", domain=alpha.primary_host).value.split(".")[1]
    assert post(owner, "/sign-in/passkey").status_code == 200
    post(owner, "/sign-out")
    thief.set_cookie("freehold-attempt", secret, domain=alpha.primary_host)
    for path in ("/sign-in/app", "/sign-in/second"):
        assert thief.get(path).location == "/sign-in"


def test_what_was_begun_with_a_passkey_is_no_way_round_the_proof(app, at, alpha, has_app):
    browser = half_way(app, alpha)
    give_code(browser, has_app[0])
    with time_machine.travel(utcnow() + timedelta(minutes=6)):
        assert post(browser, "/sign-in/passkey").status_code == 200
        assert browser.get(HERE + "app").location == HERE
