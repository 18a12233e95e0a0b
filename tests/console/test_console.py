"""The operators' pages: who gets in, what they see, and what they do to organisations."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import insert, select

from app.ops import meetings
from app.tenancy import db, platform_context, utcnow
from app.tenancy.ledger import AuditRow, MigrationRun
from app.tenancy.registry import Domain, Tenant
from tests.backups.doing import copy_of, noted
from tests.printed import filled_in, printed_token

PASSWORD = "a long enough password"


def send(client, path, **values):
    return client.post(path, data={"csrf_token": printed_token(client.get("/settings/").text), **values})


@pytest.mark.parametrize("path", ["/", "/tenants/", "/tenants/new", "/tenants/alpha", "/settings/"])
def test_visitors_are_asked_to_sign_in(alpha, platform, path):
    assert platform.get(path).location == f"/sign-in?next={path}"


@pytest.mark.parametrize(
    "path", ["/tenants/new", "/tenants/alpha/suspension", "/tenants/alpha/archive", "/settings/", "/sign-out"]
)
def test_visitors_change_nothing(alpha, platform, tenancy, path):
    assert platform.post(path, data={"reason": "because"}).status_code == 403
    assert tenancy.registry.by_slug("alpha").state == "active"


@pytest.mark.parametrize("path", ["/tenants/", "/tenants/alpha", "/settings/"])
def test_the_console_answers_on_no_tenants_host(alpha, signed_in, path):
    assert signed_in(alpha).get(path).status_code == 404


def test_the_desk_answers_not_on_the_platforms_host(operator):
    assert operator.get("/desk/").status_code == 404


def test_an_operator_signs_in_and_out(operator):
    assert "Needs a look" in operator.get("/").text
    assert send(operator, "/sign-out").location == "/sign-in"
    assert operator.get("/").status_code == 302


def test_a_members_password_opens_no_console(alpha, platform):
    token = printed_token(platform.get("/sign-in").text)
    given = {"csrf_token": token, "email": "owner@alpha.test", "password": PASSWORD}
    assert platform.post("/sign-in", data=given).status_code == 422


def test_the_eleventh_try_has_to_wait(platform):
    token = printed_token(platform.get("/sign-in").text)
    given = {"csrf_token": token, "email": "operator@platform.test", "password": "wrong"}
    answers = [platform.post("/sign-in", data=given).status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]


def test_the_console_is_kept_out_of_caches(operator):
    for path in ("/", "/tenants/", "/settings/", "/sign-in"):
        assert operator.get(path).headers["Cache-Control"] == "private, no-store", path


def test_a_suspension_acts_on_the_next_request_and_says_why(alpha, beta, operator, client_for, signed_in):
    member = signed_in(alpha)
    assert send(operator, "/tenants/alpha/suspension", reason="The bill is open").status_code == 303
    page = operator.get("/tenants/alpha").text
    assert "The bill is open" in page
    assert "is suspended from now on" in page
    assert client_for(alpha).get("/").status_code == 503
    assert member.get("/desk/").status_code == 503
    assert client_for(beta).get("/").status_code == 200
    assert "The bill is open" in operator.get("/").text


def test_states_are_called_on_the_console_what_they_are_called_on_the_command_line(operator, runner):
    send(operator, "/tenants/alpha/archive")
    assert "archived" in runner("tenants", "list", "--state", "archived").output
    pages = [operator.get(path).text for path in ("/tenants/alpha", "/", "/tenants/")]
    assert "is archived" in pages[0]
    assert all("Archived" in page and "losed" not in page.replace("has been closed", "") for page in pages)


def test_a_suspension_needs_a_reason(alpha, operator, client_for):
    assert send(operator, "/tenants/alpha/suspension", reason=" ").status_code == 422
    assert client_for(alpha).get("/").status_code == 200


def test_an_organisation_is_resumed(alpha, operator, client_for):
    send(operator, "/tenants/alpha/suspension", reason="Asked for")
    assert send(operator, "/tenants/alpha/suspension/end").status_code == 303
    assert client_for(alpha).get("/").status_code == 200


def test_an_organisation_is_closed(alpha, operator, client_for):
    send(operator, "/tenants/alpha/archive")
    assert client_for(alpha).get("/").status_code == 410


def test_a_move_that_is_not_possible_is_explained(alpha, operator):
    send(operator, "/tenants/alpha/archive")
    send(operator, "/tenants/alpha/suspension", reason="Too late")
    assert "needs one that is active" in operator.get("/tenants/alpha").text


def test_an_unknown_organisation_is_not_found(operator):
    assert operator.get("/tenants/nobody").status_code == 404
    assert send(operator, "/tenants/nobody/suspension", reason="x").status_code == 404


def test_a_new_organisation_answers_and_its_owner_comes_in_by_the_link(app, operator, tenancy, client_for):
    made = send(
        operator,
        "/tenants/new",
        name="Gamma Gärtnerei",
        owner="greta@gamma.test",
        tier="standard",
        domain="gamma.example",
    )
    assert made.status_code == 201
    tenant = tenancy.registry.by_slug("gamma-gartnerei")
    assert (tenant.name, tenant.primary_host, tenant.state) == ("Gamma Gärtnerei", "gamma.example", "active")
    link = made.text.split('id="link">')[1].split("<")[0]
    path = "/set-up/" + link.split("/set-up/")[1]
    client = client_for(tenant)
    chosen = {"csrf_token": printed_token(client.get(path).text), "password": "four unrelated words"}
    assert client.post(path, data=chosen).location == "/desk/"
    assert client.get("/desk/").status_code == 200


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "Alpha"}, "is taken"),
        ({"name": "Admin"}, "kept for the platform"),
        ({"name": "漢字"}, "cannot be a short name"),
        ({"name": "Gamma", "domain": "no host"}, "is not a host name"),
        ({"name": "Gamma", "domain": "alpha.localhost"}, "belongs to another tenant"),
        ({"name": "Gamma", "owner": "nobody"}, "is not an e-mail address"),
        ({"name": ""}, "organisation&#39;s name"),
    ],
)
def test_an_organisation_that_cannot_be_made_is_explained_and_leaves_nothing(alpha, operator, tenancy, given, said):
    before = {tenant.slug for tenant in tenancy.registry.tenants()}
    answer = send(operator, "/tenants/new", **{"owner": "greta@gamma.test", "tier": "standard", **given})
    assert answer.status_code == 422
    assert said in answer.text
    assert {tenant.slug for tenant in tenancy.registry.tenants()} == before


def test_organisations_are_found_by_name_domain_and_state(alpha, beta, operator):
    def found(**asked):
        page = operator.get("/tenants/", query_string=asked).text
        return ["/tenants/alpha" in page, "/tenants/beta" in page]

    assert found(q="ALLOT") == [True, False]
    assert found(q="beta.local") == [False, True]
    assert found(q="%") == found(q="al_ha") == [False, False]
    send(operator, "/tenants/beta/suspension", reason="Asked for")
    assert found(state="suspended") == [False, True]
    page = operator.get("/tenants/").text
    assert page.index("/tenants/beta") < page.index("/tenants/alpha")


def test_ten_thousand_organisations_are_shown_a_page_at_a_time(app, alpha, operator):
    rows = [
        {"id": f"{n:032x}", "slug": f"club-{n:05}", "name": f"Club {n}", "state": "active", "reason": ""}
        for n in range(10_000)
    ]
    fixed = {
        "tier_name": "standard",
        "placement": "ready",
        "generation": 1,
        "schema": "",
        "hidden": False,
        "created_at": utcnow(),
    }
    with app.app_context(), platform_context():
        db.session.execute(insert(Tenant), [row | fixed for row in rows])
        hosts = [
            {
                "host": f"{row['slug']}.localhost",
                "tenant_id": row["id"],
                "is_primary": True,
                "created_at": utcnow(),
            }
            for row in rows
        ]
        db.session.execute(insert(Domain), hosts)
        db.session.commit()
    page = operator.get("/tenants/?page=100").text
    assert "Page 100 of 201" in page
    assert page.count('class="list-title"') == 50
    assert "club-04949" in page
    assert operator.get("/tenants/?page=500").status_code == 404


def test_what_needs_a_look_comes_first_on_the_overview(app, alpha, beta, operator):
    with app.app_context(), platform_context():
        db.session.add(MigrationRun(tenant_id=alpha.id, target="x", state="parked", error="disk full"))
        db.session.commit()
    noted(app, copy_of(beta))
    page = operator.get("/").text
    assert "disk full" in page
    assert "freehold migrate --tenant alpha" in page
    assert "Beta Brass Band" not in page.split("Newest")[0]


def test_what_belongs_to_one_tried_at_another_again_and_again_needs_a_look(app, alpha, beta, operator):
    def tried(rows):
        met = {"kind": "foreign_cookie", "tenant_id": alpha.id, "other_tenant_id": beta.id, "actor": "", "detail": {}}
        with app.app_context(), platform_context():
            db.session.execute(insert(AuditRow).values(at=utcnow()), [met] * rows)
            db.session.commit()

    tried(meetings.MANY - 1)
    assert "tried at another" not in operator.get("/").text
    tried(1)
    page = operator.get("/").text.split("Newest")[0]
    assert page.count(f"tried at another {meetings.MANY} times within an hour") == 2
    assert alpha.name in page
    assert beta.name in page


def test_what_an_operator_does_is_audited(app, alpha, operator):
    send(operator, "/tenants/alpha/suspension", reason="Asked for")
    with app.app_context(), platform_context(writes=False):
        kinds = set(db.session.scalars(select(AuditRow.kind).where(AuditRow.tenant_id == alpha.id)))
    assert "tenant_suspended" in kinds


def test_operators_are_made_listed_and_reset_by_command(app, runner, operator):
    assert "operator already" in runner("operators", "create", "Operator@Platform.test").output
    assert [one["email"] for one in json.loads(runner("operators", "list", "--json").output)] == [
        "operator@platform.test"
    ]
    assert runner("operators", "reset", "nobody@platform.test").exit_code == 2
    assert runner("operators", "reset", "operator@platform.test", "--password-stdin", input="short\n").exit_code == 2
    said = runner("operators", "reset", "operator@platform.test").output
    assert operator.get("/").status_code == 302
    given = filled_in(
        operator.get("/sign-in").text,
        email="operator@platform.test",
        password=said.split("Password: ")[1].strip(),
    )
    assert operator.post("/sign-in", data=given).status_code == 303
