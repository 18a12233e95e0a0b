"""What holds for every page's look: no inline script or style, colours by tokens alone, errors in the look of their site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Letters are no pages: mail programs know only styles that stand in the elements.
TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*.html") if path.parent.name != "mail")
STYLESHEETS = sorted(path for path in (ROOT / "static").rglob("*.css") if path.name != "tokens.css")
INLINE = re.compile(r"\sstyle=|\son[a-z]+=|<style\b|<script(?![^>]*\bsrc=)|javascript:", re.IGNORECASE)
COLOUR = re.compile(r"(?<!mask: )\b(?:oklch|rgb|hsl)a?\(|:[^;{]*#(?!000\b)[0-9a-f]{3,8}\b")
ELSEWHERE = re.compile(r"(?:src|href)=\"(?:https?:)?//|url\(\"?(?:https?:)?//|@import")


@pytest.mark.parametrize("page", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_has_script_or_style_of_its_own_or_asks_elsewhere(page):
    text = page.read_text()
    assert not INLINE.search(text)
    assert not ELSEWHERE.search(text)


@pytest.mark.parametrize("sheet", STYLESHEETS, ids=lambda path: str(path.relative_to(ROOT)))
def test_stylesheets_name_colours_by_tokens_alone_and_stay_in_their_layer(sheet):
    text = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL)
    assert not COLOUR.search(text)
    assert not ELSEWHERE.search(text)
    assert text.lstrip().startswith("@layer ")


def test_every_token_that_a_stylesheet_uses_exists():
    said = set(re.findall(r"(--[\w-]+):", (ROOT / "static" / "tokens.css").read_text()))
    for sheet in STYLESHEETS:
        assert set(re.findall(r"var\((--[\w-]+)", sheet.read_text())) <= said, sheet.name


def test_a_page_that_is_not_here_says_so_in_the_look_of_its_site(alpha, beta, client_for):
    for tenant, name in ((alpha, "Alpha Allotments"), (beta, "Beta Brass Band")):
        answer = client_for(tenant).get("/no/such/page")
        assert answer.status_code == 404
        assert name in answer.text
        assert "/_theme/" in answer.text


def test_an_unknown_host_gets_the_same_bytes_whatever_its_name(app):
    answers = [app.test_client().get("/", base_url=f"http://{host}/") for host in ("nobody.localhost", "evil.example")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].data == answers[1].data
    assert b"localhost" not in answers[0].data


def test_the_console_says_what_is_not_here_without_any_tenants_look(platform):
    answer = platform.get("/no/such/page")
    assert answer.status_code == 404
    assert "/_theme/" not in answer.text


def test_pages_say_their_language_and_skip_to_their_content(alpha, client_for):
    page = client_for(alpha).get("/").text
    assert '<html lang="en">' in page
    assert page.index('class="skip" href="#main"') < page.index("<header")
    assert '<main id="main"' in page
