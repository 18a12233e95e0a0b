"""Coming in and going out, at the front door of two houses whose people have the same ids."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from sqlalchemy import func, select

from app.accounts import Session, User, hash_password
from app.facilities import settings
from app.tenancy import db, platform_context, tenant_context, utcnow
from tests.conftest import _client, sign_in
from tests.printed import filled_in, printed_token

PASSWORD = "a long enough password"


def try_to_sign_in(client, email, password=PASSWORD, **more):
    token = printed_token(client.get("/sign-in").text)
    return client.post("/sign-in", data={"csrf_token": token, "email": email, "password": password, **more})


def sessions_in(app, tenant):
    with app.app_context(), tenant_context(tenant, writes=False):
        return db.session.scalar(select(func.count()).select_from(Session))


def test_an_owner_signs_in_and_comes_to_the_desk(alpha, client_for):
    client = client_for(alpha)
    answer = try_to_sign_in(client, "owner@alpha.test")
    assert (answer.status_code, answer.location) == (303, "/desk/")
    assert "Olive" in client.get("/desk/").text


def test_the_address_may_be_written_in_capitals(alpha, client_for):
    assert try_to_sign_in(client_for(alpha), " Owner@ALPHA.test ").status_code == 303


def test_unknown_address_and_wrong_password_get_the_same_answer(alpha, client_for):
    client = client_for(alpha)
    unknown = try_to_sign_in(client, "nobody@alpha.test")
    wrong = try_to_sign_in(client, "owner@alpha.test", "not the password")
    assert unknown.status_code == wrong.status_code == 422

    def without_token(answer, email):
        return answer.text.replace(printed_token(answer.text), "").replace(email, "")

    assert without_token(unknown, "nobody@alpha.test") == without_token(wrong, "owner@alpha.test")


def test_an_unknown_address_costs_a_hash_too(alpha, client_for, monkeypatch):
    from app.accounts import passwords

    seen, real = [], passwords.matches
    monkeypatch.setattr(passwords, "matches", lambda stored, given: (seen.append(stored), real(stored, given))[1])
    try_to_sign_in(client_for(alpha), "nobody@alpha.test")
    assert seen == [None]


def test_nothing_holds_the_write_lock_while_a_password_is_hashed(app, alpha, client_for, monkeypatch):
    from app.accounts import passwords

    transactions, real = [], passwords.matches

    def looking(stored, given):
        transactions.append(db.session().in_transaction())
        return real(stored, given)

    monkeypatch.setattr(passwords, "matches", looking)
    assert try_to_sign_in(client_for(alpha), "owner@alpha.test").status_code == 303
    assert transactions == [False]


def test_a_person_of_one_house_is_unknown_at_the_other(alpha, beta, client_for):
    assert try_to_sign_in(client_for(beta), "owner@alpha.test").status_code == 422


def test_only_the_hash_of_the_cookie_is_stored(app, alpha, client_for):
    client = client_for(alpha)
    answer = try_to_sign_in(client, "owner@alpha.test")
    owner, secret, _ = answer.headers["Set-Cookie"].split("=", 1)[1].split(";")[0].split(".")
    assert owner == alpha.id
    with app.app_context(), tenant_context(alpha, writes=False):
        row = db.session.scalars(select(Session)).one()
        assert secret not in (row.token_hash, row.csrf)


def test_the_cookie_is_kept_from_scripts_and_other_sites(alpha, client_for):
    cookie = try_to_sign_in(client_for(alpha), "owner@alpha.test").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_signing_out_ends_the_session_for_good(app, alpha, client_for):
    client = client_for(alpha)
    try_to_sign_in(client, "owner@alpha.test")
    stolen = client.get_cookie("freehold", domain=alpha.primary_host).value
    token = printed_token(client.get("/desk/").text)
    assert client.post("/sign-out", data={"csrf_token": token}).status_code in (302, 303)
    assert sessions_in(app, alpha) == 0
    client.set_cookie("freehold", stolen, domain=alpha.primary_host)
    assert client.get("/desk/").status_code == 302


def test_visitors_of_the_desk_are_brought_back_after_signing_in(alpha, client_for):
    client = client_for(alpha)
    asked = client.get("/desk/?page=2")
    assert asked.location == "/sign-in?next=/desk/%3Fpage%3D2"
    assert 'value="/desk/?page=2"' in client.get(asked.location).text
    assert try_to_sign_in(client, "owner@alpha.test", next="/desk/?page=2").location == "/desk/?page=2"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil", "/\t/evil", "evil"]
)
def test_nobody_is_sent_to_another_site(alpha, client_for, target):
    client = client_for(alpha)
    assert try_to_sign_in(client, "owner@alpha.test", next=target).location == "/desk/"
    assert client.get("/sign-in", query_string={"next": target}).location == "/desk/"


def test_the_eleventh_try_has_to_wait(alpha, beta, client_for):
    client = client_for(alpha)
    answers = [try_to_sign_in(client, "owner@alpha.test", "wrong password").status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]
    waiting = try_to_sign_in(client, "OWNER@alpha.test")
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["Retry-After"]) <= 601
    assert try_to_sign_in(client_for(beta), "owner@alpha.test").status_code == 422


def test_a_closed_person_is_out_at_once(app, alpha, signed_in):
    client = signed_in(alpha)
    with app.app_context(), tenant_context(alpha):
        db.session.scalars(select(User)).one().state = "closed"
        db.session.commit()
    assert client.get("/desk/").status_code == 302
    assert try_to_sign_in(client, "owner@alpha.test").status_code == 422


def test_a_session_lasts_as_long_as_the_platform_says(app, alpha, client_for):
    with app.app_context(), platform_context():
        settings.put({"session_hours": "5"})
        db.session.commit()
    answer = try_to_sign_in(client_for(alpha), "owner@alpha.test")
    assert "Max-Age=18000" in answer.headers["Set-Cookie"]
    with app.app_context(), tenant_context(alpha, writes=False):
        left = db.session.scalars(select(Session)).one().expires_at - utcnow()
        assert timedelta(hours=4, minutes=59) < left <= timedelta(hours=5)


def test_a_session_that_has_run_out_opens_nothing(app, alpha, signed_in):
    client = signed_in(alpha)
    with app.app_context(), tenant_context(alpha):
        db.session.scalars(select(Session)).one().expires_at = utcnow()
        db.session.commit()
    assert client.get("/desk/").status_code == 302


def test_a_new_password_ends_the_sessions_of_the_old_one(app, alpha, signed_in):
    client = signed_in(alpha)
    hashed = hash_password("quite another password")
    with app.app_context(), tenant_context(alpha):
        db.session.scalars(select(User)).one().set_password(hashed)
        db.session.commit()
    assert client.get("/desk/").status_code == 302
    assert try_to_sign_in(client, "owner@alpha.test").status_code == 422
    assert try_to_sign_in(client, "owner@alpha.test", "quite another password").status_code == 303


def test_a_visit_is_noted_every_five_minutes_by_reading_as_by_writing(app, alpha, signed_in):
    client = signed_in(alpha)

    def seen(ago=None):
        with app.app_context(), tenant_context(alpha):
            session = db.session.scalars(select(Session)).one()
            if ago:
                session.last_seen_at = utcnow() - timedelta(minutes=ago)
                db.session.commit()
            return session.last_seen_at

    token = printed_token(client.get("/desk/settings/").text)
    before = seen(ago=4)
    page = client.get("/desk/settings/").text
    given = filled_in(page, "tagline", csrf_token=token)
    assert client.post("/desk/settings/", data=given).status_code == 303
    assert seen() == before
    for visit in (lambda: client.get("/desk/settings/"), lambda: client.post("/desk/settings/", data=given)):
        before = seen(ago=6)
        visit()
        assert seen() > before


def test_a_session_ends_without_a_sign_of_life_and_at_the_latest_when_it_is_to(app, alpha, signed_in, at):
    at(alpha, lambda: User.join("mia@example.test", "Mia", hashed=hash_password(PASSWORD)))
    member = _client(app, alpha.primary_host)
    sign_in(member, "mia@example.test")
    owner, began = signed_in(alpha), utcnow()

    def days_later(browser, days):
        with time_machine.travel(began + timedelta(days=days), tick=True):
            return browser.get("/desk/profile/").status_code

    assert [days_later(owner, days) for days in (0.9, 1.8, 2.7)] == [200] * 3
    assert days_later(owner, 3.8) == 302, "more than a day without a sign of life"
    assert [days_later(member, days) for days in (13, 26, 29.9)] == [200] * 3
    assert days_later(member, 30.1) == 302, "however busy"


def test_a_plan_has_hours_of_its_own_and_the_shorter_count(app, alpha, client_for):
    with app.app_context(), platform_context():
        settings.put({"session_hours:standard": "6", "session_hours:premium": "5", "manager_session_hours": "7"})
        db.session.commit()
    assert "Max-Age=21600" in try_to_sign_in(client_for(alpha), "owner@alpha.test").headers["Set-Cookie"]
    with app.app_context(), platform_context():
        settings.put({"manager_session_hours": "4"})
        db.session.commit()
    assert "Max-Age=14400" in try_to_sign_in(client_for(alpha), "owner@alpha.test").headers["Set-Cookie"]


def test_a_sign_in_is_fresh_for_five_minutes_and_again_when_its_person_proves_themselves(alpha, signed_in, at):
    signed_in(alpha)

    def is_fresh(act=lambda session: None):
        def ask():
            session = db.session.scalars(select(Session)).one()
            act(session)
            return session.is_fresh

        return at(alpha, ask)

    assert is_fresh()
    with time_machine.travel(utcnow() + timedelta(minutes=5, seconds=1), tick=True):
        assert not is_fresh()
        assert is_fresh(Session.prove)


def test_what_members_see_is_kept_out_of_caches(alpha, client_for, signed_in):
    client = signed_in(alpha)
    for path in ("/desk/", "/", "/sign-in"):
        assert client.get(path).headers["Cache-Control"] == "private, no-store", path
    assert client_for(alpha).get("/sign-in").headers["Cache-Control"] == "private, no-store"
    with client.get("/static/base.css") as file:
        assert "no-store" not in file.headers.get("Cache-Control", "")


def test_a_json_body_is_no_form(alpha, client_for):
    answer = client_for(alpha).post("/sign-in", json={"csrf_token": 5, "email": [], "password": {}})
    assert answer.status_code == 422
