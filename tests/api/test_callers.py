"""A token opens its own organisation's door as long as it, its person and its house are what they were; no cookie does."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.accounts import Role, User
from app.api import Token
from app.api.keys import Key
from app.facilities.audit import Audit
from app.tenancy import db
from tests.accounts.people import join
from tests.api.programs import MEMBERS, ask, code, exchanged, make, met, told


@pytest.fixture
def mia(at, alpha):
    """Add a person who may read who is here, and return their token."""
    join(at, alpha)
    return make(at, alpha, email="mia@example.test")


@pytest.fixture
def on_mia(at, alpha):
    """Have the owner do something to Mia."""

    def do(act):
        at(alpha, lambda: act(User.by_email("mia@example.test"), User.by_email("owner@alpha.test")))

    return do


# Who is let in


def test_a_token_tells_whose_it_is(at, alpha, mia, client_for):
    me = ask(client_for(alpha), mia, "/api/v1/me").json
    assert me["organisation"] == {"id": alpha.id, "name": alpha.name}
    assert (me["token"], me["scopes"], me["member"]["name"]) == ("A till", ["members.read"], "Mia Member")


def test_a_scope_that_the_token_has_not_is_named(at, alpha, client_for):
    answer = ask(client_for(alpha), make(at, alpha, scopes=["members.details"]))
    assert (answer.status_code, code(answer)) == (403, "scope_missing")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="members.read"'


def test_details_are_for_those_who_have_the_scope_and_may_still_look_after_people(at, alpha, client_for, on_mia):
    join(at, alpha, role="admin")
    key = make(at, alpha, email="mia@example.test", scopes=["members.read", "members.details"])
    poor = make(at, alpha, email="mia@example.test")
    assert ask(client_for(alpha), key).json["items"][0]["details"]["email"] == "owner@alpha.test"
    assert ask(client_for(alpha), poor).json["items"][0]["details"] is None
    on_mia(lambda mia, owner: mia.give_role("member", by=owner))
    assert ask(client_for(alpha), key).json["items"][0]["details"] is None


def test_whom_the_program_may_not_see_is_not_found(at, alpha, mia, client_for):
    owner = make(at, alpha, scopes=["members.read", "members.details"])
    closed = join(at, alpha, "zoe@example.test", "Zoe")
    at(alpha, lambda: db.session.get(User, closed).deactivate(by=User.by_email("owner@alpha.test")))
    client = client_for(alpha)
    assert ask(client, mia, f"{MEMBERS}/{closed}").status_code == 404
    assert [each["name"] for each in ask(client, mia).json["items"]] == ["Olive of Alpha Allotments", "Mia Member"]
    assert ask(client, owner, f"{MEMBERS}/{closed}").json["details"]["state"] == "closed"
    at(alpha, lambda: db.session.get(User, closed).remove(by=User.by_email("owner@alpha.test")))
    assert code(ask(client, owner, f"{MEMBERS}/{closed}")) == "not_found"
    assert code(ask(client, owner, f"{MEMBERS}/999")) == "not_found"


# Who is not


def test_without_a_token_the_answer_says_that_one_is_needed(alpha, client_for):
    for header in (None, "", "Bearer", "Bearer ", "Basic b3duZXI6eA==", "fh_1", "Bearer x y"):
        answer = client_for(alpha).get(MEMBERS, headers={} if header is None else {"Authorization": header})
        assert answer.status_code == 401, header
        assert code(answer) in ("token_needed", "token_refused")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_cookie_opens_nothing(alpha, signed_in):
    owner = signed_in(alpha)
    assert owner.get("/desk/profile/").status_code == 200
    for method, path in (("GET", MEMBERS), ("GET", "/api/v1/me"), ("POST", "/api/v1/token")):
        assert code(owner.open(path, method=method)) == "token_needed"


def test_what_is_no_token_is_refused_and_noted_once_a_minute(app, at, alpha, client_for):
    client = client_for(alpha)
    for text in ("x", "fh_", "é", "é.é.é", "a.b.c", "..", "x" * 4000):
        answer = ask(client, text)
        assert (answer.status_code, code(answer)) == (401, "token_refused"), text[:20]
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert told(at, alpha) == ["token_forged"]
    assert met(app) == [("token_forged", alpha.id, "")]


def test_a_changed_secret_handle_or_tenant_is_refused_before_a_file_is_opened(app, at, alpha, beta, client_for, mia):
    _, tenant, handle, secret, mac = mia.split("_")
    for parts in ((tenant, handle, "0" * 48, mac), (tenant, "0" * 16, secret, mac), (beta.id, handle, secret, mac)):
        assert code(ask(client_for(alpha), "_".join(("fh", *parts)))) == "token_refused"
    assert told(at, alpha) == ["token_forged"]
    assert told(at, beta) == []


def test_the_right_handle_with_another_secret_of_ours_is_refused(app, at, alpha, mia, client_for):
    with app.app_context():
        other = str(Key(alpha.id, mia.split("_")[2], "0" * 48))
    assert code(ask(client_for(alpha), other)) == "token_refused"


def test_a_token_of_alpha_at_beta_is_refused_and_told_on_both_sides(app, at, alpha, beta, client_for, mia):
    make(at, beta)  # the same number there
    answer = ask(client_for(beta), mia)
    assert (answer.status_code, code(answer)) == (403, "tenant_mismatch")
    assert alpha.name not in answer.text
    assert alpha.id not in answer.text
    assert (told(at, beta), told(at, alpha)) == (["foreign_token"], ["token_abroad"])
    assert met(app) == [("foreign_token", beta.id, alpha.id)]
    handle = mia.split("_")[2]
    assert handle in at(alpha, lambda: db.session.scalar(select(Audit.detail).where(Audit.kind == "token_abroad")))
    assert handle not in at(beta, lambda: db.session.scalar(select(Audit.detail).where(Audit.kind == "foreign_token")))
    assert ask(client_for(alpha), mia).status_code == 200


def test_the_tenant_that_the_header_names_must_be_the_one(at, alpha, beta, client_for, mia):
    client = client_for(alpha)
    assert ask(client, mia, **{"X-Tenant-Id": alpha.id}).status_code == 200
    for named in (beta.id, "nobody", ""):
        answer = ask(client, mia, **{"X-Tenant-Id": named})
        assert (answer.status_code, code(answer)) == (403, "tenant_mismatch")


# What becomes of a token with its person


def test_a_token_of_somebody_deactivated_waits_for_them(app, at, alpha, mia, client_for, on_mia):
    short = exchanged(client_for(alpha), mia)
    on_mia(lambda mia, owner: mia.deactivate(by=owner))
    for text in (mia, short):
        assert code(ask(client_for(alpha), text)) == "token_refused"
    assert told(at, alpha) == ["token_outlived"]
    on_mia(lambda mia, owner: mia.reactivate(by=owner))
    for text in (mia, short):
        assert ask(client_for(alpha), text).status_code == 200


def test_the_tokens_of_somebody_removed_end_in_the_same_transaction(app, at, alpha, mia, client_for, on_mia):
    short = exchanged(client_for(alpha), mia)
    on_mia(lambda mia, owner: mia.remove(by=owner))
    assert at(alpha, lambda: db.session.scalar(select(Token.ended_at))) is not None
    for text in (mia, short):
        assert code(ask(client_for(alpha), text)) == "token_refused"


def test_a_token_does_no_more_than_its_person_may_do_now(at, alpha, client_for, mia, on_mia):
    nothing = at(alpha, lambda: Role.make("Nobody much", [], by=User.by_email("owner@alpha.test")).key)
    on_mia(lambda mia, owner: mia.give_role(nothing, by=owner))
    assert code(ask(client_for(alpha), mia)) == "not_found"
    on_mia(lambda mia, owner: mia.give_role("member", by=owner))
    assert ask(client_for(alpha), mia).status_code == 200


def test_what_a_token_was_exchanged_for_ends_with_the_role_that_it_tells_of(at, alpha, client_for, mia, on_mia):
    short = exchanged(client_for(alpha), mia)
    on_mia(lambda mia, owner: mia.give_role("editor", by=owner))
    assert code(ask(client_for(alpha), short)) == "token_refused"
    assert ask(client_for(alpha), exchanged(client_for(alpha), mia)).status_code == 200


# And with its house


@pytest.mark.parametrize(
    ("act", "status", "word"),
    [("suspend", 503, "tenant_suspended"), ("archive", 410, "tenant_gone")],
)
def test_a_house_that_is_closed_answers_no_token(app, at, alpha, client_for, mia, runner, act, status, word):
    short = exchanged(client_for(alpha), mia)
    options = ["--reason", "late"] if act == "suspend" else ["--yes"]
    assert runner("tenants", act, "alpha", *options).exit_code == 0
    for text in (mia, short):
        answer = ask(client_for(alpha), text)
        assert (answer.status_code, code(answer)) == (status, word)
    if act == "suspend":
        assert runner("tenants", "resume", "alpha").exit_code == 0
        assert ask(client_for(alpha), mia).status_code == 200


def test_a_token_of_a_suspended_house_is_refused_elsewhere_as_ever(app, at, alpha, beta, client_for, mia, runner):
    assert runner("tenants", "suspend", "alpha", "--reason", "late").exit_code == 0
    assert code(ask(client_for(beta), mia)) == "tenant_mismatch"
    assert met(app) == [("foreign_token", beta.id, alpha.id)]


def test_going_back_in_time_ends_all_tokens(at, alpha, tenancy, client_for, runner):
    before = make(at, alpha)
    assert runner("backups", "run", "alpha").exit_code == 0
    after = make(at, alpha)
    short = exchanged(client_for(alpha), after)
    restored = runner("backups", "restore", "alpha", "--at", "latest", "--replace", "--yes", "--json")
    assert restored.exit_code == 0, restored.output
    alpha = tenancy.registry.by_slug("alpha")
    reborn = make(at, alpha)  # it has the number that the lost one had
    for text in (before, after, short):
        assert code(ask(client_for(alpha), text)) == "token_refused"
    assert ask(client_for(alpha), reborn).status_code == 200
    handles = at(alpha, lambda: list(db.session.scalars(select(Token.handle).order_by(Token.id))))
    assert handles == [before.split("_")[2], reborn.split("_")[2]]


def test_a_key_rotated_under_it_leaves_a_token_good_and_ends_what_it_was_exchanged_for(
    at, alpha, tenancy, client_for, mia, runner
):
    short = exchanged(client_for(alpha), mia)
    rotated = runner("keys", "rotate", "alpha")
    assert rotated.exit_code == 0, rotated.output
    client = client_for(alpha)
    assert code(ask(client, short)) == "token_expired"
    assert told(at, tenancy.registry.by_slug("alpha")) == ["token_outlived"]
    assert ask(client, mia).status_code == 200
    assert ask(client, exchanged(client, mia)).status_code == 200


def test_a_preview_answers_no_program(app, at, alpha, mia, tenancy, monkeypatch, client_for):
    from app.accounts import previews

    monkeypatch.setattr(previews, "is_preview", lambda: True)
    assert code(ask(client_for(alpha), mia)) == "not_found"


# Cross-site


def test_a_page_of_another_site_neither_reads_nor_writes(at, alpha, client_for, mia):
    client, there = client_for(alpha), {"Origin": "https://elsewhere.test", "Sec-Fetch-Site": "cross-site"}
    for method in ("OPTIONS", "GET"):
        answer = client.open(MEMBERS, method=method, headers=there)
        assert not [name for name in answer.headers.keys() if name.lower().startswith("access-control")]  # noqa: SIM118
    assert code(client.post("/api/v1/token", headers=there)) == "forbidden"


def test_a_program_writes_by_its_token_wherever_it_stands_unless_it_brings_cookies(
    at, alpha, client_for, mia, signed_in
):
    there = {"Origin": "https://elsewhere.test"}
    assert ask(client_for(alpha), mia, "/api/v1/token", "POST", **there).status_code == 200
    assert code(ask(signed_in(alpha), mia, "/api/v1/token", "POST", **there)) == "forbidden"


def test_the_desk_takes_no_token(at, alpha, client_for, mia):
    assert ask(client_for(alpha), mia, "/desk/people/").status_code == 302
    assert ask(client_for(alpha), mia, "/live").status_code == 401


def test_knowing_a_token_costs_no_slow_hash(at, alpha, client_for, mia):
    client = client_for(alpha)
    ask(client, mia)
    began = time.perf_counter()
    for _ in range(20):
        assert ask(client, mia).status_code == 200
    assert time.perf_counter() - began < 2


def test_a_lifetime_is_no_longer_than_asked_for(at, alpha, client_for):
    key = make(at, alpha, lifetime=timedelta(minutes=5))
    answer = ask(client_for(alpha), key, "/api/v1/token", "POST")
    assert 290 < answer.json["expires_in"] <= 300
