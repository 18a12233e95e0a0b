"""A preview from outside and inside: who gets in, what it says, and that nothing of it gets out."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import time_machine
from sqlalchemy import select, update

from app.accounts import User, hash_password
from app.accounts.models import SetUpLink
from app.content.models import Entry, Submission
from app.tenancy import db, jobs, platform_context, utcnow
from app.tenancy.due import Due
from app.tenancy.errors import TenantGone
from app.tenancy.ledger import AuditRow
from tests.backups import doing
from tests.conftest import PASSWORD, sign_in
from tests.printed import filled_in, led_to

BACKUPS = "/desk/settings/backups/"


@pytest.fixture
def owner(alpha, signed_in):
    return signed_in(alpha)


@pytest.fixture
def preview(app, alpha, owner, at, tenancy):
    """Open a preview of alpha with a public page and a member, and return it."""
    hashed = hash_password(PASSWORD)

    def plant():
        User.join("mia@alpha.test", "Mia", hashed=hashed)
        entry = Entry.write("page", "Paths and plots", author_id=1, author_name="Olive")
        entry.publish()

    at(alpha, plant)
    moment = doing.copied(app, alpha)
    doing.send(owner, f"{BACKUPS}moments/{moment.seq}/preview")
    assert doing.carried_out(app) == 1
    found = tenancy.registry.by_slug("alpha-preview")
    assert found is not None
    assert found.preview_of == alpha.id
    return found


@pytest.fixture
def inside(preview, owner, client_for):
    """Return a browser that came into the preview by the link its owner followed."""
    browser = client_for(preview)
    come_in(browser, owner.get(f"{BACKUPS}preview/open").location)
    return browser


def come_in(browser, link):
    """Follow a link into a preview as a browser would, and press its button."""
    path = urlsplit(link).path
    page = browser.get(path)
    assert page.status_code == 200, page.text
    answer = browser.post(path, data=filled_in(page.text))
    assert answer.location == "/desk/"
    return path


def audit(app, kind):
    with app.app_context(), platform_context(writes=False):
        return db.session.scalars(select(AuditRow).where(AuditRow.kind == kind)).all()


# From outside.


@pytest.mark.parametrize(
    "path", ["/", "/paths-and-plots", "/posts/", "/contact", "/desk/", "/files/" + "0" * 64, "/live", "/set-up/x"]
)
def test_visitors_get_the_sign_in_page_and_nothing_else(preview, client_for, path):
    answer = client_for(preview).get(path)
    assert answer.status_code == 302
    assert answer.location.startswith("/sign-in?next=")
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"


def test_the_sign_in_page_says_what_this_is(preview, client_for):
    page = client_for(preview).get("/sign-in").text
    assert "This is a preview of Alpha Allotments as of" in page
    assert "http://alpha.localhost" in page, "the way back to today"


def test_what_visitors_send_is_refused(preview, client_for, at):
    browser = client_for(preview)
    assert browser.post("/contact", data={"name": "Eve", "text": "Let me in"}).status_code == 403
    assert browser.post("/desk/content/preview", data={}).status_code == 403


def test_no_index_learns_of_it(preview, inside, client_for):
    for browser in (inside, client_for(preview)):
        assert browser.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"
        assert browser.get("/sitemap.xml").status_code == 404
        assert browser.get("/feed.xml").status_code == 404
    assert "feed.xml" not in inside.get("/").text


def test_the_living_site_is_as_open_as_before(alpha, preview, client_for):
    visitor = client_for(alpha)
    page = visitor.get("/paths-and-plots")
    assert page.status_code == 200
    assert "X-Robots-Tag" not in page.headers
    assert "You are looking at" not in page.text
    assert visitor.get("/feed.xml").status_code == 200
    assert "Sitemap:" in visitor.get("/robots.txt").text


def test_an_owner_may_come_in_with_the_password(preview, client_for):
    browser = client_for(preview)
    sign_in(browser, "owner@alpha.test")
    assert "Paths and plots" in browser.get("/paths-and-plots").text


def test_a_member_is_answered_as_with_a_wrong_password(preview, client_for):
    browser = client_for(preview)
    page = browser.get("/sign-in").text
    right, wrong = (
        browser.post("/sign-in", data=filled_in(page, "email", email="mia@alpha.test", password=password))
        for password in (PASSWORD, "not the password")
    )
    assert right.status_code == wrong.status_code == 422
    assert "do not belong together" in right.text
    assert browser.get("/").status_code == 302


def test_who_is_no_owner_today_does_not_come_in_as_one_of_the_past(alpha, preview, client_for, at):
    def demote():
        User.by_email("owner@alpha.test").role = "member"

    at(alpha, demote)
    browser = client_for(preview)
    with pytest.raises(AssertionError):
        sign_in(browser, "owner@alpha.test")


def test_a_cookie_of_the_living_house_opens_no_preview(alpha, owner, preview, client_for):
    cookie = owner.get_cookie("freehold", domain="alpha.localhost")
    browser = client_for(preview)
    browser.set_cookie("freehold", cookie.value, domain=browser.host)
    assert browser.get("/desk/").status_code == 302


# The link.


def test_the_link_works_once_and_it_is_noted_who_looked(app, alpha, preview, owner, client_for, at):
    link = owner.get(f"{BACKUPS}preview/open").location
    browser = client_for(preview)
    path = come_in(browser, link)
    assert "Paths and plots" in browser.get("/desk/content/").text
    assert client_for(preview).get(path).status_code == 404
    assert client_for(preview).post(path).status_code == 404
    rows = audit(app, "preview_looked_at")
    assert [(row.tenant_id, row.other_tenant_id, row.actor) for row in rows] == [
        (alpha.id, preview.id, "owner@alpha.test")
    ]
    spent = at(preview, lambda: db.session.scalars(select(SetUpLink.token_hash)).all())
    assert path.rpartition("/")[2] not in str(spent), "only its hash is kept"


def test_reading_the_link_spends_nothing(preview, owner, client_for):
    link = owner.get(f"{BACKUPS}preview/open").location
    for _ in range(3):
        assert client_for(preview).get(urlsplit(link).path).status_code == 200
    come_in(client_for(preview), link)


def test_the_link_holds_for_five_minutes(preview, owner, client_for):
    with time_machine.travel(utcnow(), tick=False) as clock:
        path = urlsplit(owner.get(f"{BACKUPS}preview/open").location).path
        clock.shift(299)
        assert client_for(preview).get(path).status_code == 200
        clock.shift(2)
        assert client_for(preview).get(path).status_code == 404


def test_the_link_opens_no_other_house(app, alpha, beta, preview, owner, client_for):
    path = urlsplit(owner.get(f"{BACKUPS}preview/open").location).path
    assert client_for(alpha).get(path).status_code == 404
    assert client_for(beta).get(path).status_code == 404
    altered = path[:-1] + ("0" if path[-1] != "0" else "1")
    assert client_for(preview).get(altered).status_code == 404
    for nonsense in ("/look/x", "/look/.", "/look/%C3%A9.%C3%A9"):
        assert client_for(preview).get(nonsense).status_code == 404, nonsense


def test_the_link_opens_no_preview_of_another_house(app, beta, preview, owner, signed_in, client_for, tenancy):
    moment = doing.copied(app, beta)
    doing.send(signed_in(beta), f"{BACKUPS}moments/{moment.seq}/preview")
    doing.carried_out(app)
    path = urlsplit(owner.get(f"{BACKUPS}preview/open").location).path
    assert client_for(tenancy.registry.by_slug("beta-preview")).get(path).status_code == 404
    assert client_for(preview).get(path).status_code == 200


def test_an_owner_who_came_later_still_gets_in(app, alpha, preview, client_for, at):
    hashed = hash_password(PASSWORD)
    at(alpha, lambda: User.join("new@alpha.test", "Nora", role="owner", hashed=hashed))
    late = client_for(alpha)
    sign_in(late, "new@alpha.test")
    browser = client_for(preview)
    come_in(browser, late.get(f"{BACKUPS}preview/open").location)
    assert "Nora" in browser.get("/desk/").text


# Inside.


def test_every_page_says_that_it_shows_the_past(inside):
    for path in ("/", "/paths-and-plots", "/desk/", "/desk/content/", "/desk/chat/rooms/1", "/no-such-page"):
        page = inside.get(path).text
        assert "You are looking at Alpha Allotments as it was on" in page, path
        assert "changes here are thrown away" in page, path
        assert "Back to today" in page, path


def test_the_contact_form_is_closed(preview, inside, at):
    page = inside.get("/contact").text
    assert "This form is closed" in page
    assert "Send message" not in page
    token = re.search(r'name="csrf_token" value="([^"]+)"', page).group(1)
    sent = {"csrf_token": token, "name": "Eve", "email": "eve@example.org", "text": "My words"}
    answer = inside.post("/contact", data=sent)
    assert answer.status_code == 403
    assert "My words" in answer.text, "they are handed back"
    assert at(preview, lambda: db.session.scalars(select(Submission)).all()) == []


def test_no_job_of_the_past_runs(app, preview, inside):
    with app.app_context(), pytest.raises(TenantGone):
        jobs.open_tenant(preview.id)
    assert preview.max_jobs == 0


def test_there_is_no_past_of_the_past(inside):
    assert inside.get(BACKUPS).status_code == 404
    page = inside.get("/desk/settings/").text
    assert "Go back in time" not in page
    assert [path for path in led_to(page) if inside.get(path).status_code != 200] == []


def test_it_is_discarded_from_inside(app, alpha, preview, inside, tenancy):
    page = inside.get("/desk/").text
    assert inside.post("/look/end", data=filled_in(page)).status_code == 200
    doing.carried_out(app)
    assert (
        tenancy.registry.by_slug("alpha-preview") is None
        or tenancy.registry.by_slug("alpha-preview").state == "deleted"
    )


def test_discarding_from_a_living_house_is_not_possible(app, alpha, owner):
    assert doing.send(owner, "/look/end").status_code == 404


def test_an_operator_comes_in_as_a_person_of_the_previews_own(app, alpha, preview, operator, client_for, at):
    link = operator.get("/tenants/alpha/backups/preview/open").location
    browser = client_for(preview)
    come_in(browser, link)
    page = browser.get("/desk/").text
    assert "Operator" in page
    assert "http://platform.localhost" in page, "back to the console, not to a desk they cannot open"
    assert at(alpha, lambda: User.by_email("operator@platform.localhost")) is None
    assert [row.actor for row in audit(app, "preview_looked_at")] == ["operator@platform.test"]


def test_a_preview_whose_file_cannot_be_read_says_so(app, preview, inside, tenancy, client_for):
    tenancy.pool.discard(preview.id)
    file = tenancy.placements.file(preview.id)
    file.write_bytes(b"x" * file.stat().st_size)
    assert inside.get("/desk/").status_code == 503
    assert "You are looking at" in inside.get("/desk/").text
    assert client_for(preview).get("/").status_code == 302


def test_letters_of_the_past_are_shown_and_stay(preview, inside, at):
    at(preview, lambda: db.session.get(User, 1).warn("codes_made"))
    at(preview, lambda: db.session.execute(update(Due).values(set_aside_at=utcnow())))
    page = inside.get("/desk/settings/letters").text
    assert ("Your recovery codes" in page, "Try again" in page) == (True, False)
    form = filled_in(inside.get("/desk/people/").text)
    assert inside.post("/desk/settings/letters/1/attempts", data=form).status_code == 404


def test_nobody_is_invited_or_helped_in_the_past(preview, inside, client_for):
    page = inside.get("/desk/people/")
    assert (page.status_code, "Invite somebody" in page.text) == (200, False)
    form = filled_in(page.text, email="new@example.test", role="owner")
    assert inside.post("/desk/people/invitations/", data=form).status_code == 404
    assert inside.post("/desk/profile/name", data=form).status_code == 404
    assert client_for(preview).get("/sign-in/help").status_code == 404
    assert "forgot" not in client_for(preview).get("/sign-in").text
