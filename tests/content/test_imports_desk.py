"""Bringing in an export from the desk, and reading what became of it."""

import io
import json

import pytest
from sqlalchemy import select

from app.content.models import Import
from app.tenancy import db
from tests.printed import printed_token

REPORT = {
    "came": {"pages": 21, "posts": 51},
    "changed": [{"what": "picture", "title": "Cat <b>", "why": "Its host is gone.", "count": 3}],
    "left": [{"what": "comment", "title": "On frost", "why": "Comments are not kept.", "count": 32}],
    "left_total": 32,
}


@pytest.fixture
def run(alpha, inside):
    def make(**facts) -> int:
        with inside(alpha):
            row = Import(name="old-site.xml", **facts)
            db.session.add(row)
            db.session.flush()
            return row.id

    return make


def test_a_finished_import_shows_its_report_as_tables(alpha, signed_in, run):
    number = run(state="done", done=72, total=72, report=json.dumps(REPORT))
    page = signed_in(alpha).get(f"/desk/content/imports/{number}")
    assert 'http-equiv="refresh"' not in page.text
    assert "hx-trigger" not in page.text
    for word in ("51", "Its host is gone.", "Comments are not kept.", "Left out (32)", "Cat &lt;b&gt;"):
        assert word in page.text


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_running_import_shows_how_far_it_is_and_looks_again(alpha, signed_in, run, state):
    number = run(state=state, done=30, total=72)
    page = signed_in(alpha).get(f"/desk/content/imports/{number}")
    assert '<noscript><meta http-equiv="refresh"' in page.text
    assert 'hx-trigger="every 2s"' in page.text
    assert 'max="72"' in page.text
    assert 'value="30"' in page.text


def test_the_list_names_earlier_imports_and_only_our_own(alpha, beta, signed_in, run):
    number = run(state="failed")
    assert "old-site.xml" in signed_in(alpha).get("/desk/content/imports/").text
    assert "old-site.xml" not in signed_in(beta).get("/desk/content/imports/").text
    assert signed_in(beta).get(f"/desk/content/imports/{number}").status_code == 404


def test_a_form_without_a_file_is_refused_with_advice(alpha, signed_in):
    browser = signed_in(alpha)
    token = printed_token(browser.get("/desk/content/imports/").text)
    answer = browser.post("/desk/content/imports/", data={"csrf_token": token})
    assert answer.status_code == 422
    assert "Please choose the .xml file" in answer.text


def test_with_the_queue_down_an_upload_waits_for_its_turn(alpha, signed_in, inside, work):
    browser = signed_in(alpha)
    token = printed_token(browser.get("/desk/content/imports/").text)
    upload = {"csrf_token": token, "file": (io.BytesIO(b"<rss/>"), "old-site.xml")}
    answer = browser.post("/desk/content/imports/", data=upload, content_type="multipart/form-data")
    assert answer.status_code == 303
    with inside(alpha):
        assert db.session.scalars(select(Import.state)).all() == ["waiting"]
    work(alpha)
    with inside(alpha):
        assert db.session.scalars(select(Import.state)).all() == ["failed"], "this one is no export"
