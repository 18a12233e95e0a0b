"""Tokens are made on the desk, shown once, kept as a hash, limited by the plan, and ended by whoever may."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import timedelta
from html import unescape

import pytest
import time_machine
from sqlalchemy import select

from app.accounts import User
from app.accounts.cookies import fingerprint
from app.api import Token
from app.api.jobs import sweep
from app.facilities.audit import Audit
from app.tenancy import db, utcnow
from tests.accounts.people import browser_of, join, post
from tests.api.programs import ask, make
from tests.printed import filled_in

OWN, EVERYBODYS = "/desk/profile/tokens/", "/desk/settings/tokens/"
KEY = re.compile(r"fh_[0-9a-f]{32}_[0-9a-f]{16}_[0-9a-f]{48}_[0-9a-f]{32}")


def make_on(browser, page=OWN, **changes):
    given = {"name": "The till", "scopes": ["members.read"], "days": "30"} | changes
    return browser.post(page, data=filled_in(browser.get(page).text, "days") | given)


def rows(at, tenant):
    return at(tenant, lambda: list(db.session.scalars(select(Token).order_by(Token.id))))


def test_a_person_makes_a_token_and_sees_it_once(at, alpha, signed_in, client_for):
    owner = signed_in(alpha)
    shown = make_on(owner)
    assert shown.status_code == 201
    assert shown.headers["Cache-Control"] == "private, no-store"
    key = KEY.search(shown.text).group()
    assert ask(client_for(alpha), key).status_code == 200
    assert "The till" in owner.get(OWN).text
    for page in (shown.text, owner.get(OWN).text, owner.get(EVERYBODYS).text):
        command = 'curl -H "Authorization: Bearer $TOKEN" http://alpha.localhost/api/v1/me'
        assert command in unescape(page)
    assert not KEY.search(owner.get(OWN).text + owner.get(EVERYBODYS).text)


def test_only_a_hash_is_stored_and_nothing_is_told_of_the_secret(
    app, at, tenancy, alpha, signed_in, client_for, capsys
):
    key = KEY.search(make_on(signed_in(alpha)).text).group()
    ask(client_for(alpha), key).close()
    ask(client_for(alpha), key[:-1] + ("0" if key[-1] != "0" else "1")).close()
    secret = key.split("_")[3]
    with closing(tenancy.placements.open_file(alpha.id)) as file:
        kept = [file.execute(f"SELECT * FROM {table}").fetchall() for table in ("token", "audit", "event", "due")]
    assert fingerprint(secret) in repr(kept)
    assert secret not in repr(kept)
    captured = capsys.readouterr()
    assert "/api/v1/members" in captured.err
    assert secret not in captured.err + captured.out


def test_a_token_in_the_address_is_not_looked_at(at, alpha, client_for):
    key = make(at, alpha)
    for address in (f"/api/v1/members?access_token={key}", f"/api/v1/members?token={key}"):
        assert client_for(alpha).get(address).status_code == 401


def test_a_service_has_a_token_of_nobody(app, at, alpha, signed_in, client_for):
    join(at, alpha, "ada@example.test", "Ada", "admin")
    ada = browser_of(app, alpha, "ada@example.test")
    key = KEY.search(make_on(ada, EVERYBODYS, scopes=["members.read", "members.details"]).text).group()
    at(alpha, lambda: User.by_email("ada@example.test").remove(by=User.by_email("owner@alpha.test")))
    me = ask(client_for(alpha), key, "/api/v1/me").json
    assert (me["member"], me["scopes"]) == (None, ["members.details", "members.read"])
    assert ask(client_for(alpha), key).json["items"][0]["details"]["email"] == "owner@alpha.test"


def test_nobody_gives_a_token_more_than_they_may_do(app, at, alpha, client_for):
    join(at, alpha)
    mia = browser_of(app, alpha, "mia@example.test")
    page = mia.get(OWN).text
    assert "members.read" in page
    assert "members.details" not in page
    assert make_on(mia, scopes=["members.details"]).status_code == 422
    assert rows(at, alpha) == []


def test_the_tokens_of_services_are_for_those_who_manage_them(app, at, alpha, client_for):
    join(at, alpha)
    mia = browser_of(app, alpha, "mia@example.test")
    key = make(at, alpha)
    assert mia.get(EVERYBODYS).status_code == 404
    assert post(mia, EVERYBODYS, name="x", scopes="members.read", days="7").status_code == 404
    assert post(mia, f"{EVERYBODYS}1/end").status_code == 404
    assert ask(client_for(alpha), key).status_code == 200


def test_nobody_ends_or_sees_the_token_of_another_but_who_manages_them(app, at, alpha, signed_in, client_for):
    join(at, alpha)
    mia, owner = browser_of(app, alpha, "mia@example.test"), signed_in(alpha)
    owners, mias = make(at, alpha), make(at, alpha, email="mia@example.test")
    assert mias.split("_")[2] in mia.get(OWN).text
    assert owners.split("_")[2] not in mia.get(OWN).text
    assert post(mia, f"{OWN}1/end").status_code == 404
    assert post(owner, f"{OWN}2/end").status_code == 404
    assert post(owner, f"{EVERYBODYS}2/end").status_code == 303
    assert ask(client_for(alpha), mias).status_code == 401
    assert ask(client_for(alpha), owners).status_code == 200


def test_one_ends_ones_own_token_at_once(at, alpha, signed_in, client_for):
    owner = signed_in(alpha)
    key = KEY.search(make_on(owner).text).group()
    assert post(owner, f"{OWN}1/end").status_code == 303
    assert ask(client_for(alpha), key).status_code == 401
    assert "Ended" in owner.get(OWN).text


@pytest.mark.parametrize("page", [OWN, EVERYBODYS])
def test_whoever_makes_a_token_has_proved_themselves_lately(at, alpha, signed_in, page):
    owner = signed_in(alpha)
    with time_machine.travel(utcnow() + timedelta(minutes=6)):
        asked = make_on(owner, page)
        assert asked.status_code == 403
        assert "password" in asked.text.lower()
        assert rows(at, alpha) == []


def test_a_token_without_a_name_a_scope_or_an_end_is_not_made(at, alpha, signed_in):
    owner = signed_in(alpha)
    for wrong in ({"name": " "}, {"scopes": []}, {"scopes": ["everything"]}, {"days": "4000"}):
        answer = make_on(owner, **wrong)
        assert answer.status_code == 422, wrong
        assert 'role="alert"' in answer.text
    assert rows(at, alpha) == []


def test_a_full_plan_makes_no_token_and_says_so(at, alpha, tenancy, signed_in):
    with tenancy.engines["registry"].begin() as registry:
        registry.exec_driver_sql("INSERT INTO tier_cap (tier, meter, cap) VALUES ('standard', 'api_keys', 1)")
    owner = signed_in(alpha)
    assert make_on(owner).status_code == 201
    refused = make_on(owner)
    assert refused.status_code == 403
    assert "plan allows 1 tokens" in refused.text
    assert post(owner, f"{OWN}1/end").status_code == 303
    assert make_on(owner).status_code == 201


def test_a_token_runs_out(at, alpha, client_for):
    key = make(at, alpha, lifetime=timedelta(days=7))
    with time_machine.travel(utcnow() + timedelta(days=7, seconds=1), tick=False):
        assert ask(client_for(alpha), key).status_code == 401
        assert at(alpha, Token.count_open) == 0


def test_the_last_use_is_known_to_five_minutes_though_reading_writes_nothing_else(at, alpha, client_for):
    key = make(at, alpha)
    assert rows(at, alpha)[0].last_used_at is None
    start = utcnow()
    for minutes, known in ((0, 0), (4, 0), (6, 6)):
        with time_machine.travel(start + timedelta(minutes=minutes), tick=False):
            assert ask(client_for(alpha), key).status_code == 200
        assert rows(at, alpha)[0].last_used_at == start + timedelta(minutes=known)


def test_making_and_ending_are_told_in_the_audit(at, alpha, signed_in):
    owner = signed_in(alpha)
    make_on(owner)
    post(owner, f"{OWN}1/end")
    acts = select(Audit).where(Audit.kind.in_(("token_made", "token_ended"))).order_by(Audit.id)
    made, ended = at(alpha, lambda: list(db.session.scalars(acts)))
    assert (made.kind, made.actor, made.subject) == ("token_made", "owner@alpha.test", "The till")
    assert json.loads(made.detail)["scopes"] == "members.read"
    assert (ended.kind, ended.subject) == ("token_ended", "The till")


def test_what_is_long_over_is_forgotten(at, alpha):
    make(at, alpha, lifetime=timedelta(days=7))
    make(at, alpha, lifetime=timedelta(days=365))
    with time_machine.travel(utcnow() + timedelta(days=38)):
        at(alpha, sweep)
        assert [row.id for row in rows(at, alpha)] == [2]
