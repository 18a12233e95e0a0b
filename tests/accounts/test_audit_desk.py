"""The page where owners read who did what."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import select

from app.accounts import User
from app.accounts.audit_desk import FORMULAS
from app.facilities import audit
from app.facilities.audit import Audit
from app.tenancy import db
from tests.accounts.people import post
from tests.conftest import PASSWORD
from tests.printed import filled_in

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PAGE = "/desk/settings/audit/"


@pytest.fixture
def owner(alpha, client_for):
    """Olive, signed in from Firefox on Linux."""
    browser = client_for(alpha)
    browser.environ_base["HTTP_USER_AGENT"] = FIREFOX
    fields = filled_in(browser.get("/sign-in").text, "email", email="owner@alpha.test", password=PASSWORD)
    assert browser.post("/sign-in", data=fields).status_code == 303
    return browser


def kinds_at(at, tenant):
    return at(tenant, lambda: db.session.scalars(select(Audit.kind).order_by(Audit.id)).all())


def try_as(browser, email, password="a wrong password"):
    fields = filled_in(browser.get("/sign-in").text, "email", email=email, password=password)
    return browser.post("/sign-in", data=fields)


def test_a_sign_in_moves_the_head_at_once(app, alpha, at, owner):
    last = at(alpha, lambda: db.session.scalars(select(Audit.id).order_by(Audit.id.desc())).first())
    with app.app_context():
        assert audit.standing(alpha.id).row_id == last


def test_an_owner_reads_in_plain_sentences_what_happened(owner):
    page = owner.get(PAGE).text
    assert "Olive of Alpha Allotments signed in from Firefox on Linux" in page
    assert PAGE in owner.get("/desk/settings/").text


def test_what_was_and_what_is_are_told_on_the_page_and_in_the_download(owner):
    given = {"name": "Talkers", "permissions": ["chat.talk"]}
    post(owner, "/desk/people/roles/new", **given)
    post(owner, "/desk/people/roles/1", **given | {"permissions": ["chat.talk", "people.see"]})
    post(owner, "/desk/profile/name", name="Olive Oyl")
    post(owner, "/desk/settings/security/", second_factor="", by_letter="y")
    post(owner, "/desk/settings/visits", may_change="y")
    page = owner.get(PAGE).text
    for told in (
        "May: See who is here; Talk in rooms (Talk in rooms until then)",
        "Name: Olive Oyl (Olive of Alpha Allotments until then)",
        "A letter may stand for the password: yes (no until then)",
        "Visits may: change things (only look until then)",
    ):
        assert told in page
    assert "Who has to have a second factor:" not in page, "that was not changed"
    rows = csv.DictReader(io.StringIO(owner.get(f"{PAGE}rows.csv").text, newline=""))
    values = {row["kind"]: (row["before"], row["after"]) for row in rows}
    assert values["person_renamed"] == ("Name: Olive of Alpha Allotments", "Name: Olive Oyl")
    assert values["signed_in"] == ("", "")


def test_visitors_sign_in_first_and_members_are_kept_out(alpha, at, client_for, owner):
    assert client_for(alpha).get(PAGE).status_code == 302
    at(alpha, lambda: setattr(User.by_email("owner@alpha.test"), "role", "member"))
    assert owner.get(PAGE).status_code == 404
    assert owner.get(f"{PAGE}rows.csv").status_code == 404


def test_failed_tries_are_told_without_what_was_typed(alpha, beta, at, client_for):
    stranger = client_for(alpha)
    for _ in range(3):
        try_as(stranger, "Owner@alpha.test", "hunter2 hunter2")
        try_as(stranger, "somebody@elsewhere.test")
    rows = at(alpha, lambda: db.session.scalars(select(Audit).where(Audit.kind == "sign_in_failed")).all())
    assert sorted(row.subject for row in rows) == ["", "owner@alpha.test"], "one a minute for an address"
    told = "".join(f"{row.actor}{row.subject}{row.detail}" for row in rows)
    assert "hunter2" not in told
    assert "elsewhere" not in told
    assert "sign_in_failed" not in kinds_at(at, beta)


def test_a_cookie_of_another_house_is_told_without_its_name(alpha, beta, at, owner, client_for):
    cookie = owner.get_cookie("freehold", domain="alpha.localhost")
    carrier = client_for(beta)
    for _ in range(3):
        carrier.set_cookie("freehold", cookie.value, domain="beta.localhost")
        carrier.get("/")
    rows = at(beta, lambda: db.session.scalars(select(Audit).where(Audit.kind == "foreign_cookie")).all())
    assert len(rows) == 1
    assert not [row for row in rows if alpha.id in row.detail or "alpha" in row.detail or cookie.value in row.detail]
    assert owner.get("/desk/").status_code == 200, "at home it goes on"


def test_rows_are_found_by_kind_person_and_day(alpha, at, owner):
    at(alpha, lambda: audit.note("person_invited", actor="owner@alpha.test", subject="new@x.test", role="member"))
    day = owner.get(PAGE).text.split('<time datetime="')[1][:10]
    for query, shows_sign_in, shows_invitation in (
        ("kind=signed_in", True, False),
        ("who=new@x", False, True),
        ("who=olive", True, True),
        (f"day={day}", True, True),
        ("day=2020-01-01", False, False),
        ("who=100%25", False, False),
        ("day=yesterday&kind=nonsense", True, True),
    ):
        text = owner.get(f"{PAGE}?{query}").text
        assert ("signed in from" in text, "invited new@x.test as Member" in text) == (
            shows_sign_in,
            shows_invitation,
        ), query
        rows = owner.get(f"{PAGE}rows.csv?{query}").text
        assert ("signed in from" in rows, "invited new@x.test" in rows) == (shows_sign_in, shows_invitation), query
    assert "Nothing like that here" in owner.get(f"{PAGE}?day=2020-01-01").text


def test_a_long_list_has_pages_newest_first(alpha, at, owner):
    def many():
        for number in range(60):
            audit.note("person_removed", actor="owner@alpha.test", subject=f"n{number}@x.test")

    at(alpha, many)
    first, second = owner.get(PAGE).text, owner.get(f"{PAGE}?page=2").text
    assert first.index("n59@x.test") < first.index("n58@x.test")
    assert "n2@x.test" in second
    assert owner.get(f"{PAGE}?page=9").status_code == 404


def test_an_organisation_where_nothing_has_happened_says_so(alpha, owner, monkeypatch):
    monkeypatch.setattr("app.accounts.audit_desk.Wanted.rows", lambda self: select(Audit).where(Audit.id < 0))
    assert "Nothing has happened yet" in owner.get(PAGE).text


def test_what_is_downloaded_is_no_formula_in_a_spreadsheet(alpha, at, owner):
    def planted():
        for start in FORMULAS:
            audit.note("person_removed", actor=f"{start}cmd|' /C calc'!A0", subject=f"{start}1+1")

    at(alpha, planted)
    answer = owner.get(f"{PAGE}rows.csv")
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert len(rows) > len(FORMULAS)
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULAS)]
    assert "'=1+1" in answer.text


def test_what_people_are_called_is_shown_as_text(alpha, at, owner):
    at(alpha, lambda: setattr(User.by_email("owner@alpha.test"), "name", "<script>alert(1)</script>{actor}"))
    page = owner.get(PAGE).text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_signing_out_and_a_chosen_password_are_told(alpha, at, owner):
    fields = filled_in(owner.get("/desk/").text, "csrf_token")
    owner.post("/sign-out", data=fields)
    assert kinds_at(at, alpha)[-1] == "signed_out"
