"""A real export of 51 posts, 21 pages and 70 menu entries becomes a site in which every link answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import Freehold
from app.content.models import Entry, Import, Media, MenuItem, Redirect, Topic
from app.tenancy import ResolvedTenant, db, tenant_context

CORPUS = Path(__file__).parents[3] / "shared/corpus/wordpress/themeunittestdata.wordpress.xml"
pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the export is not beside the checkout")


def bring_in(runner: Callable[..., Any], *options: str) -> dict[str, Any]:
    result = runner("content", "import-wordpress", "alpha", str(CORPUS), "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def counts(app: Freehold, tenant: ResolvedTenant) -> dict[str, int]:
    with app.app_context(), tenant_context(tenant, writes=False):
        return {
            model.__name__: db.session.scalar(select(func.count()).select_from(model)) or 0
            for model in (Entry, Media, MenuItem, Redirect, Topic)
        }


def crawl(client: FlaskClient, host: str) -> tuple[dict[str, int], list[str]]:
    """Follow every link of the site; return the status of each address, and those that do not answer."""
    seen: dict[str, int] = {}
    broken: list[str] = []
    waiting = [("/", ""), ("/feed.xml", ""), ("/sitemap.xml", "")]
    while waiting:
        address, from_page = waiting.pop()
        if address in seen:
            continue
        with client.get(address, follow_redirects=True) as answer:
            status, text = answer.status_code, answer.text if answer.mimetype == "text/html" else ""
        seen[address] = status
        if status != 200:
            broken.append(f"{address} on {from_page}: {status}")
        for found in re.findall(r'(?:href|src)="([^"]*)"', text):
            target = urlsplit(urljoin(f"http://{host}{address}", unescape(found)))
            if target.hostname == host and target.scheme in ("http", "https"):
                waiting.append((target.path + (f"?{target.query}" if target.query else ""), address))
    return seen, broken


def test_every_internal_link_of_the_imported_site_answers(
    app: Freehold, alpha: ResolvedTenant, client_for: Callable[..., FlaskClient], runner: Callable[..., Any]
) -> None:
    bring_in(runner)
    seen, broken = crawl(client_for(alpha), alpha.primary_host)
    assert broken == []
    assert len(seen) > 200


def test_members_too_find_no_dead_link(
    app: Freehold, alpha: ResolvedTenant, signed_in: Callable[..., FlaskClient], runner: Callable[..., Any]
) -> None:
    bring_in(runner)
    seen, broken = crawl(signed_in(alpha), alpha.primary_host)
    assert broken == []
    assert "/posts/template-password-protected" in seen


def test_the_report_counts_what_came_and_what_was_left_out(runner: Callable[..., Any]) -> None:
    report = bring_in(runner)
    assert {kind: report["came"][kind] for kind in ("posts", "pages", "menu entries", "media")} == {
        "posts": 51,
        "pages": 21,
        "menu entries": 70,
        "media": 38,
    }
    assert report["left_by_kind"]["comment"] == 32
    assert report["problems"] == []


def test_an_import_run_twice_doubles_nothing(app: Freehold, alpha: ResolvedTenant, runner: Callable[..., Any]) -> None:
    bring_in(runner)
    first = counts(app, alpha)
    report = bring_in(runner)
    assert counts(app, alpha) == first
    assert report["outcome"]["created"] == report["outcome"]["updated"] == 0


def test_a_rehearsal_changes_nothing(app: Freehold, alpha: ResolvedTenant, runner: Callable[..., Any]) -> None:
    before = counts(app, alpha)
    report = bring_in(runner, "--dry-run")
    assert counts(app, alpha) == before
    assert report["came"]["posts"] == 51
    with app.app_context(), tenant_context(alpha, writes=False):
        assert db.session.scalar(select(func.count()).select_from(Import)) == 0


def test_old_addresses_lead_to_where_things_are_now(
    app: Freehold, alpha: ResolvedTenant, client_for: Callable[..., FlaskClient], runner: Callable[..., Any]
) -> None:
    bring_in(runner)
    client = client_for(alpha)
    for old, new in {
        "/2018/10/20/keyboard-navigation/": "/posts/keyboard-navigation",
        "/?p=1724": "/posts/keyboard-navigation",
        "/?page_id=155": "/about/page-with-comments",
        "/category/markup/": "/posts/topics/markup",
        "/about/page-with-comments/": "/about/page-with-comments",
    }.items():
        answer = client.get(old, follow_redirects=True)
        assert (answer.status_code, answer.request.path) == (200, new), old


def test_a_nested_page_with_a_greek_address_answers(
    app: Freehold, alpha: ResolvedTenant, client_for: Callable[..., FlaskClient], runner: Callable[..., Any]
) -> None:
    bring_in(runner)
    answer = client_for(alpha).get("/greek/επίπεδο-2/επίπεδο-3")
    assert answer.status_code == 200
    assert "Επίπεδο 3" in answer.text


def test_drafts_scheduled_and_protected_posts_are_hidden_from_visitors(
    app: Freehold, alpha: ResolvedTenant, client_for: Callable[..., FlaskClient], runner: Callable[..., Any]
) -> None:
    bring_in(runner)
    client = client_for(alpha)
    for slug in ("draft", "scheduled", "template-password-protected"):
        assert client.get(f"/posts/{slug}").status_code == 404
    assert client.get("/posts/template-sticky").status_code == 200


def test_no_page_of_the_import_asks_another_host_for_anything(
    app: Freehold, alpha: ResolvedTenant, client_for: Callable[..., FlaskClient], runner: Callable[..., Any]
) -> None:
    bring_in(runner)
    client = client_for(alpha)
    with app.app_context(), tenant_context(alpha, writes=False):
        entries = db.session.scalars(select(Entry.html)).all()
    assert not [html for html in entries if re.search(r"<(img|iframe|script|audio|video|embed|form)\b", html)]
    assert 'class="placeholder' in client.get("/posts/block-gallery").text


def test_the_other_organisation_is_untouched(
    app: Freehold, alpha: ResolvedTenant, beta: ResolvedTenant, runner: Callable[..., Any]
) -> None:
    before = counts(app, beta)
    bring_in(runner)
    assert counts(app, beta) == before
