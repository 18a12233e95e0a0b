"""How operators come and go is in the ledger, and on the console's page of what goes on."""

from __future__ import annotations

from sqlalchemy import select

from app.tenancy import db, platform_context
from app.tenancy.ledger import AuditRow
from tests.console.operating import send
from tests.console.test_second_factor import OPERATOR, give_code, give_password, new_operator, set_up  # noqa: F401
from tests.printed import filled_in


def rows(app, kind):
    with app.app_context(), platform_context(writes=False):
        return [(row.actor, row.detail) for row in db.session.scalars(select(AuditRow).where(AuditRow.kind == kind))]


def guess(browser, email, password="not the password"):
    page = browser.get("/sign-in").text
    return browser.post("/sign-in", data=filled_in(page, "email", email=email, password=password))


def test_coming_and_going_is_told(app, new_operator):  # noqa: F811
    give_password(new_operator)
    assert rows(app, "operator_signed_in") == [], "a password alone lets nobody in"
    set_up(new_operator)
    ((actor, _),) = rows(app, "operator_signed_in")
    assert actor == OPERATOR
    page = new_operator.get("/activity/").text
    assert f"{OPERATOR} signed in." in page
    send(new_operator, "/sign-out")
    assert [actor for actor, _ in rows(app, "operator_signed_out")] == [OPERATOR]


def test_wrong_passwords_are_told_seldom_and_without_what_was_typed(app, new_operator):  # noqa: F811
    for email in (OPERATOR, OPERATOR.upper(), OPERATOR, "nobody@elsewhere.test"):
        assert guess(new_operator, email).status_code == 422
    told = [detail for _, detail in rows(app, "operator_sign_in_failed")]
    assert [each["subject"] for each in told] == [OPERATOR, ""], (
        "once a minute for each address, and only the known named"
    )
    assert not any("not the password" in str(each) or "elsewhere" in str(each) for each in told)
    set_up(new_operator)
    page = new_operator.get("/activity/").text
    assert f"A wrong password was given for {OPERATOR}." in page
    assert "A wrong password was given for an address that is no operator" in page


def test_a_flood_of_addresses_fills_no_disk(app, tenancy):
    for number in range(30):
        tenancy.ledger.record_seldom("operator_sign_in_failed", f"mark {number}")
    assert len(rows(app, "operator_sign_in_failed")) == 20


def test_a_new_password_by_command_is_told(app, new_operator, runner):  # noqa: F811
    runner("operators", "reset", OPERATOR)
    assert [detail["subject"] for _, detail in rows(app, "operator_reset")] == [OPERATOR]


def test_a_wrong_code_is_told_too(app, new_operator):  # noqa: F811
    set_up(new_operator)
    send(new_operator, "/sign-out")
    give_password(new_operator)
    give_code(new_operator, "000000")
    assert [actor for actor, _ in rows(app, "operator_second_factor_failed")] == [OPERATOR]
