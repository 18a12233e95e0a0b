"""The description says what the doors do: every operation is asked, and answers in the shape that it declares."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from app.api import parts
from tests.accounts.people import join
from tests.api.programs import ask, make

WORDS = {"user_id": "1"}
KINDS = {"string": str, "integer": int, "boolean": bool, "null": type(None), "array": list, "object": dict}


@pytest.fixture
def described(alpha, client_for):
    return client_for(alpha).get("/api/v1/openapi.json").json


def operations(described):
    return [(path, method, said) for path, methods in described["paths"].items() for method, said in methods.items()]


def complaints(value, said, described, where="answer"):
    """Return where a value is not what the schema says it is."""
    if "$ref" in said:
        said = described["components"]["schemas"][said["$ref"].rpartition("/")[2]]
    if "anyOf" in said:
        tried = [complaints(value, each, described, where) for each in said["anyOf"]]
        return [] if [] in tried else tried[0]
    if not isinstance(value, KINDS[said["type"]]) or (said["type"] == "integer" and isinstance(value, bool)):
        return [f"{where} is {value!r}, not {said['type']}"]
    found = []
    if said.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        found.append(f"{where} has no zone")
    if said["type"] == "array":
        for number, each in enumerate(value):
            found += complaints(each, said["items"], described, f"{where}[{number}]")
    if said["type"] == "object":
        found += [f"{where} lacks {name}" for name in said["required"] if name not in value]
        for name, each in value.items():
            if name in said["properties"]:
                found += complaints(each, said["properties"][name], described, f"{where}.{name}")
            elif said.get("additionalProperties") is False:
                found.append(f"{where} has {name}, which nobody declared")
    return found


def test_the_check_itself_complains(described):
    me = {
        "type": "object",
        "required": ["id"],
        "additionalProperties": False,
        "properties": {"id": {"type": "integer"}},
    }
    assert complaints({"id": 1}, me, described) == []
    for wrong in ({}, {"id": "1"}, {"id": True}, {"id": 1, "more": 2}, [], None):
        assert complaints(wrong, me, described)


def test_every_operation_that_there_is_is_described(app, described):
    rules = {
        (rule.rule.replace("<int:user_id>", "{user_id}").removeprefix("/api/v1"), method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.endpoint.startswith("api_")
    }
    assert {(path, method.upper()) for path, method, _ in operations(described)} == rules
    assert described["openapi"] == "3.1.0"
    assert described["servers"] == [{"url": "/api/v1"}]


@pytest.mark.parametrize(
    ("scopes", "is_service"), [(["members.read"], False), (["members.read", "members.details"], True)]
)
def test_every_operation_answers_as_described(at, alpha, client_for, described, scopes, is_service):
    join(at, alpha)
    key, client = make(at, alpha, scopes=scopes, is_service=is_service), client_for(alpha)
    for path, method, said in operations(described):
        answer = ask(client, key, "/api/v1" + path.format(**WORDS), method.upper())
        assert answer.status_code == 200, f"{method} {path}"
        body = said["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer.mimetype == "application/json"
        assert complaints(answer.json, body, described) == []


def test_every_refusal_is_a_problem_that_is_described(at, alpha, beta, client_for, described):
    key, poor, client = make(at, alpha), make(at, alpha, scopes=["members.details"]), client_for(alpha)
    for path, method, said in operations(described):
        address, problem = "/api/v1" + path.format(**WORDS), {"$ref": "#/components/schemas/Problem"}
        asked = {
            "no token": client.open(address, method=method.upper()),
            "no good token": ask(client, key[:-1], address, method.upper()),
            "a foreign one": ask(client_for(beta), key, address, method.upper()),
            "another tenant": ask(client, key, address, method.upper(), **{"X-Tenant-Id": beta.id}),
        }
        if "security" in said:
            asked["too poor a token"] = ask(client, poor, address, method.upper())
        for why, answer in asked.items():
            assert str(answer.status_code) in said["responses"], f"{method} {path}: {why}"
            assert answer.status_code in (401, 403), f"{method} {path}: {why}"
            assert answer.mimetype == "application/problem+json"
            assert complaints(answer.json, problem, described) == []


def test_odd_addresses_are_not_found(at, alpha, client_for):
    key = make(at, alpha)
    for wrong in ("0", "-1", "x", "1.5", "99999999999999999999", "%00", "1/2", "' OR 1=1"):
        assert ask(client_for(alpha), key, f"/api/v1/members/{wrong}").status_code == 404, wrong


def test_the_description_is_for_everybody_and_the_same_everywhere(alpha, beta, client_for):
    first, second = (client_for(house).get("/api/v1/openapi.json") for house in (alpha, beta))
    assert first.data == second.data
    mark = first.headers["ETag"]
    assert client_for(alpha).get("/api/v1/openapi.json", headers={"If-None-Match": mark}).status_code == 304


def test_people_read_the_same(alpha, client_for, described):
    page = client_for(alpha).get("/api/docs")
    assert page.status_code == 200
    for path, method, said in operations(described):
        assert f"{method.upper()} /api/v1{path}" in page.text
        assert said["summary"] in page.text
    assert "members.details" in page.text
    anchors = re.findall(r' id="([^"]+)"', page.text)
    assert len(anchors) == len(set(anchors))


def test_each_scope_that_an_operation_needs_is_one_that_can_be_given():
    from app.api.policy import scopes

    needed = {each.scope for part in parts.parts() for each in part.operations if each.scope}
    assert needed <= set(scopes())
