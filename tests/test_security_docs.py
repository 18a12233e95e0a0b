"""The pages about safety name tests and files that exist, leave no requirement out, and what they alone claim is so."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from app.accounts import create_owner
from app.tenancy import db
from app.tenancy.registry import Operator
from tests.accounts.people import is_in
from tests.printed import filled_in

ROOT = Path(__file__).parents[1]
ASVS = ROOT / "docs/security/asvs.md"
THREATS = ROOT / "docs/security/threat-model.md"
PAGES = (ASVS, THREATS, ROOT / "SECURITY.md")

# ASVS 5.0.0: the levels of the requirements of each section, in their order. Chapters 10 and 17 do not apply.
LEVELS = """
    1.1:22 1.2:1111122223 1.3:112222222223 1.4:222 1.5:123 2.1:122 2.2:112 2.3:12223 2.4:23
    3.1:3 3.2:113 3.3:12223 3.4:11222233 3.5:11122333 3.6:3 3.7:22333 4.1:12233 4.2:23333 4.3:22 4.4:1222
    5.1:2 5.2:112333 5.3:113 5.4:222 6.1:122 6.2:111111112222 6.3:11223333 6.4:112233 6.5:22222333 6.6:2223 6.7:33 6.8:2222
    7.1:222 7.2:1111 7.3:22 7.4:11222 7.5:223 7.6:22 8.1:1233 8.2:1123 8.3:133 8.4:23 9.1:111 9.2:1222
    11.1:2233 11.2:22233 11.3:11233 11.4:1222 11.5:23 11.6:23 11.7:33 12.1:12233 12.2:11 12.3:22223
    13.1:2333 13.2:222223 13.3:2233 13.4:1222233 14.1:22 14.2:12223333 14.3:122
    15.1:12233 15.2:12233 15.3:1222222 15.4:3333 16.1:2 16.2:22222 16.3:2222 16.4:222 16.5:2223
"""
REQUIREMENTS = {
    f"{section}.{number}": level
    for section, levels in (each.split(":") for each in LEVELS.split())
    for number, level in enumerate(levels, 1)
}
STATES = {"met", "partly", "not met", "not applicable"}

NAMED = re.compile(r"`([\w./-]+\.(?:py|md|toml|json|lock|service|html|js))(?:::(\w+))?`")
LINKED = re.compile(r"\]\((?!https?:|#)([^)#]+)")
ROW = re.compile(r"\| (\d+\.\d+\.\d+) \| (\d) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")


def rows():
    return [ROW.fullmatch(line).groups() for line in ASVS.read_text().splitlines() if re.match(r"\| \d+\.", line)]


@cache
def functions_of(file):
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page):
    named = set(NAMED.findall(page.read_text()))
    assert named
    missing = [f"{file}::{test}" for file, test in named if not (ROOT / file).exists()]
    missing += [f"{file}::{test}" for file, test in named if test and test not in functions_of(ROOT / file)]
    missing += [link for link in LINKED.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing


def test_every_requirement_is_told_once_and_at_its_level():
    told = [(number, level) for number, level, *_ in rows()]
    assert len(told) == len(set(told))
    assert set(told) <= set(REQUIREMENTS.items())
    assert {number for number, level in REQUIREMENTS.items() if level in "12"} <= {number for number, _ in told}


def test_a_line_says_how_it_stands_and_what_shows_it():
    for number, _, asked, state, shown in rows():
        assert asked.strip(), number
        assert state in STATES, number
        assert NAMED.search(shown) or state != "met", f"{number} is said to be met, and nothing shows it"
        assert shown.strip(), f"{number} gives no reason"


def test_the_counts_are_those_of_the_tables():
    for level in "12":
        states = [state for _, each, _, state, _ in rows() if each == level]
        counts = " | ".join(str(states.count(state)) for state in ("met", "partly", "not met", "not applicable"))
        assert f"| {level} | {len(states)} | {counts} |" in ASVS.read_text(), counts


def test_every_attack_names_the_test_that_shows_its_choice():
    attacks = THREATS.read_text().partition("## What stands in their way")[2].partition("\n## ")[0]
    heads = ("| attack", "| ---", "| *")
    lines = [line for line in attacks.splitlines() if line.startswith("| ") and not line.startswith(heads)]
    assert len(lines) > 20
    assert not [line for line in lines if "::" not in line]


# What the tables claim and no other test shows.


@pytest.mark.parametrize(
    "path", ["/.git/config", "/static/", "/static/../app/config.py", "/static/%2e%2e/app/config.py", "/app/config.py"]
)
def test_nothing_is_served_but_what_is_meant(alpha, client_for, platform, path):
    for browser in (client_for(alpha), platform):
        assert browser.get(path).status_code in (302, 404)
        assert browser.open("/", method="TRACE").status_code == 405


def test_every_answer_says_what_a_browser_may_do(alpha, client_for, signed_in, platform):
    answers = [browser.get(path) for browser in (client_for(alpha), platform) for path in ("/", "/sign-in", "/nothing")]
    answers += [signed_in(alpha).get(path) for path in ("/desk/", "/api/v1/me", "/api/docs")]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_text_says_in_which_letters_it_is_written(alpha, client_for):
    for path in ("/", "/feed.xml", "/sitemap.xml", "/robots.txt", "/sign-in", "/nothing"):
        kind = client_for(alpha).get(path).headers["Content-Type"]
        assert kind.startswith(("text/", "application/")), path
        assert kind.endswith("; charset=utf-8"), path


def test_an_address_made_up_below_a_page_shows_no_page(alpha, signed_in):
    for path in ("/desk/x.css", "/desk/profile/x.css", "/desk/profile/security/x.js", "/desk/people/x.png"):
        assert signed_in(alpha).get(path).status_code == 404


def test_a_new_installation_has_no_account(app):
    with app.app_context():
        assert db.session.query(Operator).count() == 0


def test_everybody_who_is_in_can_go_out(alpha, signed_in, operator):
    for browser, paths in (
        (signed_in(alpha), ("/desk/", "/desk/profile/", "/desk/people/")),
        (operator, ("/", "/tenants/")),
    ):
        for path in paths:
            assert 'action="/sign-out"' in browser.get(path).text


@pytest.mark.parametrize(
    "password", [" Three wörds, and SPACES ", "A tide table, " + "x" * 60 + "ABCDE" * 30, "only lower case letters"]
)
def test_a_password_counts_to_the_letter(at, alpha, client_for, password):
    token = at(alpha, lambda: create_owner("nia@example.test"))
    page = client_for(alpha).get(f"/set-up/{token}").text
    assert client_for(alpha).post(f"/set-up/{token}", data=filled_in(page, "password", password=password)).location
    for typed in (password.strip() + "x", password.swapcase(), password[:-1], password):
        browser = client_for(alpha)
        page = browser.get("/sign-in").text
        browser.post("/sign-in", data=filled_in(page, "password", email="nia@example.test", password=typed))
        assert is_in(browser) == (typed == password)


def test_password_managers_are_welcome(at, alpha, client_for, signed_in):
    token = at(alpha, lambda: create_owner("nia@example.test"))
    pages = [client_for(alpha).get(path).text for path in ("/sign-in", f"/set-up/{token}")]
    for page in [*pages, signed_in(alpha).get("/desk/profile/").text]:
        fields = re.findall(r"<input[^>]*name=\"(?:password|current)\"[^>]*>", page)
        assert fields
        for field in fields:
            assert 'type="password"' in field
            assert re.search(r'autocomplete="(current|new)-password"', field)
            assert "onpaste" not in field
