"""What an organisation finds on the first day, and the three to look around in."""

import re

import pytest
from sqlalchemy import func, select

from app.content.demo import fill, read
from app.content.models import Entry, MenuItem
from app.tenancy import db, tenant_context

SLUGS = ["riverside", "foodbank", "meridian"]


@pytest.fixture
def riverside(app, tenancy):
    with app.app_context():
        tenant = tenancy.lifecycle.create("riverside", "Riverside Rowing Club")
        fill("riverside")
        return tenant


@pytest.mark.parametrize("slug", SLUGS)
def test_each_has_pages_posts_and_one_of_every_state(slug):
    _, *texts = read(slug)
    kinds = [text.kind for text in texts]
    assert 6 <= kinds.count("page") <= 10
    assert 6 <= kinds.count("post") <= 8
    assert sum("draft" in text.facts for text in texts) == 1
    assert sum(text.facts.get("at", "").startswith("+") for text in texts) == 1
    assert sum(text.facts.get("visibility") == "members" for text in texts) == 1
    assert any("|---" in text.body for text in texts)


def test_filling_twice_doubles_nothing_and_keeps_what_was_changed(app, riverside, inside):
    def counts():
        return db.session.scalar(select(func.count(Entry.id))), db.session.scalar(select(func.count(MenuItem.id)))

    with inside(riverside):
        before = counts()
        about = db.session.scalars(select(Entry).where(Entry.path == "about")).one()
        about.revise("About us", "Changed by hand.")
    with app.app_context():
        fill("riverside")
    with inside(riverside):
        assert counts() == before
        assert db.session.get(Entry, about.id).title == "About us"


def test_every_internal_link_of_the_demo_answers(riverside, client_for, signed_in):
    browser = client_for(riverside)
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = browser.get(path)
        assert answer.status_code in (200, 302), path
        waiting += [link.split("#")[0] or "/" for link in re.findall(r'href="(/(?!static)[^"]*)"', answer.text)]
    assert len([path for path in seen if path.startswith("/posts/")]) >= 8
    assert "/boats-and-keys" not in seen


def test_the_demo_names_no_other_organisation(riverside, client_for):
    assert "Riverside Rowing Club" in client_for(riverside).get("/").text
    assert client_for(riverside).get("/boats-and-keys").status_code == 404


def test_a_name_cannot_write_markdown_on_its_own_front_page(app, tenancy):
    with app.app_context():
        odd = tenancy.lifecycle.create("odd", "**Bold** [link](/evil) <b>")
        with tenant_context(odd):
            page = db.session.scalars(select(Entry).where(Entry.is_front)).one()
    assert "**Bold** [link](" in page.html
    assert ">link</a>" not in page.html
