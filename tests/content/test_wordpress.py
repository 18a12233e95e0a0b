"""An export becomes pages and posts: where they are, who may see them, and what a second import does to them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import Freehold
from app.config import Config
from app.content.models import Entry, Import, Media, MenuItem, Redirect, Topic
from app.facilities import storage
from app.facilities.storage import StoredFile
from app.tenancy import ResolvedTenant, db, tenant_context
from tests.content.wxr import BASE, export, item

Bring = Callable[..., dict[str, Any]]
Inside = Callable[[], AbstractContextManager[None]]
Runner = Callable[..., Any]


@pytest.fixture
def inside(app: Freehold, alpha: ResolvedTenant) -> Inside:
    @contextmanager
    def enter() -> Iterator[None]:
        with app.app_context(), tenant_context(alpha):
            yield

    return enter


@pytest.fixture
def bring(runner: Runner, tmp_path: Path) -> Bring:
    """Import an export into alpha's site and return the report."""

    def run(data: bytes, *options: str, code: int = 0) -> dict[str, Any]:
        file = tmp_path / "export.xml"
        file.write_bytes(data)
        result = runner("content", "import-wordpress", "alpha", str(file), "--json", *options)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if result.stdout.startswith("{") else {"said": result.stderr}

    return run


@pytest.fixture
def html(bring: Bring, inside: Inside) -> Callable[..., str]:
    """Import one post with that content and return what it shows."""

    def of(content: str, *others: str, **fields: Any) -> str:
        bring(export(item(7, "Seven", content, post_name="seven", **fields), *others))
        with inside():
            return db.session.scalar(select(Entry.html).where(Entry.path == "seven"))

    return of


def why(report: dict[str, Any], part: str, what: str) -> str:
    return " ".join(line["why"] for line in report[part] if line["what"] == what)


def test_a_post_and_a_page_come_with_all_that_is_theirs(bring: Bring, inside: Inside) -> None:
    bring(
        export(
            item(1, "Tea &amp; <em>cake</em>", "Hello\n\nworld", is_sticky=1, excerpt="Short <b>words</b>",
                 terms=[("category", "news", "News"), ("post_tag", "tea", "Tea")]),
            item(2, "About", "We row.", post_type="page", post_name="about", menu_order=3),
        )
    )  # fmt: skip
    with inside():
        post = db.session.scalars(select(Entry).where(Entry.kind == "post")).one()
        assert (post.title, post.path, post.author_name) == ("Tea & cake", "entry-1", "Ann Oarsman")
        assert (post.is_sticky, post.summary, post.source_format) == (True, "Short words", "markdown")
        assert (post.source, post.html) == ("Hello\n\nworld", "<p>Hello</p>\n<p>world</p>\n")
        assert sorted(topic.name for topic in post.topics) == ["News", "Tea"]
        page = db.session.scalars(select(Entry).where(Entry.path == "about")).one()
        assert (page.kind, page.position, page.state) == ("page", 3, "published")


def test_pages_keep_their_tree_even_when_children_come_first(bring: Bring, inside: Inside) -> None:
    bring(
        export(
            item(3, "Deep", post_type="page", post_name="deep", post_parent=2),
            item(2, "Mid", post_type="page", post_name="mid", post_parent=1),
            item(1, "Top", post_type="page", post_name="top"),
            item(4, "Orphan", post_type="page", post_name="orphan", post_parent=99),
            item(5, "Loop", post_type="page", post_name="loop", post_parent=6),
            item(6, "Pool", post_type="page", post_name="pool", post_parent=5),
        )
    )
    with inside():
        paths = set(db.session.scalars(select(Entry.path).where(Entry.origin.is_not(None))))
        assert {"top", "top/mid", "top/mid/deep", "orphan"} <= paths
        assert len(paths) == 6
        deep = db.session.scalars(select(Entry).where(Entry.slug == "deep")).one()
        assert [page.slug for page in deep.ancestors()] == ["mid", "top"]


@pytest.mark.parametrize(
    ("fields", "state", "visibility"),
    [
        ({"status": "publish"}, "published", "public"),
        ({"status": "draft", "post_date_gmt": "0000-00-00 00:00:00"}, "draft", "public"),
        ({"status": "pending"}, "draft", "public"),
        ({"status": "private"}, "published", "members"),
        ({"post_password": "enter"}, "published", "members"),
        ({"status": "future", "post_date_gmt": "2099-01-01 00:00:00"}, "scheduled", "public"),
    ],
)
def test_who_may_see_an_entry_is_kept(
    bring: Bring, inside: Inside, fields: dict[str, str], state: str, visibility: str
) -> None:
    bring(export(item(1, "One", "x", **fields)))
    with inside():
        entry = db.session.scalars(select(Entry).where(Entry.kind == "post")).one()
        assert (entry.status, entry.visibility) == (state, visibility)
        assert "enter" not in f"{entry.source}{entry.html}{entry.summary}"


def test_what_has_no_place_here_is_left_out_and_said(bring: Bring, inside: Inside) -> None:
    report = bring(
        export(
            item(1, "Talked about", "x", comments=3),
            item(2, "Gone", status="trash"),
            item(3, "Shop", post_type="product"),
            item(4, "Old", post_type="revision"),
            item(1, "Twice"),
        )
    )
    assert report["left_by_kind"] == {"comment": 3, "post": 2, "product": 1, "revision": 1}
    with inside():
        assert db.session.scalar(select(func.count()).where(Entry.origin.is_not(None))) == 1


def test_reserved_and_taken_addresses_get_a_number(bring: Bring, inside: Inside) -> None:
    with inside():
        Entry.write("page", "Taken", slug="taken")
        db.session.commit()
    report = bring(
        export(
            item(1, "Desk", post_type="page", post_name="desk"),
            item(2, "Taken too", post_type="page", post_name="taken"),
        )
    )
    with inside():
        paths = set(db.session.scalars(select(Entry.path).where(Entry.origin.is_not(None))))
    assert paths == {"desk-2", "taken-2"}
    assert "taken-2" in why(report, "changed", "page")


def test_an_entry_without_title_or_slug_gets_both(bring: Bring, inside: Inside) -> None:
    bring(export(item(1, "", "x", post_name=""), item(2, "日本語 の 題", "x", post_name="%e6%97%a5%e6%9c%ac")))
    with inside():
        found = dict(db.session.execute(select(Entry.title, Entry.path).where(Entry.kind == "post")).all())  # type: ignore[arg-type]
    assert found == {"(untitled)": "post-1", "日本語 の 題": "日本"}


def test_older_exports_come_in_too(bring: Bring, inside: Inside) -> None:
    channel = "<wp:tag><wp:tag_slug>tea</wp:tag_slug><wp:tag_name>Tea</wp:tag_name></wp:tag>"
    for version in ("1.0", "1.1"):
        bring(export(item(1, "Old", "Hi", terms=[("tag", "tea", "Tea")]), version=version, channel=channel))
    with inside():
        assert db.session.scalars(select(Topic.name)).all() == ["Tea"]


def test_a_second_import_brings_what_changed_there_and_keeps_what_was_edited_here(bring: Bring, inside: Inside) -> None:
    bring(export(item(1, "One", "first"), item(2, "Two", "first"), item(3, "Three", "first")))
    with inside():
        two = db.session.scalars(select(Entry).where(Entry.path == "entry-2")).one()
        two.revise("Two, by us", "ours")
        db.session.commit()
    report = bring(
        export(item(1, "One", "second"), item(2, "Two", "second"), item(3, "Three", "first"), item(4, "Four", "new"))
    )
    assert report["outcome"] == {"created": 1, "updated": 1, "unchanged": 1, "kept": 1}
    assert "edited here" in why(report, "left", "post")
    with inside():
        found = dict(db.session.execute(select(Entry.title, Entry.source).where(Entry.kind == "post")).all())  # type: ignore[arg-type]
    assert found == {"One": "second", "Two, by us": "ours", "Three": "first", "Four": "new"}


def test_what_was_put_in_the_trash_here_stays_there(bring: Bring, inside: Inside) -> None:
    data = export(item(1, "One", "x"))
    bring(data)
    with inside():
        db.session.scalars(select(Entry).where(Entry.kind == "post")).one().trash()
        db.session.commit()
    bring(data)
    with inside():
        assert db.session.scalars(select(Entry.state).where(Entry.kind == "post")).all() == ["trashed"]


def test_links_lead_to_where_things_are_now(html: Callable[..., str]) -> None:
    shown = html(
        f'<a href="{BASE}/2020/01/other/">a</a> <a href="/2020/01/other/#respond">b</a> <a href="{BASE}/?p=8">c</a> '
        f'<a href="http://www.club.example/category/news/">d</a> <a href="{BASE}/">e</a> <a href="{BASE}/2020/01/">f</a> '
        f'<a href="https://elsewhere.example/">g</a> <a href="{BASE}/feed/">h</a> <a href="{BASE}/author/ann/">i</a>',
        item(8, "Other", "x", post_name="other", link=f"{BASE}/2020/01/other/", terms=[("category", "news", "News")]),
    )
    assert re.findall('href="([^"]*)"', shown) == [
        "/posts/other", "/posts/other", "/posts/other", "/posts/topics/news", "/", "/posts/",
        "https://elsewhere.example/", "/feed.xml", "/posts/",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "/wp-login.php",
        "/?cat=77",
        "/?s=tea",
        "/nowhere/",
        "/?p=99",
        "/wp-content/uploads/a.pdf",
        "/drafted/",
        "/hidden/",
        "/category/empty/",
    ],
)
def test_a_link_to_what_did_not_come_becomes_its_text(html: Callable[..., str], address: str) -> None:
    shown = html(
        f'See <a href="{BASE}{address}">this thing</a>.',
        item(8, "Drafted", "x", post_name="drafted", status="draft"),
        item(9, "Hidden", "x", post_name="hidden", status="private", terms=[("category", "empty", "Empty")]),
    )
    assert "href" not in shown
    assert "See this thing." in shown


def test_old_addresses_lead_to_entries_and_topics(
    bring: Bring, client_for: Callable[..., FlaskClient], alpha: ResolvedTenant, inside: Inside
) -> None:
    bring(
        export(item(1, "One", "x", post_name="one", link=f"{BASE}/2020/01/one/", terms=[("category", "news", "News")]))
    )
    client = client_for(alpha)
    for old, new in {
        "/2020/01/one/": "/posts/one",
        "/?p=1": "/posts/one",
        "/category/news/": "/posts/topics/news",
    }.items():
        assert client.get(old, follow_redirects=True).request.path == new


def test_media_come_once_and_keep_what_people_wrote(bring: Bring, inside: Inside) -> None:
    picture = item(
        5, "Boat", post_type="attachment", status="inherit", excerpt="Our boat",
        attachment_url=f"{BASE}/wp-content/uploads/boat.jpg", meta={"_wp_attachment_image_alt": "A boat"},
    )  # fmt: skip
    bring(export(picture))
    with inside():
        media = db.session.scalars(select(Media)).one()
        assert (media.name, media.mime, media.alt, media.caption) == ("boat.jpg", "image/jpeg", "A boat", "Our boat")
        media.alt = "The boat Alice"
        db.session.commit()
    bring(export(picture))
    with inside():
        assert db.session.scalars(select(Media.alt)).all() == ["The boat Alice"]


def line(number: int, label: str, parent: int = 0, **given: Any) -> str:
    menu = given.pop("menu", ("main-menu", "Main menu"))
    meta = {"_menu_item_menu_item_parent": parent, **{f"_menu_item_{name}": value for name, value in given.items()}}
    return item(number, label, post_type="nav_menu_item", menu_order=number, terms=[("nav_menu", *menu)], meta=meta)


def test_menus_become_one_menu_with_the_main_one_first(
    bring: Bring, client_for: Callable[..., FlaskClient], alpha: ResolvedTenant, inside: Inside
) -> None:
    data = export(
        line(20, "Elsewhere", type="custom", url="https://elsewhere.example/", menu=("links", "Friends")),
        line(10, "", type="post_type", object="page", object_id=1),
        line(11, "Below", 10, type="custom", url=f"{BASE}/about/"),
        line(12, "Deeper", 11, type="custom", url="https://deep.example/"),
        line(13, "Label", type="custom", url="#"),
        item(1, "About us", "x", post_type="page", post_name="about"),
    )
    bring(data)
    report = bring(data)
    assert report["came"]["menu entries"] == 5
    with inside():
        rows = db.session.scalars(select(MenuItem).where(MenuItem.origin.is_not(None)).order_by(MenuItem.id)).all()
        by_id = {row.id: row.label for row in rows}
        assert [(row.label, by_id.get(row.parent_id)) for row in rows] == [
            ("About us", None), ("Below", "About us"), ("Deeper", "About us"), ("Label", None),
            ("Friends", None), ("Elsewhere", "Friends"),
        ]  # fmt: skip
    shown = client_for(alpha).get("/").text
    assert 'href="/about"' in shown
    assert "https://elsewhere.example/" in shown


def test_a_run_that_is_killed_is_mended_by_running_it_again(
    app: Freehold, config: Config, home: Path, tmp_path: Path, inside: Inside, bring: Bring
) -> None:
    data = export(*(item(number, f"No. {number}", "word " * 2000) for number in range(1, 301)))
    file = tmp_path / "large.xml"
    file.write_bytes(data)
    app.extensions["tenancy"].close()
    command = [sys.executable, "-m", "app.cli", "content", "import-wordpress", "alpha", str(file)]
    with subprocess.Popen(
        command, env={**os.environ, "FREEHOLD_HOME": str(home)}, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        assert json.loads(run.stderr.readline())["total"] == 300
        time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
    with inside():
        come = db.session.scalar(select(func.count()).where(Entry.kind == "post")) or 0
        assert 0 < come < 300
        assert not db.session.scalars(select(Entry.id).where(Entry.kind == "post", Entry.html == "")).all()
    report = bring(data)
    assert report["outcome"] == {"created": 300 - come, "updated": 0, "unchanged": come, "kept": 0}
    with inside():
        assert db.session.scalar(select(func.count()).where(Entry.kind == "post")) == 300
        assert db.session.scalar(select(func.count()).select_from(Redirect)) == 600


def test_an_upload_is_kept_sealed_and_brought_in_by_its_job(inside: Inside, alpha: ResolvedTenant) -> None:
    from app.content.jobs import import_wordpress

    with inside():
        file = storage.put(export(item(1, "One", "x")), "text/plain")
        run = Import(name="export.xml", stored_name=file.name)
        db.session.add(run)
        db.session.commit()
        import_wordpress(run.id)
        import_wordpress(run.id)
        found = db.session.scalars(select(Import)).one()
        assert (found.state, found.done, found.total) == ("done", 1, 1)
        assert found.findings["came"]["posts"] == 1
        assert found.finished_at is not None
        assert db.session.scalar(select(StoredFile.mime)) in ("text/plain", "application/xml")


def test_an_upload_that_cannot_be_brought_in_says_why(inside: Inside) -> None:
    from app.content.jobs import import_wordpress

    with inside():
        file = storage.put(b"not an export", "text/plain")
        run = Import(name="export.xml", stored_name=file.name)
        db.session.add(run)
        db.session.commit()
        import_wordpress(run.id)
        found = db.session.scalars(select(Import)).one()
        assert found.state == "failed"
        assert "not an export of WordPress" in found.findings["problems"][0]
