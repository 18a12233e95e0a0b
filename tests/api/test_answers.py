"""Programs get JSON a page at a time, may keep it and ask whether it changed, and are told how often they may ask."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from itertools import chain
from urllib.parse import parse_qs, urlsplit

import pytest

from app.accounts import User
from app.api import callers
from app.facilities.rates import Rate
from app.tenancy import db
from tests.accounts.people import join
from tests.api.programs import MEMBERS, ask, code, make

KEPT = "private, no-cache"


@pytest.fixture
def crowd(at, alpha):
    def come():
        for number in range(1, 25):
            User.join(f"person{number}@alpha.test", f"Person {number}")

    at(alpha, come)


@pytest.fixture
def program(at, alpha, client_for):
    """Ask in the owner's name."""
    key, client = make(at, alpha), client_for(alpha)
    return lambda path=MEMBERS, **headers: ask(client, key, path, **headers)


def follow(program, path):
    """Yield page after page, by the links."""
    while path:
        answer = program(path)
        assert answer.status_code == 200, answer.text
        yield answer
        found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        path = found[1] if found else None


def names(answer):
    return [each["name"] for each in answer.json["items"]]


# Pages


def test_a_list_is_read_page_by_page_without_a_gap(program, crowd):
    pages = list(follow(program, f"{MEMBERS}?limit=10"))
    assert [len(names(page)) for page in pages] == [10, 10, 5]
    assert [*chain(*map(names, pages))] == ["Olive of Alpha Allotments", *(f"Person {n}" for n in range(1, 25))]
    assert pages[-1].json["next"] is None
    query = parse_qs(urlsplit(pages[0].headers["Link"].partition(">")[0][1:]).query)
    assert query == {"limit": ["10"], "cursor": [pages[0].json["next"]]}


def test_who_comes_or_goes_meanwhile_moves_nobody(at, alpha, program, crowd):
    pages = follow(program, f"{MEMBERS}?limit=10")
    first = names(next(pages))

    def change():
        User.by_email("person3@alpha.test").remove(by=User.by_email("owner@alpha.test"))
        User.join("late@alpha.test", "Late")

    at(alpha, change)
    rest = [*chain(*map(names, pages))]
    assert first + rest == ["Olive of Alpha Allotments", *(f"Person {n}" for n in range(1, 25)), "Late"]


def test_a_page_that_is_just_full_is_the_last(program, crowd):
    assert program(f"{MEMBERS}?limit=25").json["next"] is None
    assert program(f"{MEMBERS}?limit=24").json["next"]


def test_a_limit_that_is_none_is_refused(program):
    for limit in ("0", "201", "0000000010000", "-1", "ten", "1e2", "²", "", "9" * 999):
        answer = program(f"{MEMBERS}?limit={limit}")
        assert (answer.status_code, code(answer)) == (422, "query_refused"), limit


def test_a_cursor_that_we_did_not_give_is_refused(program):
    said = ("after -1", "after ", "before 1", "after 99999999999999999999", "after ²", "after 1 2")
    for cursor in ("x", "1", "%00", "é", "a" * 5000, *(urlsafe_b64encode(each.encode()).decode() for each in said)):
        answer = program(f"{MEMBERS}?cursor={cursor}")
        assert (answer.status_code, code(answer)) == (422, "query_refused"), cursor


# What may be kept


def test_what_has_not_changed_is_not_sent_again(at, alpha, program):
    first = program()
    assert (first.headers["Cache-Control"], first.headers["Vary"]) == (KEPT, "Authorization")
    again = program(**{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert (again.headers["ETag"], again.headers["Cache-Control"]) == (first.headers["ETag"], KEPT)
    join(at, alpha)
    changed = program(**{"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_two_who_may_see_different_things_have_different_marks(at, alpha, client_for, program):
    rich = make(at, alpha, scopes=["members.read", "members.details"])
    mark = program().headers["ETag"]
    assert ask(client_for(alpha), rich, **{"If-None-Match": mark}).status_code == 200


def test_a_mark_opens_nothing_without_a_token(program, alpha, client_for):
    mark = program().headers["ETag"]
    assert client_for(alpha).get(MEMBERS, headers={"If-None-Match": mark}).status_code == 401


def test_head_answers_as_get_does_without_a_body(at, alpha, client_for, program):
    answer = ask(client_for(alpha), make(at, alpha), MEMBERS, "HEAD")
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["ETag"] == program().headers["ETag"]


def test_refusals_are_kept_by_nobody(program):
    for path in (f"{MEMBERS}/999", f"{MEMBERS}?limit=0", "/api/v1/nothing"):
        assert "no-store" in program(path).headers["Cache-Control"]


# How often


def test_every_answer_says_how_often_may_still_be_asked(program):
    first, second = program(), program(f"{MEMBERS}/999")
    assert first.headers["RateLimit-Policy"] == '"token";q=600;w=60'
    left = [int(re.search(r"r=(\d+)", answer.headers["RateLimit"])[1]) for answer in (first, second)]
    assert left == [599, 598]


def test_a_token_that_asks_too_often_waits_and_another_does_not(at, alpha, client_for, program, monkeypatch):
    monkeypatch.setattr(callers, "PER_TOKEN", Rate("token", 3, 60, "Too often."))
    other = make(at, alpha)
    assert [program().status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = program()
    assert code(refused) == "limit_reached"
    assert int(refused.headers["Retry-After"]) <= 61
    assert refused.headers.getlist("RateLimit") == [f'"token";r=0;t={refused.headers["Retry-After"]}']
    assert ask(client_for(alpha), other).status_code == 200


def test_what_it_is_exchanged_for_is_counted_with_the_token(at, alpha, client_for, monkeypatch):
    from tests.api.programs import exchanged

    monkeypatch.setattr(callers, "PER_TOKEN", Rate("token", 3, 60, "Too often."))
    key, client = make(at, alpha), client_for(alpha)
    short = exchanged(client, key)
    assert [ask(client, text).status_code for text in (short, key, short)] == [200, 200, 429]


def test_all_tokens_of_an_organisation_together_are_counted_too(at, alpha, beta, client_for, monkeypatch):
    monkeypatch.setattr(callers, "HERE", Rate("organisation", 2, 60, "Too often."))
    assert [ask(client_for(alpha), make(at, alpha)).status_code for _ in range(3)] == [200, 200, 429]
    assert ask(client_for(beta), make(at, beta)).status_code == 200


# What went wrong


def test_everything_under_api_answers_problems(alpha, client_for, platform):
    client = client_for(alpha)
    for path, method, status in (
        ("/api/v1/nothing", "GET", 404),
        ("/api/", "GET", 404),
        ("/api/v2/members", "GET", 404),
        (MEMBERS, "DELETE", 405),
        (f"{MEMBERS}/x", "GET", 404),
        ("/api/v1/token", "GET", 404),
    ):
        answer = client.open(path, method=method)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), path
        assert set(answer.json) >= {"type", "title", "status", "code", "detail"}
    assert platform.get(MEMBERS).mimetype == "application/problem+json"


def test_every_code_stands_in_the_description(alpha, client_for, program):
    page = client_for(alpha).get("/api/docs").text
    for answer in (client_for(alpha).get(MEMBERS), program(f"{MEMBERS}/999"), program(f"{MEMBERS}?limit=0")):
        path, _, mark = answer.json["type"].partition("#")
        assert (path, mark) == ("/api/docs", answer.json["code"])
        assert f'id="{mark}"' in page


def test_an_unknown_host_answers_the_same_for_every_name(app):
    client = app.test_client()
    answers = {client.get(MEMBERS, headers={"Host": host}).data for host in ("one.test", "two.test")}
    assert len(answers) == 1
    assert json.loads(answers.pop())["type"] == "about:blank"


def test_a_read_writes_nothing_but_that_the_token_is_in_use(at, alpha, program, tenancy):
    from tests.tenancy.test_isolation import digest

    program()
    before = digest(tenancy, alpha)
    for path in (MEMBERS, f"{MEMBERS}/1", "/api/v1/me"):
        assert program(path).status_code == 200
    assert digest(tenancy, alpha) == before
    assert at(alpha, lambda: db.session.get(User, 1).last_seen_at) is None
