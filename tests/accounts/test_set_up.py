"""The one-time link with which an owner first comes in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.accounts import SetUpLink, User, create_owner
from app.tenancy import db, tenant_context, utcnow
from app.tenancy.errors import QuotaExceeded, Refused
from tests.printed import printed_token


@pytest.fixture
def link(app, alpha):
    with app.app_context(), tenant_context(alpha):
        token = create_owner("Nora@Alpha.test", "Nora")
        db.session.commit()
    return f"/set-up/{token}"


def test_the_link_lets_its_holder_choose_a_password_once(alpha, client_for, link):
    client = client_for(alpha)
    page = client.get(link).text
    assert "nora@alpha.test" in page
    chosen = {"csrf_token": printed_token(page), "password": "four unrelated words", "name": "Nora Now"}
    assert client.post(link, data=chosen).location == "/desk/"
    welcome = client.get("/desk/").text
    assert "Your password is set" in welcome
    assert "Nora Now" in welcome
    assert "Your password is set" not in client.get("/desk/").text
    assert client_for(alpha).get(link).status_code == 404
    assert client_for(alpha).post(link, data=chosen).status_code == 404


def test_the_link_of_one_house_is_unknown_at_the_other(beta, client_for, link):
    assert client_for(beta).get(link).status_code == 404


def test_a_link_a_week_old_is_of_no_use(app, alpha, client_for, link):
    with app.app_context(), tenant_context(alpha):
        db.session.scalars(select(SetUpLink)).one().expires_at = utcnow() - timedelta(seconds=1)
        db.session.commit()
    assert client_for(alpha).get(link).status_code == 404


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaaaaaa", "", "x" * 300])
def test_a_weak_password_is_refused_and_the_link_stays_good(alpha, client_for, link, password):
    client = client_for(alpha)
    token = printed_token(client.get(link).text)
    assert client.post(link, data={"csrf_token": token, "password": password}).status_code == 422
    assert client.get(link).status_code == 200


def test_the_token_itself_is_stored_nowhere(app, alpha, link):
    with app.app_context(), tenant_context(alpha, writes=False):
        assert db.session.scalars(select(SetUpLink)).one().token_hash not in link


def test_an_address_joins_once_however_it_is_written(app, alpha):
    with app.app_context(), tenant_context(alpha):
        with pytest.raises(Refused, match="here already"):
            create_owner("OWNER@alpha.test")
        with pytest.raises(Refused, match="not an e-mail address"):
            create_owner("not an address")


def test_a_full_plan_takes_no_further_person(app, alpha):
    from dataclasses import replace

    with app.app_context(), tenant_context(replace(alpha, caps={"users": 1})):
        with pytest.raises(QuotaExceeded):
            User.join("second@alpha.test", "Second")


def test_a_tenant_made_by_command_prints_its_owners_link(runner, tenancy, client_for):
    made = runner("tenants", "create", "gamma", "--name", "Gamma", "--owner", "greta@gamma.test")
    assert made.exit_code == 0, made.output
    path = "/set-up/" + made.output.split("/set-up/")[1].strip()
    assert "greta@gamma.test" in client_for(tenancy.registry.by_slug("gamma")).get(path).text


def test_users_are_listed_by_command(runner, alpha, beta):
    import json

    people = json.loads(runner("users", "list", "alpha", "--json").output)
    assert [(person["email"], person["role"], person["set_up"]) for person in people] == [
        ("owner@alpha.test", "owner", True)
    ]
    assert runner("users", "list", "nobody").exit_code == 2
