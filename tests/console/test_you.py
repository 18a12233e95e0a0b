"""An operator's own pages: password, second factors, browsers; for every role."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select, update

from app.accounts import hash_password
from app.accounts.factors import codes_of, secret_of
from app.console import factors, operators
from app.tenancy import db, platform_context, utcnow
from app.tenancy.ledger import AuditRow
from app.tenancy.registry import OperatorSession
from tests.accounts.test_second_factor import SEED, codes_at
from tests.conftest import PASSWORD, Authenticator, _client
from tests.console.operating import asked, operator_of, send
from tests.printed import filled_in, printed_token

ROLES = ("all", "support", "billing", "read-only")
NEW = "four unrelated words of hers"
FACTORS = "/you/security/"


def is_in(browser):
    return browser.get("/you/").status_code == 200


def marks(browser):
    return re.findall(r'action="/you/browsers/(\w+)/end"', browser.get("/you/").text)


def told(app, email):
    with app.app_context(), platform_context(writes=False):
        return list(db.session.scalars(select(AuditRow.kind).where(AuditRow.actor == email).order_by(AuditRow.id)))


@pytest.mark.parametrize("role", ROLES)
def test_every_operator_looks_after_their_own_factors(app, role):
    browser, email = operator_of(app, role), f"{role}@operators.test"
    assert "none yet" in browser.get(FACTORS).text
    assert send(browser, f"{FACTORS}app/attempt").location == f"{FACTORS}app"
    page = browser.get(f"{FACTORS}app").text
    kept = Authenticator(page)
    assert send(browser, f"{FACTORS}app", code=kept.code()).location == FACTORS
    shown = browser.get(FACTORS).text
    assert "10 of 10 left" in shown
    removal = re.search(r"/you/security/factors/\d+/removal", shown).group()
    assert "one has to stay" in browser.get(send(browser, removal).location).text
    anew = send(browser, f"{FACTORS}codes")
    assert anew.status_code == 201
    assert kept.codes[0] not in anew.text
    options = send(browser, f"{FACTORS}passkeys/options").json
    assert options["rp"] == {"id": "platform.localhost", "name": "Freehold console"}
    assert {"operator_factor_added", "operator_recovery_codes_made"} <= set(told(app, email))


def test_nobody_touches_the_factors_of_another_operator(app):
    boss, helper = operator_of(app), operator_of(app, "support")
    give_app(app, "support@operators.test")
    give_app(app, "all@operators.test")
    own, other = (re.search(r"factors/(\d+)/removal", each.get(FACTORS).text).group(1) for each in (boss, helper))
    assert own != other
    assert send(boss, f"{FACTORS}factors/{other}/removal").status_code == 404
    assert "Set up" in helper.get(FACTORS).text


def give_app(app, email):
    with app.app_context(), platform_context():
        operator = operators.by_email(email)
        db.session.add(factors.OperatorFactor(person_id=operator.id, kind="app", secret=secret_of(SEED)))
        factors.FACTORS.set_codes(operator, codes_of(f"{SEED} {email}"))
        db.session.commit()


@pytest.mark.parametrize("role", ROLES)
def test_another_password_signs_out_all_but_this_browser_and_ends_what_was_begun(app, role):
    browser, other, email = operator_of(app, role), operator_of(app, role), f"{role}@operators.test"
    give_app(app, email)
    half_way, before = _client(app, "platform.localhost"), browser.get_cookie("freehold", domain="platform.localhost")
    form = filled_in(half_way.get("/sign-in").text, "email", email=email, password=PASSWORD)
    assert half_way.post("/sign-in", data=form).location == "/sign-in/second"
    code = filled_in(half_way.get("/sign-in/second").text, "code", code=codes_at()[1])
    assert "not your password" in send(browser, "/you/password", current="wrong", password=NEW).text
    assert send(browser, "/you/password", current=PASSWORD, password="freehold freehold").status_code == 422
    assert is_in(other)
    assert send(browser, "/you/password", current=PASSWORD, password=NEW).location == "/you/"
    assert (is_in(browser), is_in(other)) == (True, False)
    assert half_way.post("/sign-in/second", data=code).location == "/sign-in"
    thief = _client(app, "platform.localhost")
    thief.set_cookie("freehold", before.value, domain="platform.localhost")
    assert not is_in(thief), "the cookie of before is dead in every browser"
    assert half_way.post("/sign-in", data=form).status_code == 422
    assert half_way.post("/sign-in", data=form | {"password": NEW}).location == "/sign-in/second"
    assert "operator_password_set" in told(app, email)


def test_a_browser_is_signed_out_from_another_and_the_visits_begun_there_end(app, alpha):
    here, there = operator_of(app, "support"), operator_of(app, "support")
    stranger = operator_of(app, "billing")
    link, inside = asked(there), _client(app, alpha.primary_host)
    inside.post(link, data={"csrf_token": printed_token(inside.get(link).text)})
    assert inside.get("/desk/").status_code == 200
    (mark,) = marks(here)
    assert send(stranger, f"/you/browsers/{mark}/end").status_code == 404
    assert send(here, f"/you/browsers/{mark}/end").status_code == 303
    assert (is_in(here), is_in(there), is_in(stranger)) == (True, False, True)
    assert inside.get("/desk/").status_code == 302
    assert marks(here) == []


def test_a_visit_begun_in_a_browser_that_fell_asleep_ends_with_the_others(app, alpha):
    asleep = operator_of(app, "support")
    link, inside = asked(asleep), _client(app, alpha.primary_host)
    inside.post(link, data={"csrf_token": printed_token(inside.get(link).text)})
    with app.app_context(), platform_context():
        db.session.execute(update(OperatorSession).values(last_seen_at=utcnow() - operators.IDLE))
        db.session.commit()
    here = operator_of(app, "support")
    assert inside.get("/desk/").status_code == 200
    assert marks(here) == []
    assert send(here, "/you/browsers/end").status_code == 303
    assert inside.get("/desk/").status_code == 302


def test_all_other_browsers_are_signed_out_at_once(app):
    here, *others = (operator_of(app, "read-only") for _ in range(3))
    stranger = operator_of(app)
    assert send(here, "/you/browsers/end").status_code == 303
    assert [is_in(each) for each in (here, *others, stranger)] == [True, False, False, True]
    assert told(app, "read-only@operators.test") == ["operator_browsers_signed_out"]


def test_a_password_of_a_session_that_ended_meanwhile_is_not_changed(app):
    browser = operator_of(app)
    token = printed_token(browser.get("/you/").text)
    with app.app_context(), platform_context():
        operators.set_password(operators.by_email("all@operators.test"), hash_password(PASSWORD))
        db.session.commit()
    given = {"csrf_token": token, "current": PASSWORD, "password": NEW}
    assert browser.post("/you/password", data=given).status_code == 403
