"""Browsers that are known: what makes one, how its cookie changes, what a copy of it brings about, and how one lets go."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
import time_machine
from sqlalchemy import select, update

from app import create_app
from app.accounts import Session, User, devices, jobs, throttle
from app.accounts.models import DEVICE_LIFETIME, Device, SetUpLink
from app.tenancy import db, utcnow
from tests.accounts.people import acts, browser_of, is_in, join, letters, post
from tests.accounts.test_floods import try_password
from tests.conftest import PASSWORD, _client, second_factor, sign_in
from tests.printed import filled_in, printed_token

COOKIE = "freehold-device"
OWNER = "owner@alpha.test"


def value_in(browser):
    return browser.get_cookie(COOKIE, domain=browser.host).value


def show(browser, value):
    browser.set_cookie(COOKIE, value, domain=browser.host)


def sign_out(browser):
    browser.post("/sign-out", data={"csrf_token": printed_token(browser.get("/desk/profile/").text)})


def twin_of(app, browser):
    """Return another browser with a copy of every cookie."""
    twin = _client(app, browser.host)
    for name in ("freehold", COOKIE):
        twin.set_cookie(name, browser.get_cookie(name, domain=browser.host).value, domain=browser.host)
    return twin


def links_in(letter):
    """Return the addresses in both bodies of a letter."""
    bodies = [letter.get_body((kind,)).get_content() for kind in ("plain", "html")]
    assert bodies[0] != bodies[1]
    return {link for body in bodies for link in re.findall(r"https?://[^\s\"<]+", body)}


@contextmanager
def later(**passed):
    with time_machine.travel(utcnow() + timedelta(**passed), tick=True):
        yield


@pytest.fixture
def rows(at, alpha):
    return lambda model=Device: at(alpha, lambda: db.session.scalars(select(model).order_by(model.id)).all())


@pytest.fixture
def owner(signed_in, alpha):
    return signed_in(alpha)


@pytest.fixture
def a_day_later(owner):
    """A day later the owner looks at a page, and is given another value; yields the one before."""
    before = value_in(owner)
    with later(hours=23):
        assert is_in(owner)  # an owner's session would be over by then
    with later(days=1, minutes=1):
        owner.get("/desk/profile/")
        assert value_in(owner) != before
        yield before


def test_whoever_signs_in_is_known_and_only_hashes_say_so(owner, rows):
    (device,) = rows()
    secret = value_in(owner).split(".")[1]
    stored = repr(vars(device))
    assert not any(part in stored for part in (secret, secret[:22], secret[22:]))
    assert rows(Session)[0].device_id == device.id


def test_by_https_the_cookie_is_bound_to_its_host_and_scripts_cannot_read_it(app, alpha, client_for):
    from dataclasses import replace

    app.config["FREEHOLD"] = replace(app.config["FREEHOLD"], secure=True)
    answer = try_password(client_for(alpha), OWNER, PASSWORD)
    (cookie,) = [each for each in answer.headers.getlist("Set-Cookie") if COOKIE in each]
    assert cookie.startswith(f"__Host-{COOKIE}=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_each_sign_in_changes_the_value_and_makes_no_second_device(owner, rows):
    before = value_in(owner)
    sign_out(owner)
    sign_in(owner, OWNER)
    assert value_in(owner) != before
    assert len(rows()) == 1


def test_the_value_changes_once_a_day_while_it_is_used(owner, rows):
    values = {value_in(owner)}
    for hours in (2, 12, 23):
        with later(hours=hours):
            owner.get("/desk/profile/")
            values.add(value_in(owner))
    assert len(values) == 1
    with later(hours=25):
        for _ in range(3):
            owner.get("/desk/profile/")
            values.add(value_in(owner))
    assert len(values) == 2
    assert rows()[0].is_taken_up


def test_what_a_page_fetches_by_itself_changes_nothing(owner, rows):
    before = value_in(owner)
    with later(hours=23):
        owner.get("/desk/profile/", headers={"Sec-Fetch-Mode": "cors"})
    assert rows(Session)[0].last_seen_at < utcnow() + timedelta(hours=1)
    with later(hours=23):
        owner.get("/desk/profile/", headers={"Sec-Fetch-Mode": "navigate"})
    with later(hours=26):
        owner.get("/desk/profile/", headers={"Sec-Fetch-Mode": "cors"})
        assert value_in(owner) == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_copy_of_an_old_value_ends_its_family_wherever_it_is_signed_in(
    app, config, at, work, alpha, beta, owner, signed_in, rows, a_day_later, method
):
    other, elsewhere = browser_of(app, alpha, OWNER), signed_in(beta)
    thief = twin_of(app, owner)
    show(thief, a_day_later)
    with later(minutes=2):
        owner.get("/desk/profile/")
        if method == "get":
            assert thief.get("/desk/profile/").status_code == 302
        else:
            assert thief.post("/desk/profile/name", data={"name": "Mallory", "csrf_token": "x"}).status_code == 403
        another_process = create_app(config)
        try:
            owner.application = another_process
            assert not is_in(owner)
        finally:
            another_process.extensions["tenancy"].close()
        assert is_in(other), "the person's other browsers go on"
        assert is_in(elsewhere)
        assert acts(at, alpha)[-1] == "device_reused"
        assert len(rows()) == 1
        work(alpha)
    letter = letters(app)[-1]
    assert letter["Subject"] == "You were signed out at Alpha Allotments"
    assert "http://alpha.localhost:8000/sign-in/help" in links_in(letter)


def test_whoever_uses_the_stolen_value_first_both_are_out(app, alpha, owner, rows):
    thief = twin_of(app, owner)
    with later(days=1, hours=-1):
        assert is_in(owner)
    with later(days=1, minutes=1):
        assert is_in(thief)  # is given the next value
        assert is_in(owner), "a minute's grace"
    with later(days=1, minutes=2, seconds=30):
        assert is_in(thief)
        assert not is_in(owner)
        assert not is_in(thief)
    assert rows() == []


def test_an_old_value_shown_at_the_sign_in_ends_the_family_too(app, alpha, owner, rows, at, a_day_later):
    thief = _client(app, alpha.primary_host)
    show(thief, a_day_later)
    with later(minutes=2):
        owner.get("/desk/profile/")
        assert try_password(thief, OWNER, PASSWORD).status_code == 303
        assert not is_in(owner)
        assert acts(at, alpha)[-3:] == ["device_reused", "device_added", "signed_in"]


def test_parallel_pages_with_the_value_before_go_on(app, owner, rows, a_day_later):
    tab = twin_of(app, owner)
    show(tab, a_day_later)
    with later(seconds=50):
        owner.get("/desk/profile/")
        assert (is_in(tab), is_in(owner)) == (True, True)
        assert value_in(tab) == a_day_later, "it is not given a third value"
    assert len(rows()) == 1


def test_twenty_pages_at_the_moment_of_the_change_get_one_new_value(app, owner, rows):
    with later(hours=23):
        assert is_in(owner)
    tabs = [twin_of(app, owner) for _ in range(20)]
    before = value_in(owner)
    with later(days=1, minutes=1), ThreadPoolExecutor(8) as pool:
        assert set(pool.map(is_in, tabs)) == {True}
        given = {value_in(tab) for tab in tabs} - {before}
        assert len(given) == 1
        show(owner, given.pop())
        assert is_in(owner)
        assert set(pool.map(is_in, tabs)) == {True}
    assert len(rows()) == 1


def test_two_sign_ins_at_once_with_one_value_leave_one_that_is_known(app, owner, rows):
    sign_out(owner)
    tab, before = _client(app, owner.host), value_in(owner)
    show(tab, before)
    sign_in(owner, OWNER)
    sign_in(tab, OWNER)
    assert value_in(tab) == before, "the value that the first was given stays the newest"
    with later(minutes=2):
        assert is_in(owner)
    assert len(rows()) == 1


def test_an_answer_that_was_lost_is_no_theft(app, owner, rows, a_day_later):
    show(owner, a_day_later)  # the new value never arrived
    with later(minutes=2):
        assert is_in(owner)
        lost = value_in(owner)
        assert lost != a_day_later
        assert is_in(owner)
    assert len(rows()) == 1


@pytest.mark.parametrize("change", ["", "x", "..", "é.é", "swap", "session"])
def test_a_value_that_is_none_is_ignored(alpha, beta, owner, rows, change):
    _, secret, mac = value_in(owner).split(".")
    session = owner.get_cookie("freehold", domain=owner.host).value
    show(owner, {"swap": f"{beta.id}.{secret}.{mac}", "session": session}.get(change, change))
    assert is_in(owner)
    assert len(rows()) == 1


def test_a_device_of_one_house_means_nothing_at_the_other(at, alpha, beta, owner, client_for):
    visitor = client_for(beta)
    show(visitor, value_in(owner))
    answer = visitor.get("/sign-in")
    assert f"{COOKIE}=;" in answer.headers["Set-Cookie"]
    assert acts(at, beta)[-1] == "foreign_cookie"
    show(visitor, value_in(owner))
    answers = [try_password(visitor, OWNER).status_code for _ in range(11)]
    assert answers[-1] == 429


def test_one_persons_browser_is_not_known_as_anothers(app, at, alpha, owner, rows):
    join(at, alpha)
    sign_out(owner)
    sign_in(owner, "mia@example.test")
    assert [device.user_id for device in rows()] == [1, 2]


def test_a_new_browser_is_told_of_by_letter_with_links_to_the_primary_domain_alone(app, work, alpha, owner):
    work(alpha)
    assert letters(app) == [], "nobody is warned of their very first sign-in"
    visitor = _client(app, alpha.primary_host)
    page = visitor.get("/sign-in").text
    given = {"csrf_token": printed_token(page), "email": OWNER, "password": PASSWORD}
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    visitor.post("/sign-in", data=given, headers={"User-Agent": agent, "X-Forwarded-Host": "evil.example"})
    work(alpha)
    (letter,) = letters(app)
    assert letter["To"] == f"Olive of Alpha Allotments <{OWNER}>"
    assert letter["Subject"] == "A new sign-in at Alpha Allotments"
    assert "Firefox on Linux" in letter.get_body(("plain",)).get_content()
    assert {each.rpartition("alpha.localhost:8000")[0] for each in links_in(letter)} == {"http://"}
    sign_out(visitor)
    sign_in(visitor, OWNER)
    work(alpha)
    assert len(letters(app)) == 1, "it is known by now"


def test_when_no_letter_leaves_one_comes_in_all_the_same(app, config, alpha, owner, work, monkeypatch):
    from app.facilities import mail

    def down(*_):
        raise mail.MailDown("nobody answers")

    monkeypatch.setattr(mail, "send", down)
    assert is_in(browser_of(app, alpha, OWNER))


def test_one_browser_or_all_others_are_signed_out_and_forgotten(app, at, alpha, owner, rows):
    second, third = browser_of(app, alpha, OWNER), browser_of(app, alpha, OWNER)
    page = third.get("/desk/profile/").text
    assert page.count("This one") == 1
    assert page.count("/desk/profile/devices/") == 3
    oldest = owner.get("/desk/profile/").text
    assert oldest.index("This one") < oldest.index("/desk/profile/devices/"), "one's own comes first"
    ways = re.findall(r'aria-label="Sign out [^"]*, since ([^"]+)"', page)
    assert ways == sorted(ways, reverse=True)
    assert len(ways) == 2
    assert post(third, f"/desk/profile/devices/{rows()[0].id}/end").status_code == 303
    assert (is_in(owner), is_in(second), is_in(third)) == (False, True, True)
    post(third, "/desk/profile/devices/end")
    assert (is_in(second), is_in(third)) == (False, True)
    assert acts(at, alpha)[-2:] == ["device_revoked", "sessions_ended"]
    assert len(rows()) == 1


def test_a_browser_that_signed_out_stays_in_the_list_until_it_is_forgotten(app, alpha, owner, rows):
    other = browser_of(app, alpha, OWNER)
    sign_out(other)
    assert "Signed out" in owner.get("/desk/profile/").text
    post(owner, f"/desk/profile/devices/{rows()[1].id}/end")
    assert "Signed out" not in owner.get("/desk/profile/").text
    assert len(rows()) == 1


def test_nobody_signs_out_somebody_else(app, at, alpha, owner, rows):
    join(at, alpha)
    member = browser_of(app, alpha, "mia@example.test")
    assert post(member, f"/desk/profile/devices/{rows()[0].id}/end").status_code == 404
    assert is_in(owner)


def test_a_new_password_leaves_only_this_browser_known(app, alpha, owner, rows):
    other, this = browser_of(app, alpha, OWNER), rows()[0].id
    post(owner, "/desk/profile/password", current=PASSWORD, password="seven other unrelated words")
    assert (is_in(owner), is_in(other)) == (True, False)
    assert [device.id for device in rows()] == [this]


def test_a_link_for_a_new_password_leaves_no_browser_known(app, at, alpha, owner, rows):
    this = rows()[0].id
    token = at(alpha, lambda: SetUpLink.issue(db.session.get(User, 1)))
    page = owner.get(f"/set-up/{token}").text
    given = {"csrf_token": printed_token(page), "password": "seven other unrelated words"}
    assert owner.post(f"/set-up/{token}", data=given).status_code == 303
    assert this not in {device.id for device in rows()}


def test_a_first_second_factor_leaves_only_this_browser_known(app, alpha, owner, rows):
    other, this = browser_of(app, alpha, OWNER), rows()[0].id
    post(owner, "/desk/profile/security/app/attempt")
    page = owner.get("/desk/profile/security/app").text
    given = filled_in(page, "code", code=second_factor(OWNER, page))
    assert owner.post("/desk/profile/security/app", data=given).status_code in (200, 303)
    assert (is_in(owner), is_in(other)) == (True, False)
    assert [device.id for device in rows()] == [this]
    assert try_password(other, OWNER, PASSWORD).location.startswith("/sign-in/second")


def test_a_known_browser_is_not_shut_out_by_what_others_try(alpha, owner, client_for):
    sign_out(owner)
    for _ in range(throttle.PERSON.most + 1):
        try_password(client_for(alpha), OWNER)
    assert try_password(client_for(alpha), OWNER, PASSWORD).status_code == 429
    assert try_password(owner, OWNER, PASSWORD).status_code == 303


def test_one_that_was_signed_out_from_elsewhere_is(app, alpha, owner, rows, client_for):
    other = browser_of(app, alpha, OWNER)
    post(other, f"/desk/profile/devices/{rows()[0].id}/end")
    for _ in range(throttle.PERSON.most + 1):
        try_password(client_for(alpha), OWNER)
    assert try_password(owner, OWNER, PASSWORD).status_code == 429


def test_no_transaction_is_open_while_a_try_is_counted(app, alpha, owner, monkeypatch):
    sign_out(owner)
    open_then, take = [], throttle.rates.take
    monkeypatch.setattr(
        throttle.rates, "take", lambda *tries: (open_then.append(db.session().in_transaction()), take(*tries))
    )
    assert try_password(owner, OWNER, PASSWORD).status_code == 303
    assert open_then == [False]


def test_a_copy_that_is_brought_back_knows_no_browser(app, tenancy, alpha, rows, owner):
    from app.accounts import end_sessions

    file = tenancy.placements.open_file(alpha.id)
    end_sessions(file)
    file.close()
    assert rows() == rows(Session) == []
    assert not is_in(owner)


def test_every_night_what_is_over_is_removed(at, alpha, owner, rows, signed_in):
    signed_in(alpha)
    token = at(alpha, lambda: SetUpLink.issue(db.session.get(User, 1)))

    def grow_old():
        db.session.execute(update(Session).where(Session.id == 1).values(expires_at=utcnow()))
        long_ago = utcnow() - DEVICE_LIFETIME
        db.session.execute(update(Device).where(Device.id == 1).values(last_seen_at=long_ago))

    at(alpha, grow_old)
    at(alpha, jobs.purge)
    assert [len(rows(model)) for model in (Session, Device, SetUpLink)] == [1, 1, 1]
    at(alpha, lambda: db.session.execute(update(SetUpLink).values(expires_at=utcnow() - timedelta(days=31))))
    at(alpha, jobs.purge)
    assert rows(SetUpLink) == []
    assert at(alpha, lambda: SetUpLink.find(token)) is None


def test_a_house_that_cannot_be_written_to_is_read_all_the_same(app, owner, monkeypatch):
    from app.tenancy.errors import TenantBusy

    def busy(*_, **__):
        raise TenantBusy("alpha")

    monkeypatch.setattr(devices, "tenant_context", busy)
    with later(hours=23):
        assert is_in(owner)
