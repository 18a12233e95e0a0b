"""The console asks everybody for a second factor, each time; who has none sets it up right after their first password."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from sqlalchemy import func, select

from app.console.factors import OperatorAttempt, OperatorFactor, OperatorRecoveryCode
from app.tenancy import db, platform_context, utcnow
from app.tenancy.ledger import AuditRow
from tests.conftest import PASSWORD, Authenticator, _client
from tests.printed import filled_in

OPERATOR = "operator@platform.test"


@pytest.fixture
def new_operator(platform, runner):
    """Return the console's client of an operator who was never here."""
    runner("operators", "create", OPERATOR, "--password-stdin", input=f"{PASSWORD}\n")
    return platform


def give_password(browser):
    page = browser.get("/sign-in").text
    return browser.post("/sign-in", data=filled_in(page, "email", email=OPERATOR, password=PASSWORD))


def give_code(browser, code, path="/sign-in/second"):
    return browser.post(path, data=filled_in(browser.get(path).text, "code", code=code))


def is_in(browser):
    return browser.get("/").status_code == 200


def set_up(browser):
    """Come in for the first time; returns what is kept of the page."""
    assert give_password(browser).location == "/sign-in/app"
    kept = Authenticator(browser.get("/sign-in/app").text)
    assert give_code(browser, kept.code(), "/sign-in/app").location == "/"
    return kept


def count(app, model):
    with app.app_context(), platform_context(writes=False):
        return db.session.scalar(select(func.count()).select_from(model))


def test_a_new_operator_sets_up_an_app_before_anything_else(app, new_operator):
    assert give_password(new_operator).location == "/sign-in/app"
    assert not is_in(new_operator)
    assert new_operator.get("/sign-in/second").location == "/sign-in/app"
    page = new_operator.get("/sign-in/app").text
    assert "otpauth://totp/Freehold%20console:operator%40platform.test" in page
    set_up(new_operator)
    assert is_in(new_operator)
    assert (count(app, OperatorFactor), count(app, OperatorRecoveryCode)) == (1, 10)
    assert count(app, OperatorAttempt) == 1, "the one that was begun first and left alone runs out by itself"


def test_it_is_asked_for_each_time_in_a_known_browser_too(app, new_operator):
    kept = set_up(new_operator)
    new_operator.post("/sign-out", data=filled_in(new_operator.get("/").text))
    assert give_password(new_operator).location == "/sign-in/second"
    assert not is_in(new_operator)
    assert give_code(new_operator, "000000").status_code == 422
    assert give_code(new_operator, kept.code()).status_code == 422, "the first code was used when it was set up"
    assert give_code(new_operator, kept.code(1)).location == "/"
    other = _client(app, "platform.localhost")
    give_password(other)
    assert give_code(other, kept.codes[0]).location == "/"


def test_a_reset_takes_the_factor_and_ends_what_was_begun(app, new_operator, runner):
    kept = set_up(new_operator)
    half_way = _client(app, "platform.localhost")
    give_password(half_way)
    form = filled_in(half_way.get("/sign-in/second").text, "code", code=kept.codes[0])
    assert runner("operators", "reset", OPERATOR, "--password-stdin", input=f"{PASSWORD}\n").exit_code == 0
    assert not is_in(new_operator)
    assert half_way.post("/sign-in/second", data=form).location == "/sign-in"
    set_up(new_operator)


def test_an_operator_who_is_removed_leaves_no_factor_behind(app, new_operator, runner):
    set_up(new_operator)
    runner("operators", "create", "other@platform.test", "--password-stdin", input=f"{PASSWORD}\n")
    done = runner("operators", "remove", OPERATOR, "--yes")
    assert done.exit_code == 0, done.output
    assert count(app, OperatorFactor) == count(app, OperatorRecoveryCode) == 0


def test_what_operators_do_with_it_is_told_in_the_ledger_without_a_secret(app, new_operator):
    kept = set_up(new_operator)
    other = _client(app, "platform.localhost")
    give_password(other)
    give_code(other, "000000")
    give_code(other, kept.codes[0])
    with app.app_context(), platform_context(writes=False):
        rows = db.session.scalars(select(AuditRow).where(AuditRow.actor == OPERATOR)).all()
    kinds = {row.kind for row in rows}
    assert {
        "operator_factor_added",
        "operator_recovery_codes_made",
        "operator_second_factor_failed",
        "operator_recovery_code_used",
    } <= kinds
    assert not [row for row in rows if kept.key in str(row.detail) or kept.codes[0] in str(row.detail)]


def test_an_attempt_of_a_member_opens_no_console(app, at, alpha, new_operator):
    from tests.accounts.test_second_factor import ask
    from tests.accounts.test_second_factor import give_password as sign_in_at_alpha

    ask(at, alpha, "owners")
    member = _client(app, alpha.primary_host)
    sign_in_at_alpha(member)
    attempt = member.get_cookie("freehold-attempt", domain=alpha.primary_host).value
    new_operator.set_cookie("freehold-attempt", attempt, domain="platform.localhost")
    assert new_operator.get("/sign-in/app").location == "/sign-in"


def test_six_minutes_after_it_an_operator_proves_themselves_again(app, new_operator, alpha):
    kept = set_up(new_operator)
    with time_machine.travel(utcnow() + timedelta(minutes=6)):
        page = filled_in(new_operator.get("/tenants/alpha").text, "reason", reason="A test")
        asked = new_operator.post("/tenants/alpha/suspension", data=page)
        assert asked.status_code == 403
        assert "Is it still you?" in asked.text
        waits = filled_in(asked.text, "again-code")
        assert waits["reason"] == "A test"
        new_operator.post("/tenants/alpha/suspension", data=waits | {"again-code": kept.codes[1]})
        assert "A test" in new_operator.get("/tenants/alpha").text
