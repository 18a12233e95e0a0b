"""What is kept in memory, and that it is never shown a moment too long."""

import subprocess
import sys
import textwrap

import pytest

from app import create_app
from app.content.models import Entry, MenuItem
from app.tenancy import db, platform_context, tenant_context, utcnow
from app.tenancy.registry import Domain

WRITER = """
    import sys
    from app import create_app
    from app.content.models import Entry
    from app.tenancy import db, tenancy, tenant_context
    app = create_app()
    with app.app_context(), tenant_context(tenancy.registry.by_slug("alpha")):
        entry = db.session.get(Entry, int(sys.argv[1]))
        entry.revise("Changed elsewhere", "By another process.")
        db.session.commit()
"""


@pytest.fixture
def pages(app):
    return app.extensions["freehold.pages"]


def test_the_second_visitor_gets_the_kept_page(alpha, client_for, publish, pages):
    publish(alpha, "post", "Frost")
    first, second = (client_for(alpha).get("/posts/frost") for _ in range(2))
    assert first.data == second.data
    assert pages.hits == 1
    for name in ("Content-Type", "ETag", "Cache-Control", "Content-Security-Policy"):
        assert first.headers[name] == second.headers[name]


def test_each_house_has_its_own_kept_pages(alpha, beta, client_for, publish, pages):
    for tenant in (alpha, beta):
        publish(tenant, "post", "Frost", f"In {tenant.name}.")
    for _ in range(2):
        for tenant in (alpha, beta):
            assert f"In {tenant.name}." in client_for(tenant).get("/posts/frost").text
    assert pages.hits == 2


def test_a_change_shows_at_once(alpha, client_for, publish, change):
    entry = publish(alpha, "post", "Frost")
    browser = client_for(alpha)
    assert browser.get("/posts/frost").status_code == 200
    change(alpha, entry, "revise", "Thaw", "It melts.")
    assert "It melts." in browser.get("/posts/frost").text
    change(alpha, entry, "trash")
    assert browser.get("/posts/frost").status_code == 404
    assert "Thaw" not in browser.get("/").text


def test_a_change_by_another_process_shows_at_once(app, alpha, home, client_for, publish):
    entry = publish(alpha, "post", "Frost")
    browser = client_for(alpha)
    before = browser.get("/posts/frost")
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(entry)], env={"FREEHOLD_HOME": str(home)}, check=True
    )
    after = browser.get("/posts/frost", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert "By another process." in after.text
    assert "Changed elsewhere" in browser.get("/").text


def test_a_change_of_the_menu_shows_on_every_page(alpha, client_for, publish, inside):
    publish(alpha, "page", "About")
    browser = client_for(alpha)
    assert "Shop" not in browser.get("/about").text
    with inside(alpha):
        MenuItem.add("Shop", url="https://shop.example")
    assert "Shop" in browser.get("/about").text


def test_a_members_page_is_kept_for_nobody(alpha, signed_in, client_for, publish, pages):
    publish(alpha, "page", "Open", visibility="public")
    publish(alpha, "page", "Within", visibility="members")
    member = signed_in(alpha)
    for path in ("/open", "/within", "/"):
        assert member.get(path).headers["Cache-Control"] == "private, no-store"
    assert pages.bytes == 0
    assert client_for(alpha).get("/within").status_code == 404


def test_a_visitors_kept_page_is_not_what_a_member_gets(alpha, signed_in, client_for, publish):
    publish(alpha, "post", "For us", visibility="members")
    assert "For us" not in client_for(alpha).get("/posts/").text
    assert "For us" in signed_in(alpha).get("/posts/").text
    assert "For us" not in client_for(alpha).get("/posts/").text


def test_unknown_queries_are_not_kept_and_not_found_pages_neither(alpha, client_for, pages):
    browser = client_for(alpha)
    for number in range(5):
        browser.get(f"/?utm={number}")
        browser.get(f"/posts/?page={number}")
        browser.get(f"/?page={number}")
        browser.get(f"/nothing-{number}")
    assert pages.bytes == 0


def test_pages_take_no_more_memory_than_the_setting_says(home, config_of, publish, alpha):
    app = create_app(config_of(home, FREEHOLD_PAGE_CACHE_BYTES="20000"))
    app.testing = True
    with app.app_context(), tenant_context(alpha):
        for number in range(12):
            Entry.write("post", f"Post {number}", "words " * 300).publish()
        db.session.commit()
    for number in range(12):
        assert app.test_client().get(f"/posts/post-{number}", base_url="http://alpha.localhost").status_code == 200
    assert 0 < app.extensions["freehold.pages"].bytes <= 20000
    app.extensions["tenancy"].close()


def test_with_the_setting_at_0_nothing_is_kept(home, config_of):
    app = create_app(config_of(home, FREEHOLD_PAGE_CACHE_BYTES="0"))
    app.testing = True
    for _ in range(2):
        assert app.test_client().get("/", base_url="http://alpha.localhost").status_code == 200
    assert app.extensions["freehold.pages"].bytes == app.extensions["freehold.pages"].hits == 0
    app.extensions["tenancy"].close()


def test_a_new_primary_host_changes_every_page(app, alpha, client_for, publish):
    publish(alpha, "post", "Frost")
    browser = client_for(alpha)
    before = browser.get("/posts/frost")
    with app.app_context(), platform_context():
        db.session.get(Domain, "alpha.localhost").is_primary = False
        db.session.flush()
        db.session.add(Domain(host="alpha.example", tenant_id=alpha.id, is_primary=True, created_at=utcnow()))
        db.session.commit()
    after = browser.get("/posts/frost")
    assert after.headers["ETag"] != before.headers["ETag"]
    assert "http://alpha.example:8000/posts/frost" in after.text
