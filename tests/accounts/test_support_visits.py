"""Visits of operators: the door for help, and every way to misuse it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from sqlalchemy import select, update

from app import create_app
from app.accounts import Session, User
from app.accounts.models import SupportVisit
from app.content.models import Entry, Media
from app.facilities import audit, limits, storage
from app.facilities.audit import Audit
from app.tenancy import current_tenant, db, platform_context, tenant_context, utcnow
from app.tenancy.ledger import AuditRow
from app.tenancy.registry import Operator, OperatorSession, VisitLeave
from tests.accounts.people import browser_of, invite, join, letters, post
from tests.conftest import _client
from tests.console.operating import asked, operator_of, send, visitor
from tests.printed import filled_in, led_to, printed_token
from tests.tenancy.test_isolation import canaries, digest  # noqa: F401

DESK = {
    "desk.home",
    "content_desk.entries",
    "content_desk.new_entry",
    "content_desk.entry",
    "content_desk.imports",
    "content_desk.show_import",
    "content_desk.menu",
    "settings.show",
    "settings.use",
    "domains_desk.show",
    "settings.example",
    "people.people",
    "audit_desk.show",
}
SITE = {
    "static",
    "ops.healthz",
    "ops.readyz",
    "branding.theme",
    "branding.monogram",
    "branding.logo",
    "content_site.home",
    "content_site.posts",
    "content_site.post",
    "content_site.topic",
    "content_site.feed",
    "content_site.sitemap",
    "content_site.robots",
    "content_site.any_page",
    "content_site.file",
    "content_site.contact",
    "content_site.contact_with_slash",
}
CHANGED = {
    "content_desk.new_entry",
    "content_desk.entry",
    "content_desk.preview",
    "content_desk.publish",
    "content_desk.unpublish",
    "content_desk.trash",
    "content_desk.restore",
    "content_desk.add_line",
    "content_desk.rename_line",
    "content_desk.move_line",
    "content_desk.remove_line",
    "settings.save",
}


def token_of(browser, page="/desk/"):
    return printed_token(browser.get(page).text)


def is_inside(browser):
    return browser.get("/desk/").status_code == 200


def let_change(signed_in, tenant, may=True):
    owner = signed_in(tenant)
    assert post(owner, "/desk/settings/visits", **({"may_change": "y"} if may else {})).status_code == 303


def visit_row(at, tenant):
    return at(tenant, lambda: db.session.scalars(select(SupportVisit).order_by(SupportVisit.id.desc())).first())


def audited(at, tenant, kind):
    return at(tenant, lambda: db.session.scalars(select(Audit).where(Audit.kind == kind).order_by(Audit.id)).all())


def tenant_routes(app, *methods):
    """Yield every route of an organisation but the way out, filled with what the canaries are known by."""
    known = {"slug": "post-published", "path": "page-published", "filename": "a.txt", "token": "x.y", "name": "0" * 64}
    for rule in app.url_map.iter_rules():
        # The API takes no cookie: there a visit is a stranger, as tests/api shows.
        is_ours = rule.subdomain != "platform" and not rule.rule.startswith("/api/")
        if is_ours and rule.endpoint != "accounts.sign_out":
            address = re.sub(r"<(?:\w+:)?(\w+)>", lambda argument: known.get(argument[1], "1"), rule.rule)
            for method in sorted(rule.methods & set(methods)):
                yield rule, address, method


# The ordinary way.


def test_an_operator_comes_in_looks_around_and_leaves(app, at, alpha):
    browser = visitor(app, alpha)
    page = browser.get("/desk/content/").text
    assert "You are visiting" in page
    assert "You only look" in page
    assert "The menu is gone" in page
    over = browser.post("/sign-out", data={"csrf_token": token_of(browser)})
    assert "The visit has ended" in over.text
    assert over.headers["Refresh"].endswith("/tenants/alpha?visit=ended")
    assert not is_inside(browser)
    visit = visit_row(at, alpha)
    assert visit.ended_by == "support@operators.test"


def test_the_console_knows_who_is_there_and_who_has_left(app, alpha):
    operator = operator_of(app, "support")
    asked(operator)
    assert "Link not used yet" in operator.get("/tenants/alpha").text
    with time_machine.travel(utcnow() + timedelta(minutes=6)):
        assert "Link not used yet" not in operator.get("/tenants/alpha").text
    browser = visitor(app, alpha, operator)
    assert "There now" in operator.get("/tenants/alpha").text
    browser.post("/sign-out", data={"csrf_token": token_of(browser)})
    page = operator.get("/tenants/alpha?visit=ended").text
    assert "There now" not in page
    assert "Support visit ended" in page
    assert "The visit has ended." in page


def test_the_line_stands_on_every_page_and_on_nobody_elses(app, alpha, client_for, signed_in):
    browser = visitor(app, alpha)
    for path in (
        "/",
        "/posts/",
        "/desk/",
        "/desk/people/",
        "/desk/settings/",
        "/desk/settings/audit/",
        "/no-such-page",
    ):
        assert "End the visit" in browser.get(path).text, path
        assert "End the visit" not in client_for(alpha).get(path).text, path
        assert "End the visit" not in signed_in(alpha).get(path).text, path


def test_owners_read_who_was_there_and_why(app, alpha, signed_in):
    visitor(app, alpha)
    page = signed_in(alpha).get("/desk/settings/visits").text
    assert "The menu is gone" in page
    assert "support@operators.test" in page
    assert "Here now" in page


def test_a_visit_reads_no_address_in_the_audit_and_finds_nobody_by_one(app, at, alpha, signed_in):
    owner = signed_in(alpha)
    join(at, alpha)
    browser_of(app, alpha, "mia@example.test").get("/desk/")
    invite(owner, "new@example.test")
    browser, page = visitor(app, alpha), "/desk/settings/audit/"
    told = browser.get(page).text.partition("<main")[2]
    assert "Mia Member signed in" in told
    assert "invited somebody as" in told
    assert [mark for mark in ("example.test", "alpha.test", "operators.test") if mark in told] == []
    assert "Mia Member signed in" in browser.get(f"{page}?who=Mia+Mem").text
    for who in ("mia@", "example.test", "new@example.test"):
        assert "No row fits" in browser.get(f"{page}?who={who}").text
    assert "new@example.test" in owner.get(f"{page}?who=new@example.test").text


def test_who_gave_no_name_is_a_member_by_two_letters_and_never_an_address(app, at, alpha, signed_in):
    join(at, alpha, "zoe.quiet@example.test", "", "editor")
    zoe = browser_of(app, alpha, "zoe.quiet@example.test")
    post(zoe, "/desk/content/entries/new?kind=post", title="Quiet news", source="Hush", act="publish")
    browser = visitor(app, alpha)
    for path in ("/desk/", "/desk/people/", "/desk/settings/audit/", "/desk/content/", "/", "/posts/quiet-news"):
        page = browser.get(path)
        assert (page.status_code, "zoe.quiet" in page.text) == (200, False), path
    for path in ("/desk/people/", "/desk/settings/audit/", "/posts/quiet-news"):
        assert "Member zo" in browser.get(path).text, path
    assert "Nobody is called that" in browser.get("/desk/people/?q=quiet").text
    assert "No row fits" in browser.get("/desk/settings/audit/?who=zoe.quiet").text
    assert "zoe.quiet@example.test" in signed_in(alpha).get("/desk/people/").text, "who manages people reads it"


def test_the_owners_hear_of_a_visit_by_letter_and_nobody_else_does(app, at, alpha, work):
    join(at, alpha, "second@example.test", "Second Owner", "owner")
    join(at, alpha, "admin@example.test", "Ada Admin", "admin")
    third = join(at, alpha, "third@example.test", "Third Owner", "owner")
    at(alpha, lambda: db.session.get(User, third).deactivate(by=User.by_email("owner@alpha.test")))
    visitor(app, alpha)
    work(alpha)
    assert [str(letter["To"]) for letter in letters(app)] == [
        "Olive of Alpha Allotments <owner@alpha.test>",
        "Second Owner <second@example.test>",
    ]
    for letter in letters(app):
        told = letter.get_body(("plain",)).get_content()
        assert "The menu is gone" in told
        assert "support@operators.test" in told
        assert "only looks" in told
        assert set(re.findall(r"https?://[^\s\"]+", letter.as_string())) <= {
            "http://alpha.localhost:8000/desk/settings/visits"
        }


def test_both_sides_audit_a_visit(app, at, alpha, signed_in):
    visitor(app, alpha)
    post(signed_in(alpha), f"/desk/settings/visits/{visit_row(at, alpha).id}/end")
    began, ended = (audited(at, alpha, f"support_visit_{what}")[0] for what in ("began", "ended"))
    assert (began.actor, began.told["reason"]) == ("support@operators.test", "The menu is gone")
    assert (ended.actor, ended.subject) == ("owner@alpha.test", "support@operators.test")
    with app.app_context(), platform_context(writes=False):
        rows = db.session.scalars(select(AuditRow).where(AuditRow.tenant_id == alpha.id)).all()
    told = {row.kind: row.actor for row in rows}
    assert told["support_visit_asked"] == told["support_visit_began"] == "support@operators.test"
    assert told["support_visit_ended"] == "owner@alpha.test"


def test_a_visit_takes_no_place_and_is_no_person(app, at, alpha):
    before = at(alpha, lambda: (User.count(), {use.name: use.used for use in limits.uses()}["users"]))
    visitor(app, alpha)
    assert at(alpha, lambda: (User.count(), {use.name: use.used for use in limits.uses()}["users"])) == before
    assert at(alpha, lambda: db.session.scalars(select(Session)).all()) == []


@pytest.mark.parametrize(
    "given", [{"why": ""}, {"why": "  "}, {"minutes": "241"}, {"minutes": "99999"}, {"minutes": ""}]
)
def test_a_visit_needs_a_reason_and_an_end_within_four_hours(app, alpha, given):
    values = {"why": "Help", "minutes": "60", **given}
    assert send(operator_of(app, "support"), "/tenants/alpha/visits", **values).status_code == 422


def test_members_do_not_decide_about_visits(app, at, alpha):
    visitor(app, alpha)
    number = visit_row(at, alpha).id
    join(at, alpha)
    member = browser_of(app, alpha, "mia@example.test")
    assert member.get("/desk/settings/visits").status_code == 404
    assert post(member, "/desk/settings/visits", may_change="y").status_code == 404
    assert post(member, f"/desk/settings/visits/{number}/end").status_code == 404


# What may be seen: two tables against every route there is.


def test_a_visit_sees_what_is_in_the_table_and_nothing_else(app, canaries, alpha):  # noqa: F811
    browser = visitor(app, alpha)
    for rule, address, _ in tenant_routes(app, "GET"):
        answer = browser.get(address)
        where = f"{address} ({rule.endpoint}): {answer.status_code}"
        if rule.endpoint in DESK | SITE:
            assert answer.status_code in (200, 301, 302, 303, 404) or rule.rule == "/readyz", where
            assert not (answer.location or "").startswith("/sign-in"), where
        else:
            assert answer.status_code == 404, where
    for path in (
        "/desk/",
        "/desk/content/",
        "/desk/settings/",
        "/desk/people/",
        "/desk/settings/audit/",
    ):
        assert browser.get(path).status_code == 200, path


def test_a_visit_that_looks_changes_nothing_by_any_route(app, tenancy, canaries, alpha):  # noqa: F811
    browser = visitor(app, alpha)
    token, before, walked = token_of(browser), digest(tenancy, alpha), 0
    for rule, address, method in tenant_routes(app, "POST", "PUT", "PATCH", "DELETE"):
        answer = browser.open(address, method=method, data={"csrf_token": token, "title": "planted", "name": "planted"})
        walked += 1
        assert answer.status_code in (403, 404), f"{method} {address} ({rule.endpoint}): {answer.status_code}"
    assert walked > 60
    assert digest(tenancy, alpha) == before
    assert is_inside(browser)


def test_the_console_leads_to_the_door_and_both_say_whether_changes_are_allowed(app, alpha, signed_in):
    operator = operator_of(app, "support")
    said, change = "let visits only look", {"why": "The menu is gone", "minutes": "60", "wants_change": "y"}
    assert said in operator.get("/tenants/alpha").text
    ready = send(operator, "/tenants/alpha/visits", **change)
    link = ready.headers["Refresh"].removeprefix("0; url=")
    assert link in ready.text
    door = _client(app, alpha.primary_host)
    assert said in door.get(link).text
    let_change(signed_in, alpha)
    assert said not in operator.get("/tenants/alpha").text
    assert "You may change pages and settings" in door.get(link).text


def test_what_was_typed_is_handed_back_when_a_visit_only_looks(app, alpha):
    browser = visitor(app, alpha)
    given = {"csrf_token": token_of(browser), "title": "A long text", "source_format": "markdown"}
    answer = browser.post("/desk/content/entries/new", data=given)
    assert answer.status_code == 403
    assert "<h1>Nothing was changed</h1>" in answer.text
    assert "A long text" in answer.text
    assert "Source format" not in answer.text


def test_the_settings_lead_a_visit_to_what_is_open_to_it(app, alpha):
    browser = visitor(app, alpha)
    listed = led_to(browser.get("/desk/settings/").text)
    assert {"/desk/settings/", "/desk/settings/use", "/desk/settings/audit/"} <= set(listed)
    assert [path for path in listed if browser.get(path).status_code != 200] == []


def test_a_visit_that_may_change_reaches_the_changes_in_the_table_alone(app, canaries, alpha, signed_in):  # noqa: F811
    let_change(signed_in, alpha)
    browser = visitor(app, alpha, wants_change="y")
    token = token_of(browser)
    for rule, address, method in tenant_routes(app, "POST", "PUT", "PATCH", "DELETE"):
        answer = browser.open(address, method=method, data={"csrf_token": token})
        where = f"{method} {address} ({rule.endpoint}): {answer.status_code}"
        if rule.endpoint in CHANGED:
            assert answer.status_code in (200, 302, 303, 404, 409, 422), where
        else:
            assert answer.status_code == 404, where


def test_a_change_on_a_visit_is_done_as_nobody_and_noted(app, at, alpha, signed_in):
    let_change(signed_in, alpha)
    browser = visitor(app, alpha, wants_change="y")
    page = browser.get("/desk/content/entries/new?kind=post")
    data = filled_in(page.text, "title", title="Mended", source="Words.")
    assert browser.post("/desk/content/entries/new?kind=post", data=data).status_code == 303
    entry = at(alpha, lambda: db.session.scalars(select(Entry).where(Entry.title == "Mended")).one())
    assert (entry.author_id, entry.author_name) == (None, "Opal support")
    noted = audited(at, alpha, "support_visit_changed")
    assert [(row.actor, row.told["where"]) for row in noted] == [
        ("support@operators.test", "/desk/content/entries/new")
    ]


def test_wishing_to_change_things_is_not_enough(app, alpha):
    browser = visitor(app, alpha, wants_change="y")
    assert "You only look" in browser.get("/desk/").text
    assert browser.post("/desk/settings/", data={"csrf_token": token_of(browser)}).status_code == 403


def test_a_visit_that_asked_to_look_only_looks_whatever_owners_allow(app, alpha, signed_in):
    let_change(signed_in, alpha)
    browser = visitor(app, alpha)
    assert browser.post("/desk/settings/", data={"csrf_token": token_of(browser)}).status_code == 403


def test_owners_take_the_leave_to_change_back_while_a_visit_goes_on(app, alpha, signed_in):
    let_change(signed_in, alpha)
    browser = visitor(app, alpha, wants_change="y")
    token = token_of(browser)
    assert browser.post("/desk/settings/", data={"csrf_token": token}).status_code == 422
    let_change(signed_in, alpha, may=False)
    assert browser.post("/desk/settings/", data={"csrf_token": token}).status_code == 403


@pytest.mark.parametrize("wants", [{}, {"wants_change": "y"}])
def test_no_visit_makes_a_key_a_person_or_another_rule(app, tenancy, alpha, signed_in, wants):
    """Whatever outlives a visit cannot be made during one: tokens, people, roles, passwords, rules, copies."""
    let_change(signed_in, alpha)
    browser = visitor(app, alpha, **wants)
    token = token_of(browser)
    for path in (
        "/desk/profile/tokens/",
        "/desk/settings/tokens/",
        "/desk/profile/password",
        "/desk/profile/security/",
        "/desk/people/invitations/",
        "/desk/people/1/role",
        "/desk/people/roles/",
        "/desk/settings/visits",
        "/desk/settings/security/",
        "/desk/settings/backups/moments/1/replacement",
        "/sign-in/again",
    ):
        given = {"csrf_token": token, "name": "back door", "email": "x@operators.test", "role": "owner"}
        assert browser.post(path, data=given).status_code in (404, 405), path
        assert browser.get(path).status_code == 404, path
    assert browser.get("/api/v1/me").status_code in (401, 404)
    assert browser.get("/api/v1/members").status_code in (401, 404)


# How it ends.


@pytest.fixture
def other_process(config):
    """A second application on the same files, as another process has it."""
    other = create_app(config)
    other.testing = True
    yield other
    other.extensions["freehold.live"].end()
    other.extensions["tenancy"].close()


def carried(app, browser, tenant):
    """Return the same browser as it speaks to another process."""
    other = _client(app, tenant.primary_host)
    cookie = browser.get_cookie("freehold", domain=tenant.primary_host)
    other.set_cookie("freehold", cookie.value, domain=tenant.primary_host)
    return other


def by_owner(app, at, alpha, operator, signed_in, runner):
    post(signed_in(alpha), f"/desk/settings/visits/{visit_row(at, alpha).id}/end")


def by_operator(app, at, alpha, operator, signed_in, runner):
    browser = carried(app, operator.inside, alpha)
    browser.post("/sign-out", data={"csrf_token": token_of(browser)})


def on_the_console(app, at, alpha, operator, signed_in, runner):
    mark = re.search(r"/visits/(\w+)/end", operator.get("/tenants/alpha").text).group(1)
    assert send(operator, f"/tenants/alpha/visits/{mark}/end").status_code == 303


def by_leaving_the_console(app, at, alpha, operator, signed_in, runner):
    assert send(operator, "/sign-out").status_code == 303


def by_time(app, at, alpha, operator, signed_in, runner):
    ended = update(SupportVisit).values(expires_at=utcnow() - timedelta(seconds=1))
    at(alpha, lambda: db.session.execute(ended))


def by_the_registrys_time(app, at, alpha, operator, signed_in, runner):
    with app.app_context(), platform_context():
        db.session.execute(update(VisitLeave).values(expires_at=utcnow() - timedelta(seconds=1)))
        db.session.commit()


def by_the_end_of_the_session(app, at, alpha, operator, signed_in, runner):
    with app.app_context(), platform_context():
        db.session.execute(update(OperatorSession).values(expires_at=utcnow() - timedelta(seconds=1)))
        db.session.commit()


def by_removal(app, at, alpha, operator, signed_in, runner):
    operator_of(app, "all")
    assert runner("operators", "remove", "support@operators.test", "--yes").exit_code == 0


def by_deletion_of_the_row(app, at, alpha, operator, signed_in, runner):
    with app.app_context(), platform_context():
        db.session.delete(db.session.scalars(select(Operator)).one())
        db.session.commit()


def by_another_role(app, at, alpha, operator, signed_in, runner):
    assert runner("operators", "role", "support@operators.test", "billing").exit_code == 0


def by_another_password(app, at, alpha, operator, signed_in, runner):
    assert runner("operators", "reset", "support@operators.test").exit_code == 0


def by_suspension(app, at, alpha, operator, signed_in, runner):
    assert runner("tenants", "suspend", "alpha", "--reason", "late").exit_code == 0
    assert runner("tenants", "resume", "alpha").exit_code == 0


ENDS = [
    by_owner,
    by_operator,
    on_the_console,
    by_leaving_the_console,
    by_time,
    by_the_registrys_time,
    by_the_end_of_the_session,
    by_removal,
    by_deletion_of_the_row,
    by_another_role,
    by_another_password,
    by_suspension,
]


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_a_visit_is_over_at_once_in_every_process(app, at, alpha, signed_in, runner, other_process, end):
    operator = operator_of(app, "support")
    browser = operator.inside = visitor(app, alpha, operator)
    elsewhere = carried(other_process, browser, alpha)
    token = token_of(browser)
    assert is_inside(browser)
    assert is_inside(elsewhere)
    end(app, at, alpha, operator, signed_in, runner)
    for one in (browser, elsewhere):
        assert not is_inside(one)
        assert one.get("/desk/settings/").status_code == 302
        assert one.post("/desk/settings/", data={"csrf_token": token}).status_code == 403
        assert "End the visit" not in one.get("/").text
        assert one.get("/live").status_code == 401
    assert "Here now" not in signed_in(alpha).get("/desk/settings/visits").text


def test_a_copy_that_is_brought_back_holds_no_visit(app, at, alpha, runner):
    browser = visitor(app, alpha)
    assert runner("backups", "run", "alpha").exit_code == 0
    assert runner("backups", "restore", "alpha", "--at", "latest", "--replace", "--yes").exit_code == 0
    assert not is_inside(browser)


# The link and the cookie.


def test_a_link_works_once(app, alpha):
    link = asked(operator_of(app, "support"))
    first, second = (_client(app, alpha.primary_host) for _ in range(2))
    for _ in range(2):
        assert first.get(link).status_code == 200, "reading it spends nothing"
    assert first.post(link, data={"csrf_token": token_of(first, link)}).status_code == 303
    assert second.get(link).status_code == 404
    assert second.post(link).status_code == 404
    assert not is_inside(second)


def test_a_link_is_for_five_minutes(app, alpha, client_for):
    link = asked(operator_of(app, "support"))
    with app.app_context(), platform_context():
        db.session.execute(update(VisitLeave).values(created_at=utcnow() - timedelta(minutes=5)))
        db.session.commit()
    assert client_for(alpha).get(link).status_code == 404


def test_a_link_dies_with_the_operators_session(app, alpha, client_for):
    operator = operator_of(app, "support")
    link = asked(operator)
    send(operator, "/sign-out")
    assert client_for(alpha).get(link).status_code == 404


def test_a_link_opens_no_other_house(app, alpha, beta, client_for):
    link = asked(operator_of(app, "support"))
    assert client_for(beta).get(link).status_code == 404
    assert client_for(beta).post(link).status_code == 404


def test_a_visits_cookie_at_another_tenant_is_signed_out_and_noted(app, at, alpha, beta):
    inside = visitor(app, alpha)
    cookie = inside.get_cookie("freehold", domain=alpha.primary_host).value
    thief = _client(app, beta.primary_host)
    thief.set_cookie("freehold", cookie, domain=beta.primary_host)
    answer = thief.get("/desk/")
    assert answer.status_code == 302
    assert "freehold=;" in answer.headers["Set-Cookie"]
    assert audited(at, beta, "foreign_cookie")
    assert is_inside(inside)


def test_a_visits_cookie_opens_no_console(app, alpha, platform):
    inside = visitor(app, alpha)
    cookie = inside.get_cookie("freehold", domain=alpha.primary_host).value
    platform.set_cookie("freehold", cookie, domain="platform.localhost")
    assert platform.get("/").status_code == 302


def test_nothing_that_is_stored_lets_anybody_in(app, at, alpha, client_for):
    """Neither the tenant's file nor the registry holds the secret of a link or a cookie."""
    link = asked(operator_of(app, "support"))
    inside = _client(app, alpha.primary_host)
    inside.post(link, data={"csrf_token": token_of(inside, link)})
    secrets = [link.rpartition("/")[2], inside.get_cookie("freehold", domain=alpha.primary_host).value.split(".")[1]]
    with app.app_context(), platform_context(writes=False):
        leave = repr([vars(row) for row in db.session.scalars(select(VisitLeave))])
        told = repr([row.detail for row in db.session.scalars(select(AuditRow))])
    visits = at(alpha, lambda: repr([vars(row) for row in db.session.scalars(select(SupportVisit))]))
    acts = at(alpha, lambda: repr([row.detail for row in db.session.scalars(select(Audit))]))
    for secret in secrets:
        assert not [place for place in (leave, told, visits, acts) if secret in place]


def test_a_form_from_another_site_is_refused_on_a_visit(app, alpha, signed_in):
    let_change(signed_in, alpha)
    browser = visitor(app, alpha, wants_change="y")
    assert browser.post("/desk/settings/", data={"name": "Taken over"}).status_code == 403
    given = {"csrf_token": token_of(browser)}
    assert browser.post("/desk/settings/", data=given, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


# Who may not.


@pytest.mark.parametrize("role", ["billing", "read-only"])
def test_an_operator_of_another_role_gets_no_leave(app, alpha, role):
    operator = operator_of(app, role)
    assert send(operator, "/tenants/alpha/visits", why="Let me in", minutes="60").status_code == 404
    with app.app_context(), platform_context(writes=False):
        assert db.session.scalars(select(VisitLeave)).all() == []


def test_an_operator_who_has_not_proved_themselves_lately_is_asked_to(app, alpha):
    operator = operator_of(app, "support")
    token = printed_token(operator.get("/tenants/alpha").text)
    with app.app_context(), platform_context():
        db.session.execute(update(OperatorSession).values(proved_at=utcnow() - timedelta(minutes=6)))
        db.session.commit()
    asks = operator.post("/tenants/alpha/visits", data={"csrf_token": token, "why": "The menu", "minutes": "60"})
    assert asks.status_code == 403
    assert "/sign-in/visit/" not in asks.text
    with app.app_context(), platform_context(writes=False):
        assert db.session.scalars(select(VisitLeave)).all() == []


def test_nobody_visits_who_is_not_an_operator(app, alpha, platform, signed_in, client_for):
    assert platform.post("/tenants/alpha/visits", data={"why": "x", "minutes": "60"}).status_code == 403
    assert signed_in(alpha).post("/tenants/alpha/visits", data={"why": "x"}).status_code in (403, 404, 405)
    assert client_for(alpha).get("/sign-in/visit/guessed").status_code == 404


def test_a_paused_organisation_is_not_visited(app, alpha, runner):
    link = asked(operator_of(app, "support"))
    runner("tenants", "suspend", "alpha", "--reason", "late")
    operator = operator_of(app, "support")
    assert send(operator, "/tenants/alpha/visits", why="x", minutes="60").status_code == 404
    assert _client(app, alpha.primary_host).get(link).status_code == 503


def test_an_owner_who_is_out_ends_no_visit(app, at, alpha, client_for):
    browser = visitor(app, alpha)
    assert client_for(alpha).post(f"/desk/settings/visits/{visit_row(at, alpha).id}/end").status_code == 403
    assert is_inside(browser)


# What was stored, and what is happening.


def test_stored_files_are_shut_again_after_a_visit(app, at, alpha, client_for):
    def keep():
        stored = storage.put(b"for members", "text/plain")
        db.session.add(Media(name="list.txt", mime=stored.mime, stored_name=stored.name))
        return f"/files/{stored.name}/list.txt"

    address = at(alpha, keep)
    assert client_for(alpha).get(address).status_code == 404
    browser = visitor(app, alpha)
    seen = browser.get(address)
    assert (seen.status_code, seen.headers["Cache-Control"]) == (200, "private, no-store")
    browser.post("/sign-out", data={"csrf_token": token_of(browser)})
    again = browser.get(address, headers={"If-None-Match": seen.headers.get("ETag", "*")})
    assert again.status_code == 404


def test_a_visit_hears_no_live_stream(app, alpha):
    assert visitor(app, alpha).get("/live").status_code == 404


def test_the_chain_of_the_audit_holds_after_visits(app, alpha, signed_in):
    visitor(app, alpha)
    with app.app_context(), tenant_context(alpha):
        assert audit.verify(current_tenant()) is None
