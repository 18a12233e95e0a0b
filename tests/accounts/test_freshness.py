"""Privileged acts want somebody who has proved themselves within five minutes, and lose nothing while they ask."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from app.accounts.models import SignInRules
from app.tenancy import utcnow
from tests.accounts.people import acts, join
from tests.accounts.test_second_factor import codes_at, give_password, has_app
from tests.conftest import PASSWORD, _client
from tests.printed import filled_in

__all__ = ["has_app"]
RULES = "/desk/settings/security/"


@pytest.fixture
def later():
    """Let six minutes pass."""
    with time_machine.travel(utcnow() + timedelta(minutes=6)):
        yield


def send(browser, **more):
    return browser.post(RULES, data=filled_in(browser.get(RULES).text, "second_factor", **more))


def rules(at, tenant):
    return at(tenant, lambda: SignInRules.mine().second_factor)


def test_who_has_just_signed_in_is_not_asked(at, alpha, signed_in):
    assert send(signed_in(alpha), second_factor="owners").location == RULES
    assert rules(at, alpha) == "owners"
    assert "sign_in_rules_set" in acts(at, alpha)


def test_six_minutes_later_the_password_is_asked_for_and_what_was_sent_goes_on(at, alpha, signed_in, request):
    browser = signed_in(alpha)
    request.getfixturevalue("later")
    page = send(browser, second_factor="everybody", by_letter="y")
    assert page.status_code == 403
    assert "Is it still you?" in page.text
    assert rules(at, alpha) == ""
    waits = filled_in(page.text, "again-password")
    assert (waits["second_factor"], waits["by_letter"]) == ("everybody", "y")

    wrong = browser.post(RULES, data=waits | {"again-password": "not the password"})
    assert wrong.status_code == 422
    assert "not your password" in wrong.text
    assert filled_in(wrong.text, "again-password")["second_factor"] == "everybody"
    assert rules(at, alpha) == ""

    done = browser.post(RULES, data=filled_in(wrong.text, "again-password") | {"again-password": PASSWORD})
    assert done.location == RULES
    assert rules(at, alpha) == "everybody"
    assert at(alpha, lambda: SignInRules.mine().by_letter)


def test_what_comes_back_in_the_page_is_written_as_text_and_holds_no_secret(alpha, signed_in, request):
    browser = signed_in(alpha)
    request.getfixturevalue("later")
    page = send(browser, second_factor='"><script>alert(1)</script>', my_password="a secret of mine")
    assert "<script>alert" not in page.text
    assert "a secret of mine" not in page.text
    assert page.headers["Cache-Control"] == "private, no-store"


def test_whoever_has_a_factor_gives_it_and_the_password_does_not_do(app, at, alpha, has_app, request):
    browser = _client(app, alpha.primary_host)
    give_password(browser)
    browser.post("/sign-in/second", data=filled_in(browser.get("/sign-in/second").text, "code", code=has_app[0]))
    request.getfixturevalue("later")
    page = send(browser, second_factor="owners")
    assert page.status_code == 403
    waits = filled_in(page.text, "again-code")
    assert browser.post(RULES, data=waits | {"again-password": PASSWORD}).status_code == 422
    assert browser.post(RULES, data=waits | {"again-code": "000000"}).status_code == 422
    assert browser.post(RULES, data=waits | {"again-code": has_app[0]}).status_code == 422, "that one is used up"
    assert rules(at, alpha) == ""
    assert browser.post(RULES, data=waits | {"again-code": codes_at()[1]}).location == RULES
    assert rules(at, alpha) == "owners"
    assert browser.post(RULES, data=waits).location == RULES, "and is good for five minutes"


def test_a_known_browser_comes_in_by_the_password_but_does_nothing_privileged_with_it(app, at, alpha, has_app):
    browser = _client(app, alpha.primary_host)
    give_password(browser)
    browser.post("/sign-in/second", data=filled_in(browser.get("/sign-in/second").text, "code", code=has_app[0]))
    browser.post("/sign-out", data=filled_in(browser.get("/desk/").text))
    assert give_password(browser).location == "/desk/"
    assert send(browser, second_factor="owners").status_code == 403


def test_a_page_leads_to_the_question_and_back(alpha, signed_in, request):
    browser = signed_in(alpha)
    request.getfixturevalue("later")
    answer = browser.get("/desk/profile/security/passkeys/new?x=1")
    assert answer.location == "/sign-in/again?next=/desk/profile/security/passkeys/new%3Fx%3D1"
    page = browser.get(answer.location).text
    given = filled_in(page, "again-password") | {"again-password": PASSWORD}
    assert browser.post("/sign-in/again", data=given).location == "/desk/profile/security/passkeys/new?x=1"
    assert browser.get("/desk/profile/security/passkeys/new").status_code == 200


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_it_leads_nowhere_else(alpha, signed_in, target):
    browser = signed_in(alpha)
    page = browser.get("/sign-in/again", query_string={"next": target}).text
    given = filled_in(page, "again-password") | {"again-password": PASSWORD}
    assert browser.post("/sign-in/again", data=given).location == "/"


def test_the_password_may_be_tried_ten_times(alpha, signed_in, request):
    browser = signed_in(alpha)
    page = filled_in(browser.get("/sign-in/again").text, "again-password")
    tries = [browser.post("/sign-in/again", data=page | {"again-password": "wrong"}).status_code for _ in range(11)]
    assert tries == [422] * 10 + [429]


def test_of_twenty_proofs_with_one_code_at_once_exactly_one_is_taken(app, at, alpha, has_app, monkeypatch):
    from app.accounts import admission
    from app.facilities.rates import Rate
    from tests.accounts.test_second_factor import at_once

    monkeypatch.setattr(admission, "CODES", Rate("code", 1000, 600, "many"))
    browsers = []
    for number in range(5):
        browser = _client(app, alpha.primary_host)
        give_password(browser)
        browser.post(
            "/sign-in/second", data=filled_in(browser.get("/sign-in/second").text, "code", code=has_app[number])
        )
        browsers.append(browser)
    code = codes_at()[1]
    forms = [filled_in(b.get("/sign-in/again").text, "again-code") | {"again-code": code} for b in browsers]
    works = [lambda b=b, f=f: b.post("/sign-in/again", data=f) for b, f in zip(browsers * 4, forms * 4, strict=True)]
    statuses = [answer.status_code for answer in at_once(works)]
    assert statuses.count(303) == 1, statuses


def test_visitors_are_asked_to_sign_in_not_to_prove_themselves(alpha, client_for):
    assert client_for(alpha).get("/sign-in/again").location.startswith("/sign-in?next=")
    assert client_for(alpha).post("/sign-in/again").status_code == 403


def test_operators_are_asked_too(operator, request):
    page = operator.get("/sign-in/again")
    assert "again-code" in page.text
    assert "again-password" not in page.text


AT_THE_DESK = (
    "/desk/people/invitations/",
    "/desk/people/invitations/1/letter",
    "/desk/people/invitations/1/withdrawal",
    "/desk/people/2/role",
    "/desk/people/2/deactivation",
    "/desk/people/2/reactivation",
    "/desk/people/2/removal",
    "/desk/people/roles/new",
    "/desk/people/roles/1",
    "/desk/people/roles/1/removal",
    "/desk/settings/audit/rows.csv",
    "/desk/settings/backups/moments/1/preview",
    "/desk/settings/backups/moments/1/replacement",
    "/desk/settings/backups/preview/open",
    "/desk/settings/security/",
    "/desk/settings/visits",
    "/desk/settings/joining",
    "/desk/settings/tokens/",
    "/desk/profile/tokens/",
    "/desk/profile/security/app/attempt",
    "/desk/profile/security/passkeys/new",
    "/desk/profile/security/passkeys/options",
    "/desk/profile/security/codes",
    "/desk/profile/security/factors/1/removal",
)
AT_THE_CONSOLE = (
    "/tenants/alpha/suspension",
    "/tenants/alpha/suspension/end",
    "/tenants/alpha/caps",
    "/tenants/alpha/caps/users/end",
    "/tenants/alpha/archive",
    "/tenants/alpha/domains/",
    "/tenants/alpha/domains/alpha.localhost/primary",
    "/tenants/alpha/domains/alpha.localhost/removal",
    "/tenants/alpha/visits",
    "/tenants/alpha/backups/moments/1/preview",
    "/tenants/alpha/backups/moments/1/replacement",
    "/tenants/alpha/backups/preview/open",
    "/settings/",
    "/operators/",
    "/operators/1/role",
    "/operators/1/removal",
    "/you/security/app/attempt",
    "/you/security/passkeys/new",
    "/you/security/passkeys/options",
    "/you/security/codes",
    "/you/security/factors/1/removal",
)


def asks(browser, path):
    """Tell whether an act is asked to be proved for: a form with a page, a page that is to be read with a way to one."""
    if path.endswith((".csv", "/open")):
        return "/sign-in/again?next=" in (browser.get(path).location or "")
    token = filled_in(browser.get("/sign-in/again").text)["csrf_token"]
    answer = browser.post(path, data={"csrf_token": token, "typed": "kept"})
    return answer.status_code == 403 and filled_in(answer.text, "typed")["typed"] == "kept"


def test_every_privileged_act_at_the_desk_wants_a_fresh_proof(at, alpha, signed_in, request):
    join(at, alpha)
    owner = signed_in(alpha)
    request.getfixturevalue("later")
    assert [path for path in AT_THE_DESK if not asks(owner, path)] == []


def test_every_privileged_act_at_the_console_wants_a_fresh_proof(alpha, operator, request):
    request.getfixturevalue("later")
    assert [path for path in AT_THE_CONSOLE if not asks(operator, path)] == []


def test_a_preview_which_is_thrown_away_asks_nobody(app, alpha):
    from dataclasses import replace

    from app.accounts import fresh_required
    from app.tenancy import tenant_context

    with app.test_request_context("/", method="POST"), tenant_context(replace(alpha, preview_of="another")):
        assert fresh_required(lambda: "done")() == "done"
