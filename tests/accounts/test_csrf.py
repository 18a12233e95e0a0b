"""No other site acts in a visitor's name."""

from __future__ import annotations

import time

import pytest
import time_machine
from sqlalchemy import func, select

from app.accounts import Session
from app.tenancy import db, tenant_context
from tests.printed import printed_token

FILLED_IN = {"email": "owner@alpha.test", "password": "a long enough password"}


def sessions_in(app, tenant):
    with app.app_context(), tenant_context(tenant, writes=False):
        return db.session.scalar(select(func.count()).select_from(Session))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://beta.localhost"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_a_form_sent_from_another_site_is_refused(app, alpha, signed_in, headers):
    client = signed_in(alpha)
    token = printed_token(client.get("/desk/").text)
    answer = client.post("/sign-out", data={"csrf_token": token}, headers=headers)
    assert answer.status_code == 403
    assert sessions_in(app, alpha) == 1


def test_a_form_of_this_host_passes(alpha, signed_in):
    client = signed_in(alpha)
    token = printed_token(client.get("/desk/").text)
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{alpha.primary_host}"}
    assert client.post("/sign-out", data={"csrf_token": token}, headers=headers).status_code in (302, 303)


def test_a_form_without_the_sessions_token_is_refused_and_its_text_kept(app, alpha, signed_in):
    client = signed_in(alpha)
    typed = {"csrf_token": "stale", "body": "Two hours of <writing>", "password": "hush hush hush"}
    answer = client.post("/sign-out", data=typed)
    assert answer.status_code == 403
    assert "Two hours of &lt;writing&gt;" in answer.text
    assert "hush" not in answer.text
    assert sessions_in(app, alpha) == 1


def test_the_token_of_one_house_is_no_good_at_the_other(app, alpha, beta, signed_in):
    token = printed_token(signed_in(beta).get("/desk/").text)
    assert signed_in(alpha).post("/sign-out", data={"csrf_token": token}).status_code == 403


def test_somebody_signed_out_while_writing_gets_the_text_back(alpha, client_for):
    answer = client_for(alpha).post("/desk/settings/", data={"tagline": "Rowing since 1911"})
    assert answer.status_code == 403
    assert "Rowing since 1911" in answer.text


def test_a_public_form_needs_the_time_of_its_rendering(alpha, beta, client_for):
    client = client_for(alpha)
    elsewhere = printed_token(client_for(beta).get("/sign-in").text)
    for token in ("", "x", f"{int(time.time())}.0", elsewhere):
        assert client.post("/sign-in", data={**FILLED_IN, "csrf_token": token}).status_code == 422, token
    token = printed_token(client.get("/sign-in").text)
    assert client.post("/sign-in", data={**FILLED_IN, "csrf_token": token}).status_code == 303


def test_a_public_form_a_day_old_is_asked_for_again(alpha, client_for):
    client = client_for(alpha)
    with time_machine.travel(time.time() - 90_000, tick=True):
        token = printed_token(client.get("/sign-in").text)
    answer = client.post("/sign-in", data={**FILLED_IN, "csrf_token": token})
    assert answer.status_code == 422
    assert "once more" in answer.text
    assert "owner@alpha.test" in answer.text


def test_the_sign_in_page_sets_no_cookie(alpha, client_for):
    assert "Set-Cookie" not in client_for(alpha).get("/sign-in").headers


def test_a_referrer_that_is_no_address_leads_back_to_the_sign_in_page(alpha, signed_in):
    refused = signed_in(alpha).post("/sign-out", data={"csrf_token": "old"}, headers={"Referer": "http://["})
    assert refused.status_code == 403
    assert 'href="/sign-in"' in refused.text
