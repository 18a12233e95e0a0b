"""The walk by role: every route of the desk, as each of the five roles and as a visitor. What one may not see is not found.

A route that nobody has classified fails here: add it below to what it needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.accounts.policy import ROLES, permissions
from tests.accounts.people import browser_of, join
from tests.api.programs import make
from tests.printed import filled_in
from tests.tenancy.test_isolation import MEMBER, ROUTES, STREAM, addresses, canaries, digest, rules  # noqa: F401

ROOT = Path(__file__).parents[2]
EVERYBODY = "everybody who is signed in"

NEEDED = {
    EVERYBODY: """
        desk.home live.stream
        profile.show profile.rename profile.show_picture profile.remove_picture profile.read_in pictures.picture
        profile.change_password profile.end_device profile.end_others profile.leave
        second.again security.show security.begin_app security.new_app security.new_passkey security.keep_passkey
        security.passkey_options
        security.new_codes security.remove tokens_desk.own tokens_desk.make_own tokens_desk.end_own
    """,
    "people.see": "people.people",
    "people.manage": """
        people.new_invitation people.invite people.send_again people.withdraw people.person people.give_role
        people.deactivate people.reactivate people.remove roles.show
    """,
    "roles.manage": "roles.new_role roles.role roles.remove",
    "audit.read": "audit_desk.show audit_desk.download",
    "security.manage": """
        sign_in_rules.show sign_in_rules.decide support.visits support.choose_rule support.end joining.domains
        joining.approve joining.remove
    """,
    "tokens.manage": "tokens_desk.everybodys tokens_desk.make_for_service tokens_desk.end_anybodys",
    "settings.manage": """
        settings.show settings.use settings.save settings.example domains_desk.show letters_desk.show
        letters_desk.try_again
    """,
    "backups.restore": """
        backups_preview.end_preview backups_desk.show backups_desk.look_at backups_desk.replace backups_desk.order
        backups_desk.open_preview backups_desk.discard backups_desk.things backups_desk.bring_back
    """,
    "content.edit": """
        content_desk.entries content_desk.new_entry content_desk.entry content_desk.preview content_desk.publish
        content_desk.unpublish content_desk.trash content_desk.restore content_desk.imports content_desk.start_import
        content_desk.show_import content_desk.menu content_desk.add_line content_desk.rename_line
        content_desk.move_line content_desk.remove_line
    """,
    "inbox.answer": """
        inbox_desk.conversations inbox_desk.conversation inbox_desk.reply inbox_desk.note inbox_desk.assign
        inbox_desk.close inbox_desk.reopen inbox_desk.mark_spam inbox_desk.send_again
    """,
    "chat.talk": """
        chat_desk.rooms chat_desk.room chat_desk.new_room chat_desk.read chat_desk.invite chat_desk.remove_member
        chat_desk.say chat_desk.line chat_desk.remove_line
    """,
}
NEEDS = {endpoint: needed for needed, endpoints in NEEDED.items() for endpoint in endpoints.split()}

TALKS = {"people.see", "chat.talk"}
HOLDS = {
    "member": TALKS,
    "agent": TALKS | {"inbox.answer"},
    "editor": TALKS | {"content.edit"},
    "admin": TALKS
    | {"inbox.answer", "content.edit", "chat.moderate", "people.manage", "audit.read", "settings.manage"}
    | {"security.manage", "tokens.manage"},
}
HOLDS["owner"] = HOLDS["admin"] | {"roles.manage", "backups.restore"}

# What there is nothing of in a house that was made a moment ago, such as moments to go back to: found there or not, by others.
NOTHING_THERE = {
    *NEEDED["backups.restore"].split(),
    *(
        "second.again",
        "security.new_app",
        "security.new_codes",
        "security.keep_passkey",
        "security.remove",
        "tokens_desk.end_own",
        "tokens_desk.end_anybodys",
        "pictures.picture",
    ),
    *("support.end", "joining.remove"),
}
# Lines and rooms of others, which one sees: why one cannot change them is said.
OF_OTHERS = {"chat_desk.line", "chat_desk.remove_line", "chat_desk.remove_member"}
ASKED = {"settings.example": "?brand=%23225577&accent=%23aa3300"}


def open_at(browser, address, method, token=""):
    return browser.open(address, method=method, data={"csrf_token": token, "person": 1} if method == "POST" else None)


def walked(app, tenancy):
    """Yield endpoint, address and method of every route of the desk, with ids that exist."""
    for rule in rules(app):
        if rule.endpoint in NEEDS and rule.endpoint != "live.stream":
            for address in addresses(app, tenancy, rule)[:1]:
                for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
                    yield rule.endpoint, address + ASKED.get(rule.endpoint, ""), method


def seen(answer):
    """Return all that tells one answer from another, without what differs for every request."""
    text = re.sub(r"nonce-[\w-]+|[0-9a-f]{16,}", "", answer.text)
    return answer.status_code, text, {name for name, _ in answer.headers}


def test_every_route_of_the_desk_says_what_it_needs():
    assert set(NEEDS) == {endpoint for endpoint, kind in ROUTES.items() if kind in (MEMBER, STREAM)}
    assert set(NEEDED) - {EVERYBODY} <= {each.name for each in permissions()}


def test_the_five_roles_hold_what_they_are_said_to_hold():
    assert {role: {each.name for each in permissions() if role in each.roles} for role in ROLES} == HOLDS


def test_the_page_about_roles_tells_every_permission():
    rows = [row.split("|")[1:4] for row in (ROOT / "docs/roles.md").read_text().splitlines() if row.startswith("| `")]
    told = {name.strip(" `"): (label.strip(), set(held.replace(",", "").split())) for name, label, held in rows}
    assert told == {each.name: (each.label, set(each.roles - {"owner"})) for each in permissions()}


@pytest.fixture
def wanda(app, at, alpha, canaries):  # noqa: F811
    """Return a browser of somebody of a role, and the token of their pages."""

    def come(role):
        join(at, alpha, "wanda@example.test", "Wanda Walker", role)
        browser = browser_of(app, alpha, "wanda@example.test")
        make(at, alpha, email="wanda@example.test")
        return browser, filled_in(browser.get("/desk/profile/").text)["csrf_token"]

    return come


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_may_not_see_is_not_found(app, tenancy, alpha, wanda, role):
    browser, token = wanda(role)
    nothing = {inside: seen(browser.get(f"{inside}/nothing/here")) for inside in ("", "/desk")}
    before = digest(tenancy, alpha)
    for endpoint, address, method in walked(app, tenancy):
        if NEEDS[endpoint] not in HOLDS[role] | {EVERYBODY}:
            inside = "/desk" if address.startswith("/desk/") else ""
            assert seen(open_at(browser, address, method, token)) == nothing[inside], f"{method} {address} ({endpoint})"
    assert digest(tenancy, alpha) == before


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_may_see_is_there(app, tenancy, alpha, wanda, role):
    browser, token = wanda(role)
    found = [each for each in walked(app, tenancy) if NEEDS[each[0]] in HOLDS[role] | {EVERYBODY}]
    # Reading first, and last what ends one's own session.
    for endpoint, address, method in sorted(found, key=lambda each: (each[2], each[0] == "profile.end_device")):
        if endpoint not in NOTHING_THERE:
            answer = open_at(browser, address, method, token)
            allowed = (200, 302, 303) if method == "GET" else (200, 201, 204, 302, 303, 409, 422)
            if endpoint in OF_OTHERS:
                allowed += (403,)
            assert answer.status_code in allowed, f"{method} {address} ({endpoint}) {answer.status_code}"


def test_a_visitor_is_asked_to_sign_in_everywhere(app, tenancy, alpha, canaries, client_for):  # noqa: F811
    visitor = client_for(alpha)
    assert visitor.get("/live").status_code == 401
    for endpoint, address, method in walked(app, tenancy):
        if endpoint not in NOTHING_THERE:
            answer = open_at(visitor, address, method)
            asked = (
                "/sign-in?next=" in (answer.location or "") if method == "GET" else "no longer signed in" in answer.text
            )
            assert asked, f"{method} {address} ({endpoint}) {answer.status_code}"
