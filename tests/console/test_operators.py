"""Operators' roles: a table of every page of the console and who may open it, and what a change of role does at once."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.console import operators
from app.tenancy import db, platform_context, utcnow
from app.tenancy.ledger import AuditRow
from app.tenancy.registry import Operator, OperatorSession
from tests.console.operating import operator_of, send
from tests.printed import printed_token

ROLES = ("all", "support", "billing", "read-only")
NOBODY_ELSE, SUPPORT, BILLING, EVERYBODY = {"all"}, {"all", "support"}, {"all", "billing"}, set(ROLES)

PAGES = {
    "console.sign_in": EVERYBODY,
    "console.signing_in": EVERYBODY,
    "console.sign_out": EVERYBODY,
    "console.overview": EVERYBODY,
    "console.tenants_list": EVERYBODY,
    "console.tenant": EVERYBODY,
    "console.tenant_domains": EVERYBODY,
    "console.activity": EVERYBODY,
    "console.backups_list": EVERYBODY,
    "console.tenant_backups": EVERYBODY,
    "console.backup_order": EVERYBODY,
    "console.you": EVERYBODY,
    "console.change_password": EVERYBODY,
    "console.end_browser": EVERYBODY,
    "console.end_other_browsers": EVERYBODY,
    "console.security.show": EVERYBODY,
    "console.security.begin_app": EVERYBODY,
    "console.security.new_app": EVERYBODY,
    "console.security.new_passkey": EVERYBODY,
    "console.security.keep_passkey": EVERYBODY,
    "console.security.passkey_options": EVERYBODY,
    "console.security.new_codes": EVERYBODY,
    "console.security.remove": EVERYBODY,
    "console.retry": SUPPORT,
    "console.copy_now": SUPPORT,
    "console.prove_now": SUPPORT,
    "console.look_at_domain": SUPPORT,
    "console.begin_visit": SUPPORT,
    "console.end_visit": SUPPORT,
    "console.set_cap": BILLING,
    "console.end_cap": BILLING,
    "console.suspend": BILLING,
    "console.resume": BILLING,
    "console.new_tenant": NOBODY_ELSE,
    "console.archive": NOBODY_ELSE,
    "console.add_domain": NOBODY_ELSE,
    "console.make_domain_primary": NOBODY_ELSE,
    "console.remove_domain": NOBODY_ELSE,
    "console.look_at_moment": NOBODY_ELSE,
    "console.open_preview": NOBODY_ELSE,
    "console.discard_preview": NOBODY_ELSE,
    "console.go_back": NOBODY_ELSE,
    "console.platform_settings": NOBODY_ELSE,
    "console.operators_list": NOBODY_ELSE,
    "console.add_operator": NOBODY_ELSE,
    "console.give_operator_role": NOBODY_ELSE,
    "console.remove_operator": NOBODY_ELSE,
}

NOTHING_THERE = ("<host>", "moments", "preview", "operator_id", "factor_id", "<mark>", "/you/security/codes")


def console_routes(app):
    """Yield the routes, that which closes an organisation last."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint == "console.archive"):
        if rule.subdomain == "platform" and rule.endpoint.startswith("console."):
            yield rule


def address(rule):
    values = {
        "slug": "alpha",
        "seq": "1",
        "name": "users",
        "mark": "x",
        "operator_id": "999",
        "factor_id": "999",
        "host": "no.example",
    }
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], rule.rule)


def test_every_page_of_the_console_is_in_the_table(app):
    assert {rule.endpoint for rule in console_routes(app)} == set(PAGES)


@pytest.mark.parametrize("role", ROLES)
def test_what_an_operators_role_does_not_hold_is_not_found(app, alpha, role):
    """By POST nothing is sent but the token, so what may be opened says what is missing, or that it is not there."""
    for rule in console_routes(app):
        if rule.endpoint in ("console.sign_out", "console.end_visit", "console.end_cap"):
            continue
        for method in sorted(rule.methods & {"GET", "POST"}):
            browser = operator_of(app, role)
            token = printed_token(browser.get("/").text)
            answer = browser.open(
                address(rule), method=method, data={"csrf_token": token} if method == "POST" else None
            )
            is_shut = answer.status_code == 404
            nothing_there = any(part in rule.rule for part in NOTHING_THERE)
            expected = role not in PAGES[rule.endpoint] or nothing_there
            assert is_shut == expected, f"{method} {rule.rule} as {role}: {answer.status_code}"


@pytest.mark.parametrize("role", ["support", "billing", "read-only"])
def test_pages_show_no_door_that_stays_shut(app, alpha, role):
    browser = operator_of(app, role)
    shown = browser.get("/").text + browser.get("/tenants/alpha").text + browser.get("/tenants/").text
    for door, form in (
        ("new_tenant", 'href="/tenants/new"'),
        ("operators_list", 'href="/operators/"'),
        ("platform_settings", 'href="/settings/"'),
        ("suspend", 'action="/tenants/alpha/suspension"'),
        ("set_cap", 'action="/tenants/alpha/caps"'),
        ("begin_visit", 'action="/tenants/alpha/visits"'),
        ("copy_now", 'action="/tenants/alpha/backups/copy"'),
    ):
        assert (form in shown) == (role in PAGES[f"console.{door}"]), f"{door} as {role}"


def test_another_role_signs_an_operator_out_at_once_and_is_noted(app, alpha):
    boss, helper = operator_of(app), operator_of(app, "support")
    number = id_of(app, "support@operators.test")
    assert send(boss, f"/operators/{number}/role", role="billing").status_code == 303
    assert helper.get("/").status_code == 302
    assert role_of(app, "support@operators.test") == "billing"
    assert "support@operators.test got the role billing, support until then." in boss.get("/activity/").text
    row = last(app, "operator_role_changed")
    assert (row.actor, row.detail["subject"]) == ("all@operators.test", "support@operators.test")


def test_who_is_removed_is_out_at_once(app):
    boss, helper = operator_of(app), operator_of(app, "support")
    assert send(boss, f"/operators/{id_of(app, 'support@operators.test')}/removal").status_code == 303
    assert helper.get("/").status_code == 302
    assert role_of(app, "support@operators.test") is None


def test_nobody_changes_or_removes_themselves(app):
    boss = operator_of(app)
    number = id_of(app, "all@operators.test")
    assert send(boss, f"/operators/{number}/role", role="billing").status_code == 404
    assert send(boss, f"/operators/{number}/removal").status_code == 404


def test_somebody_who_may_do_everything_stays(app, runner):
    operator_of(app)
    answer = runner("operators", "role", "all@operators.test", "billing")
    assert (answer.exit_code, "no operator left" in answer.output) == (2, True)
    assert runner("operators", "remove", "all@operators.test", "--yes").exit_code == 2
    assert role_of(app, "all@operators.test") == "all"


def test_a_new_operator_gets_a_password_that_is_shown_once(app):
    boss = operator_of(app)
    made = send(boss, "/operators/", email="New@Platform.test", name="Nora", role="read-only")
    assert made.status_code == 201
    password = re.search(r'id="password">([^<]+)<', made.text).group(1)
    with app.app_context(), platform_context():
        assert operators.authenticate("new@platform.test", password).role == "read-only"
    assert send(boss, "/operators/", email="new@platform.test", role="support").status_code == 422
    assert send(boss, "/operators/", email="other@platform.test", role="king").status_code == 422


def test_operators_have_roles_on_the_command_line(app, runner):
    operator_of(app)
    runner("operators", "create", "bill@platform.test", "--role", "billing")
    assert runner("operators", "role", "bill@platform.test", "support").exit_code == 0
    listed = json.loads(runner("operators", "list", "--json").output)
    assert {one["email"]: one["role"] for one in listed}["bill@platform.test"] == "support"
    assert runner("operators", "remove", "bill@platform.test", "--yes").exit_code == 0
    assert role_of(app, "bill@platform.test") is None


def test_operators_of_before_may_do_everything(app, operator):
    assert role_of(app, "operator@platform.test") == "all"


@pytest.mark.parametrize(("column", "ago"), [("last_seen_at", timedelta(minutes=31)), ("expires_at", timedelta(0))])
def test_a_session_of_the_console_ends_when_nobody_is_there(app, column, ago):
    browser = operator_of(app)
    age(app, column, ago)
    assert browser.get("/").status_code == 302


def test_reading_keeps_an_operator_signed_in_but_not_for_longer_than_twelve_hours(app):
    browser = operator_of(app)
    age(app, "last_seen_at", timedelta(minutes=20))
    browser.get("/")
    with app.app_context(), platform_context(writes=False):
        row = db.session.scalars(select(OperatorSession)).one()
        assert utcnow() - row.last_seen_at < timedelta(minutes=1)
        assert row.expires_at - row.created_at <= timedelta(hours=12, seconds=1)


def test_a_page_that_refreshes_itself_keeps_nobody_signed_in(app):
    browser = operator_of(app)
    age(app, "last_seen_at", timedelta(minutes=29))
    browser.get("/activity/", headers={"Sec-Fetch-Mode": "cors"})
    with app.app_context(), platform_context(writes=False):
        assert utcnow() - db.session.scalars(select(OperatorSession.last_seen_at)).one() > timedelta(minutes=28)


def age(app, column, ago):
    with app.app_context(), platform_context():
        db.session.execute(update(OperatorSession).values({column: utcnow() - ago}))
        db.session.commit()


def id_of(app, email):
    with app.app_context(), platform_context(writes=False):
        return db.session.scalar(select(Operator.id).where(Operator.email == email))


def role_of(app, email):
    with app.app_context(), platform_context(writes=False):
        return db.session.scalar(select(Operator.role).where(Operator.email == email))


def last(app, kind):
    with app.app_context(), platform_context(writes=False):
        return db.session.scalars(select(AuditRow).where(AuditRow.kind == kind).order_by(AuditRow.id.desc())).first()
