"""A cookie is good in one house. Both houses have a person 1 with a session 1."""

from __future__ import annotations

import pytest
from flask import session
from sqlalchemy import select

from app.tenancy import db, platform_context
from app.tenancy.ledger import AuditRow
from tests.printed import printed_token


def cookie_of(client, tenant):
    return client.get_cookie("freehold", domain=tenant.primary_host).value


def noted(app):
    with app.app_context(), platform_context(writes=False):
        rows = db.session.scalars(select(AuditRow).where(AuditRow.kind == "foreign_cookie")).all()
        return [(row.tenant_id, row.other_tenant_id) for row in rows]


def test_a_cookie_of_one_house_is_signed_out_at_the_other_and_noted_once(app, alpha, beta, signed_in, client_for):
    stolen, client = cookie_of(signed_in(alpha), alpha), client_for(beta)
    signed_in(beta)
    for _ in range(3):
        client.set_cookie("freehold", stolen, domain=beta.primary_host)
        answer = client.get("/desk/")
        assert answer.status_code == 302
        assert "freehold=;" in answer.headers["Set-Cookie"]
    assert noted(app) == [(beta.id, alpha.id)]


def test_a_changed_cookie_is_ignored_and_not_noted(app, alpha, beta, signed_in, client_for):
    owner, secret, mac = cookie_of(signed_in(alpha), alpha).split(".")
    client = client_for(beta)
    signed_in(beta)
    for value in (
        f"{beta.id}.{secret}.{mac}",
        f"{owner}.{secret}",
        "x",
        "..",
        "é.é.é",
        f"{owner}.{secret}.{mac[:-1]}",
    ):
        client.set_cookie("freehold", value, domain=beta.primary_host)
        answer = client.get("/desk/")
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (302, False), value
    assert noted(app) == []


def test_a_members_cookie_opens_no_console_and_an_operators_no_desk(
    app, alpha, signed_in, client_for, platform, operator
):
    member, manager = (
        cookie_of(signed_in(alpha), alpha),
        operator.get_cookie("freehold", domain="platform.localhost").value,
    )
    platform.set_cookie("freehold", member, domain="platform.localhost")
    assert platform.get("/").location.startswith("/sign-in")
    client = client_for(alpha)
    client.set_cookie("freehold", manager, domain=alpha.primary_host)
    assert client.get("/desk/").location.startswith("/sign-in")
    assert noted(app) == [("", alpha.id), (alpha.id, "platform")]


def test_a_cookie_of_a_suspended_house_opens_nothing(app, alpha, tenancy, signed_in):
    client = signed_in(alpha)
    with app.app_context():
        tenancy.lifecycle.suspend("alpha", "unpaid")
    assert client.get("/desk/").status_code == 503
    assert client.get("/sign-in").status_code == 503


def test_one_outer_application_context_keeps_two_people_apart(app, alpha, beta, signed_in):
    one, other = signed_in(alpha), signed_in(beta)
    with app.app_context():
        for _ in range(2):
            assert "owner@alpha.test" in one.get("/desk/").text
            assert "owner@beta.test" in other.get("/desk/").text


def test_a_visitor_after_a_member_in_one_application_context_is_a_stranger(app, alpha, beta, signed_in, client_for):
    member, stranger = signed_in(alpha), client_for(beta)
    with app.app_context():
        assert member.get("/desk/").status_code == 200
        assert stranger.get("/desk/").status_code == 302


def test_flasks_session_refuses_to_be_used(app):
    with app.test_request_context("/"):
        assert session.get("anything") is None
        with pytest.raises(RuntimeError, match="tenant's file"):
            session["user"] = 1


def test_a_remember_cookie_means_nothing(alpha, client_for):
    client = client_for(alpha)
    client.set_cookie("remember_token", "1|whatever", domain=alpha.primary_host)
    assert client.get("/desk/").status_code == 302


def test_by_https_cookies_are_bound_to_their_host(alpha, client_for, app):
    from dataclasses import replace

    app.config["FREEHOLD"] = replace(app.config["FREEHOLD"], secure=True)
    client = client_for(alpha)
    token = printed_token(client.get("/sign-in").text)
    filled_in = {"csrf_token": token, "email": "owner@alpha.test", "password": "a long enough password"}
    cookie = client.post("/sign-in", data=filled_in).headers["Set-Cookie"]
    assert cookie.startswith("__Host-freehold=")
    assert {"Secure", "Path=/"} <= set(cookie.split("; "))
