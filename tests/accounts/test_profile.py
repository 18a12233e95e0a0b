"""One's own page: name, password, and where one is signed in."""

from __future__ import annotations

import pytest

from app import create_app
from app.accounts import SetUpLink, User
from app.accounts.browsers import browser_named
from app.tenancy import db
from tests.accounts.people import browser_of, is_in, post
from tests.conftest import PASSWORD, sign_in
from tests.printed import filled_in

NEW = "seven other unrelated words"


def test_a_person_takes_another_name(at, alpha, signed_in):
    owner = signed_in(alpha)
    assert post(owner, "/desk/profile/name", name="  Olive   the Second ").status_code == 303
    assert "Olive the Second" in owner.get("/desk/profile/").text
    assert post(owner, "/desk/profile/name", name=" ").status_code == 422


def test_a_new_password_ends_all_other_sessions_and_renews_this_one(config, at, alpha, signed_in, client_for):
    elsewhere = create_app(config)  # another process, for all that it knows
    try:
        here, there = signed_in(alpha), browser_of(elsewhere, alpha, "owner@alpha.test")
        before = here.get_cookie("freehold", domain=alpha.primary_host).value
        answer = post(here, "/desk/profile/password", current=PASSWORD, password=NEW)
        assert answer.location == "/desk/profile/"
        assert is_in(here)
        assert not is_in(there)
        thief = client_for(alpha)
        thief.set_cookie("freehold", before, domain=alpha.primary_host)
        assert not is_in(thief)
        sign_in(client_for(alpha), "owner@alpha.test", NEW)
        with pytest.raises(AssertionError):
            sign_in(client_for(alpha), "owner@alpha.test", PASSWORD)
    finally:
        elsewhere.extensions["tenancy"].close()


@pytest.mark.parametrize(
    ("current", "password", "said"),
    [
        ("not it at all", NEW, "That is not your password"),
        (PASSWORD, "short", "12 characters"),
        (PASSWORD, "a" * 20, "four unrelated words"),
        ("", NEW, "the password you have now"),
    ],
)
def test_a_password_is_changed_by_whoever_knows_it_for_one_that_is_good(alpha, signed_in, current, password, said):
    owner = signed_in(alpha)
    page = post(owner, "/desk/profile/password", current=current, password=password)
    assert (page.status_code, said in page.text) == (422, True)
    assert is_in(owner)


def test_guessing_the_present_password_is_slowed_down(alpha, signed_in):
    owner = signed_in(alpha)
    answers = [
        post(owner, "/desk/profile/password", current="wrong guess", password=NEW).status_code for _ in range(11)
    ]
    assert answers == [422] * 10 + [429]


def test_a_new_password_voids_links_that_wait(at, alpha, signed_in):
    token = at(alpha, lambda: SetUpLink.issue(db.session.get(User, 1)))
    post(signed_in(alpha), "/desk/profile/password", current=PASSWORD, password=NEW)
    assert at(alpha, lambda: SetUpLink.find(token)) is None


def test_a_form_of_before_a_new_password_is_kept_and_changes_nothing(alpha, signed_in):
    here, there = signed_in(alpha), signed_in(alpha)
    page = there.get("/desk/profile/").text
    post(here, "/desk/profile/password", current=PASSWORD, password=NEW)
    answer = there.post("/desk/profile/name", data=filled_in(page, "name", name="Mallory"))
    assert (answer.status_code, "nothing was changed" in answer.text) == (403, True)
    assert "Mallory" not in here.get("/desk/profile/").text


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8", "A browser"),
        ("", "A browser"),
    ],
)
def test_a_browser_is_called_what_people_call_it(user_agent, name):
    assert browser_named(user_agent) == name
