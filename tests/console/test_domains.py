"""The console's pages of an organisation's domains."""

from __future__ import annotations

from app.tenancy.domains import CHECKED
from tests.console.operating import operator_of, send
from tests.printed import filled_in

PAGE, CLUB = "/tenants/alpha/domains/", "club.example"


def test_an_operator_adds_a_domain_makes_it_the_main_one_and_removes_it(app, tenancy, alpha, beta):
    boss = operator_of(app)
    refused = boss.post(PAGE, data=filled_in(boss.get(PAGE).text, "host", host="beta.localhost"))
    assert (refused.status_code, "belongs to another tenant" in refused.text) == (422, True)
    assert 'value="beta.localhost"' in refused.text

    added = boss.post(PAGE, data=filled_in(boss.get(PAGE).text, "host", host="Club.Example"))
    assert added.location == PAGE
    assert send(boss, f"{PAGE}{CLUB}/primary", anyway="1").location == PAGE
    assert tenancy.registry.by_slug("alpha").primary_host == CLUB
    assert boss.get(f"{PAGE}{CLUB}/removal").status_code == 409  # it is the main one
    assert boss.get(f"{PAGE}alpha.localhost/removal").status_code == 409

    asked = send(boss, f"{PAGE}alpha.localhost/primary")  # nobody listens at that port
    assert (asked.status_code, "alpha.localhost does not lead here" in asked.text) == (422, True)
    assert tenancy.registry.by_slug("alpha").primary_host == CLUB
    boss.post(f"{PAGE}alpha.localhost/primary", data=filled_in(asked.text, "anyway"))
    warning = boss.get(f"{PAGE}{CLUB}/removal").text
    assert "Passkeys made at club.example are good for nothing" in warning
    assert tenancy.registry.resolve(CLUB) is not None
    assert send(boss, f"{PAGE}{CLUB}/removal").location == PAGE
    assert tenancy.registry.by_slug("alpha") == alpha
    history = " ".join(boss.get("/tenants/alpha").text.split())
    assert 'Domain removed: club.example <span class="muted">by all@operators.test' in history


def test_support_looks_where_a_domain_leads_and_changes_nothing(app, tenancy, alpha):
    helper, reader = operator_of(app, "support"), operator_of(app, "read-only")
    tenancy.ledger.record(CHECKED, alpha.id, host="alpha.localhost", problem="Something else answers.")
    page = helper.get(PAGE).text
    assert "Something else answers." in page
    assert 'action="/tenants/alpha/domains/alpha.localhost/look"' in page
    assert 'name="host"' not in page
    assert "<form" not in reader.get(PAGE).text.partition("<main")[2].partition("</main")[0]


def test_a_host_of_another_organisation_is_not_found(app, alpha, beta, tenancy):
    boss = operator_of(app)
    for act in ("look", "primary", "removal"):
        assert send(boss, f"{PAGE}beta.localhost/{act}").status_code == 404
    assert tenancy.registry.by_slug("beta") == beta
