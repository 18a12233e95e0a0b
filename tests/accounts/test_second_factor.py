"""A second factor: set up, asked for, used once, lost and found again."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import pyotp
import pytest
import time_machine
from sqlalchemy import func, select

from app import create_app
from app.accounts import User, admission
from app.accounts.factors import PEOPLE, codes_of, secret_of
from app.accounts.models import Attempt, Factor, RecoveryCode, Role, Session, SignInRules
from app.config import Config
from app.facilities.rates import Rate
from app.tenancy import db, platform_context, utcnow
from app.tenancy.registry import Tier
from tests.accounts.people import acts, browser_of, is_in, join, letters, link_in, post
from tests.conftest import PASSWORD, Authenticator, _client
from tests.printed import filled_in
from tests.running import until

OWNER = "owner@alpha.test"
SEED = "a seed of the tests"


def codes_at(moment=None):
    """Return the codes of the app that grew from the tests' seed: now, and each half minute after."""
    app, now = pyotp.TOTP(secret_of(SEED)), int(utcnow().timestamp())
    return [app.at(now + 30 * step) for step in range(-1, 3)]


@pytest.fixture
def has_app(at, alpha):
    """Give the owner of alpha an app that was used long ago, and ten recovery codes, which are returned."""

    def give():
        user = User.by_email(OWNER)
        db.session.add(Factor(person_id=user.id, kind="app", secret=secret_of(SEED)))
        PEOPLE.set_codes(user, codes_of(SEED))

    at(alpha, give)
    return codes_of(SEED)


def ask(at, tenant, second_factor, by_letter=False):
    at(tenant, lambda: SignInRules.decide(second_factor, by_letter))


def give_password(browser, email=OWNER, password=PASSWORD, **more):
    page = browser.get("/sign-in").text
    return browser.post("/sign-in", data=filled_in(page, "email", email=email, password=password, **more))


def give_code(browser, code, path="/sign-in/second"):
    page = browser.get(path)
    return browser.post(path, data=filled_in(page.text, "code", code=code))


def half_way(app, tenant, email=OWNER):
    """Return a browser whose person has given their password and nothing more."""
    browser = _client(app, tenant.primary_host)
    answer = give_password(browser, email)
    assert answer.location == "/sign-in/second", answer.text
    return browser


def plan_asks(app, tenant, second_factor):
    with app.app_context(), platform_context():
        db.session.get(Tier, tenant.tier).second_factor = second_factor
        db.session.commit()


def set_up_app(browser):
    """Set up an app at the desk; returns what is kept of the page."""
    page = "/desk/profile/security/"
    assert post(browser, f"{page}app/attempt", page).location == f"{page}app"
    kept = Authenticator(browser.get(f"{page}app").text)
    assert give_code(browser, kept.code(), f"{page}app").location == page
    return kept


def count(at, tenant, model):
    return at(tenant, lambda: db.session.scalar(select(func.count()).select_from(model)))


# Coming in


def test_a_browser_that_is_not_known_gives_a_code_and_one_that_is_known_gives_none(app, alpha, has_app):
    browser = half_way(app, alpha)
    assert not is_in(browser)
    answer = give_code(browser, codes_at()[1])
    assert (answer.status_code, answer.location) == (303, "/desk/")
    assert is_in(browser)
    browser.post("/sign-out", data=filled_in(browser.get("/desk/").text))
    assert give_password(browser).location == "/desk/"


def test_the_way_leads_to_the_page_that_was_asked_for(app, alpha, has_app):
    browser = _client(app, alpha.primary_host)
    give_password(browser, next="/desk/people/")
    assert give_code(browser, codes_at()[1]).location == "/desk/people/"


def test_the_password_alone_opens_nothing(app, alpha, has_app):
    browser = half_way(app, alpha)
    assert "freehold" not in {cookie.key for cookie in browser._cookies.values()}
    assert browser.get("/desk/").location.startswith("/sign-in")
    assert browser.get("/live").status_code == 401


def test_a_wrong_code_is_refused_and_noted(app, at, alpha, has_app):
    browser = half_way(app, alpha)
    answer = give_code(browser, "000000")
    assert answer.status_code == 422
    assert "not right" in answer.text
    assert acts(at, alpha)[-1] == "second_factor_failed"
    assert not is_in(browser)


@pytest.mark.parametrize("typed", ["", " ", "１２３４５６", "12345", "x" * 64, "'; --", "\x00"])
def test_what_is_no_code_is_refused(app, alpha, has_app, typed):
    assert give_code(half_way(app, alpha), typed).status_code == 422


def test_a_code_may_be_typed_with_a_space_and_that_of_a_clock_half_a_minute_off_is_good(app, alpha, has_app):
    before, now, after, too_late = codes_at()
    assert give_code(half_way(app, alpha), too_late).status_code == 422
    assert give_code(half_way(app, alpha), f"{before[:3]} {before[3:]}").status_code == 303
    assert give_code(half_way(app, alpha), after).status_code == 303
    assert give_code(half_way(app, alpha), now).status_code == 422, "a step before one that was given counts no more"


def test_a_code_counts_once(app, alpha, has_app):
    code = codes_at()[1]
    assert give_code(half_way(app, alpha), code).status_code == 303
    assert give_code(half_way(app, alpha), code).status_code == 422


def test_a_recovery_code_counts_once_however_it_is_written(app, at, alpha, has_app):
    browser = half_way(app, alpha)
    assert "Use a recovery code" in browser.get("/sign-in/second").text
    page = browser.get("/sign-in/second?recovery=1").text
    assert "recovery codes" in page
    assert give_code(browser, has_app[3].lower().replace("-", " ")).status_code == 303
    assert "recovery_code_used" in acts(at, alpha)
    page = browser.get("/desk/").text
    assert "You have 9 recovery codes left." in page
    assert 'href="/desk/profile/security/"' in page
    spent = give_code(half_way(app, alpha), has_app[3], "/sign-in/second?recovery=1")
    assert spent.status_code == 422
    assert "Check the letters; each code works once." in spent.text
    assert count(at, alpha, RecoveryCode) == 9


def test_the_codes_of_one_person_are_nothing_to_another(app, at, alpha, has_app):
    mia = join(at, alpha)
    at(alpha, lambda: PEOPLE.enrol_app(db.session.get(User, mia), "another seed", first_code("another seed")))
    browser = half_way(app, alpha, "mia@example.test")
    assert give_code(browser, has_app[0]).status_code == 422
    assert give_code(browser, codes_at()[1]).status_code == 422


def first_code(seed):
    return pyotp.TOTP(secret_of(seed)).now()


def test_the_codes_of_one_house_are_nothing_to_another(app, at, alpha, beta, has_app):
    at(beta, lambda: PEOPLE.enrol_app(User.by_email("owner@beta.test"), "another seed", first_code("another seed")))
    browser = half_way(app, beta, "owner@beta.test")
    assert give_code(browser, has_app[0]).status_code == 422
    assert give_code(browser, codes_at()[1]).status_code == 422
    thief = _client(app, beta.primary_host)
    attempt = half_way(app, alpha).get_cookie(admission.COOKIE, domain=alpha.primary_host).value
    thief.set_cookie(admission.COOKIE, attempt, domain=beta.primary_host)
    assert thief.get("/sign-in/second").location == "/sign-in"


# What was begun


def test_what_was_begun_is_over_after_ten_minutes(app, alpha, has_app):
    browser = half_way(app, alpha)
    with time_machine.travel(utcnow() + timedelta(minutes=11)):
        assert browser.get("/sign-in/second").location == "/sign-in"
        assert "sign in once more" in browser.get("/sign-in").text


def test_what_was_begun_serves_once_and_is_gone_with_it(app, at, alpha, has_app):
    browser = half_way(app, alpha)
    cookie = browser.get_cookie(admission.COOKIE, domain=alpha.primary_host).value
    assert give_code(browser, codes_at()[1]).status_code == 303
    assert count(at, alpha, Attempt) == 0
    again = _client(app, alpha.primary_host)
    again.set_cookie(admission.COOKIE, cookie, domain=alpha.primary_host)
    assert again.get("/sign-in/second").location == "/sign-in"


@pytest.mark.parametrize("change", ["deactivate", "end_sessions", "remove"])
def test_what_was_begun_ends_with_what_ends_sessions(app, at, alpha, change):
    mia = join(at, alpha)
    at(alpha, lambda: PEOPLE.enrol_app(db.session.get(User, mia), SEED, first_code(SEED)))
    browser = half_way(app, alpha, "mia@example.test")
    form = filled_in(browser.get("/sign-in/second").text, "code", code=codes_at()[2])

    def act():
        how = {} if change == "end_sessions" else {"by": User.by_email(OWNER)}
        getattr(db.session.get(User, mia), change)(**how)

    at(alpha, act)
    assert count(at, alpha, Attempt) == 0
    assert browser.post("/sign-in/second", data=form).location == "/sign-in"
    assert not is_in(browser)


def test_who_is_removed_leaves_no_factor_behind(app, at, alpha):
    mia = join(at, alpha)
    at(alpha, lambda: PEOPLE.enrol_app(db.session.get(User, mia), SEED, first_code(SEED)))
    at(alpha, lambda: PEOPLE.set_codes(db.session.get(User, mia), codes_of(SEED)))
    at(alpha, lambda: db.session.get(User, mia).remove(by=User.by_email(OWNER)))
    assert count(at, alpha, Factor) == count(at, alpha, RecoveryCode) == 0


# Many at once


@pytest.fixture
def generous(monkeypatch):
    """Let more codes be tried than anybody may, so that what holds here is not the throttle."""
    monkeypatch.setattr(admission, "CODES", Rate("code", 1000, 600, "many"))


@pytest.mark.parametrize("kind", ["app", "recovery"])
@pytest.mark.parametrize("throttled", [True, False], ids=["throttled", "unthrottled"])
def test_of_twenty_tries_of_one_code_at_once_exactly_one_comes_in(app, at, alpha, has_app, request, kind, throttled):
    if not throttled:
        request.getfixturevalue("generous")
    code = codes_at()[1] if kind == "app" else has_app[0]
    browsers = [half_way(app, alpha) for _ in range(20)]
    forms = [filled_in(browser.get("/sign-in/second").text, "code", code=code) for browser in browsers]
    answers = at_once(
        [lambda b=b, f=f: b.post("/sign-in/second", data=f) for b, f in zip(browsers, forms, strict=True)]
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(303) == 1, statuses
    assert set(statuses) <= ({303, 422, 429} if throttled else {303, 422})
    assert sum(map(is_in, browsers)) == count(at, alpha, Session) == 1


def at_once(works):
    """Do all of it at the same moment, each in a thread of its own; returns what came of each."""
    gate, found = threading.Barrier(len(works)), [None] * len(works)

    def do(number):
        gate.wait()
        found[number] = works[number]()

    threads = [threading.Thread(target=do, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_after_ten_wrong_codes_the_right_one_waits_but_a_known_browser_comes_in(app, alpha, has_app):
    known = half_way(app, alpha)
    give_code(known, codes_at()[0])
    known.post("/sign-out", data=filled_in(known.get("/desk/").text))
    browser = half_way(app, alpha)
    answers = [give_code(browser, "000000").status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]
    late = give_code(half_way(app, alpha), codes_at()[1])
    assert late.status_code == 429
    assert late.headers["RateLimit-Policy"] == '"code";q=10;w=600'
    assert give_password(known).location == "/desk/"


def test_no_more_than_fifty_codes_are_looked_at_in_a_day(app, alpha, has_app):
    start = utcnow().replace(hour=8, minute=0)
    refused = 0
    for hour in range(6):
        with time_machine.travel(start + timedelta(hours=hour)):
            browser = half_way(app, alpha)
            refused += [give_code(browser, "000000").status_code for _ in range(10)].count(429)
    assert refused == 10


# Who has to


@pytest.mark.parametrize("asked_of", ["owners", "everybody"])
def test_who_has_to_sets_an_app_up_before_anything_else(app, at, alpha, client_for, asked_of):
    ask(at, alpha, asked_of)
    browser = client_for(alpha)
    assert give_password(browser, next="/desk/people/").location == "/sign-in/app"
    assert not is_in(browser)
    page = browser.get("/sign-in/app").text
    kept = Authenticator(page)
    assert "otpauth://totp/Alpha%20Allotments:owner%40alpha.test?secret=" + kept.key in page
    assert len(kept.codes) == 10
    assert give_code(browser, "000000", "/sign-in/app").status_code == 422
    assert give_code(browser, kept.code(), "/sign-in/app").location == "/desk/people/"
    assert is_in(browser)
    assert {"factor_added", "recovery_codes_made"} <= set(acts(at, alpha))
    other = half_way(app, alpha)
    assert give_code(other, kept.codes[0]).location == "/desk/"


def test_owners_have_to_and_others_need_not(app, at, alpha):
    ask(at, alpha, "owners")
    join(at, alpha)
    assert is_in(browser_of(app, alpha, "mia@example.test"))


def test_owners_admins_and_whoever_else_manages_people_have_to_where_managers_do(app, at, alpha, client_for):
    ask(at, alpha, "managers")
    at(alpha, lambda: Role.make("Deputy", {"people.manage"}, by=User.by_email(OWNER)))
    key = at(alpha, lambda: next(role.key for role in Role.every() if role.name == "Deputy"))
    for role, way in (("admin", "/sign-in/app"), (key, "/sign-in/app"), ("editor", "/desk/"), ("member", "/desk/")):
        join(at, alpha, f"{role}@example.test", role, role)
        assert give_password(client_for(alpha), f"{role}@example.test").location == way
    assert give_password(client_for(alpha)).location == "/sign-in/app"


@pytest.mark.parametrize("by", ["rule", "plan"])
def test_who_is_in_already_sets_one_up_at_the_next_page_once_it_is_asked(app, at, alpha, signed_in, by):
    owner, mia = signed_in(alpha), join(at, alpha) and browser_of(app, alpha, "mia@example.test")
    form = filled_in(mia.get("/desk/profile/").text, "name", name="Mia Miller")
    if by == "rule":
        assert post(owner, "/desk/settings/security/", second_factor="everybody").status_code == 303
    else:
        plan_asks(app, alpha, "everybody")
    for browser in (owner, mia):
        for path in ("/desk/", "/desk/people/", "/desk/settings/security/", "/", "/live", "/no-such-page"):
            assert browser.get(path).location == "/desk/profile/security/", path
    kept = mia.post("/desk/profile/name", data=form)
    assert kept.status_code == 403
    assert "Mia Miller" in kept.text, "what was typed is handed back"
    page = mia.get("/desk/profile/security/")
    assert "you have none yet" in page.text
    look = re.search(r"/_theme/\w+\.css", page.text).group()
    assert mia.get(look).status_code == 200, "the page has its colours"
    set_up_app(mia)
    assert (mia.get("/desk/").status_code, owner.get("/desk/").status_code) == (200, 302)
    assert _client(app, alpha.primary_host).get("/").status_code == 200
    assert post(owner, "/sign-out", page="/desk/profile/security/").status_code == 303


def test_who_need_not_or_has_one_goes_on_as_before(app, at, alpha, has_app):
    owner = half_way(app, alpha)
    give_code(owner, has_app[0])
    join(at, alpha)
    mia = browser_of(app, alpha, "mia@example.test")
    ask(at, alpha, "managers")
    assert (is_in(owner), is_in(mia)) == (True, True)


def test_what_the_plan_asks_for_holds_whatever_the_organisation_says(app, at, alpha, client_for):
    plan_asks(app, alpha, "owners")
    assert give_password(client_for(alpha)).location == "/sign-in/app"
    ask(at, alpha, "everybody")
    join(at, alpha)
    assert give_password(client_for(alpha), "mia@example.test").location == "/sign-in/app"


def test_a_set_up_link_a_forgotten_password_and_an_invitation_lead_there_too(
    app, at, alpha, client_for, signed_in, work
):
    owner = signed_in(alpha)
    path = post_invitation(owner)
    ask(at, alpha, "everybody")
    guest = client_for(alpha)
    page = filled_in(guest.get(path).text, "password", name="Nia", password="four unrelated words")
    assert guest.post(path, data=page).location == "/sign-in/app"

    guest.post("/sign-in/help", data=filled_in(guest.get("/sign-in/help").text, "email", email=OWNER))
    work(alpha)
    path = link_in(letters(app)[-1].get_body(("plain",)).get_content(), "set-up")
    page = filled_in(guest.get(path).text, "password", password="four unrelated words")
    assert guest.post(path, data=page).location == "/sign-in/app"
    assert not is_in(guest)


def post_invitation(owner):
    page = post(owner, "/desk/people/invitations/", email="nia@example.test", role="member", name="")
    return link_in(page.text, "invitation")


def test_a_letter_for_a_forgotten_password_leads_no_further_than_the_second_factor(app, at, alpha, has_app, work):
    browser = _client(app, alpha.primary_host)
    browser.post("/sign-in/help", data=filled_in(browser.get("/sign-in/help").text, "email", email=OWNER))
    work(alpha)
    path = link_in(letters(app)[-1].get_body(("plain",)).get_content(), "set-up")
    page = filled_in(browser.get(path).text, "password", password="four unrelated words")
    assert browser.post(path, data=page).location == "/sign-in/second"
    assert not is_in(browser)


def test_the_key_is_in_no_address_and_no_audit_and_codes_are_stored_as_hashes(app, at, alpha, client_for):
    ask(at, alpha, "owners")
    browser = client_for(alpha)
    give_password(browser)
    answer = browser.get("/sign-in/app")
    kept = Authenticator(answer.text)
    assert answer.headers["Cache-Control"] == "private, no-store"
    give_code(browser, kept.code(), "/sign-in/app")

    def stored():
        tables = db.session.execute(
            db.text("SELECT name FROM sqlite_schema WHERE type = 'table'"), bind_arguments={"mapper": User}
        )
        names = [name for (name,) in tables if name != "factor"]
        return repr(
            [db.session.execute(db.text(f'SELECT * FROM "{n}"'), bind_arguments={"mapper": User}).all() for n in names]
        )

    everything = at(alpha, stored)
    assert kept.key not in everything
    assert not [code for code in kept.codes if code in everything or code.replace("-", "") in everything]


# Processes of their own


def give_from_elsewhere(home, host, cookie):
    """Give the code that the gate says, from another process, as soon as it is there; returns the status."""
    app = create_app(Config.load({"FREEHOLD_HOME": str(home)}))
    browser = _client(app, host)
    browser.set_cookie(admission.COOKIE, cookie, domain=host)
    form = filled_in(browser.get("/sign-in/second").text, "code")
    (home / f"ready-{os.getpid()}").touch()
    until((home / "gate").exists, seconds=200)
    status = browser.post("/sign-in/second", data=form | {"code": (home / "gate").read_text()}).status_code
    app.extensions["tenancy"].close()
    return status


@pytest.mark.prove
@pytest.mark.parametrize("kind", ["app", "recovery"])
def test_of_twenty_processes_with_one_code_exactly_one_comes_in(app, at, alpha, home, has_app, kind):
    host = alpha.primary_host
    cookies = [half_way(app, alpha).get_cookie(admission.COOKIE, domain=host).value for _ in range(20)]
    with ProcessPoolExecutor(20, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(give_from_elsewhere, home, host, cookie) for cookie in cookies]
        until(lambda: len(list(home.glob("ready-*"))) == len(cookies), seconds=200)
        (home / "code").write_text(codes_at()[1] if kind == "app" else has_app[0])
        (home / "code").rename(home / "gate")
        statuses = [one.result() for one in waiting]
    assert statuses.count(303) == 1, statuses
    assert set(statuses) == {303, 422}
    assert count(at, alpha, Session) == 1
