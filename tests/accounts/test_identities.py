"""Which person belongs where: the map follows every change, knows nobody's address, and is mended each night."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import pytest
from sqlalchemy import delete, select

from app.accounts import User, identities, organisations
from app.accounts.models import Invitation
from app.tenancy import db, platform_context, tenant_context
from app.tenancy.due import Due
from app.tenancy.registry import Identity
from tests.accounts.people import join, letters
from tests.conftest import _client
from tests.printed import filled_in


def known(app, email):
    """Return the slugs of the organisations that the map has for an address."""
    with app.app_context(), platform_context(writes=False):
        return [tenant.slug for tenant in identities.tenants_of(email)]


def change(at, tenant, email, verb):
    at(tenant, lambda: getattr(User.by_email(email), verb)(by=db.session.scalars(select(User)).first()))


def test_owners_are_on_the_map_from_the_beginning(app, alpha, beta):
    assert known(app, "Owner@Alpha.test ") == ["alpha"]
    assert known(app, "nobody@alpha.test") == []


def test_the_map_follows_who_comes_and_goes(app, at, alpha, beta):
    join(at, alpha)
    join(at, beta)
    assert known(app, "mia@example.test") == ["alpha", "beta"]
    change(at, alpha, "mia@example.test", "deactivate")
    assert known(app, "mia@example.test") == ["beta"]
    change(at, alpha, "mia@example.test", "reactivate")
    assert known(app, "mia@example.test") == ["alpha", "beta"]
    change(at, beta, "mia@example.test", "remove")
    assert known(app, "mia@example.test") == ["alpha"]


def test_an_invitation_counts_once_it_is_accepted(app, at, alpha):
    def invite():
        return Invitation.send("ina@example.test", "member", by=db.session.scalars(select(User)).first())

    at(alpha, invite)
    assert known(app, "ina@example.test") == []
    at(alpha, lambda: Invitation.by_email("ina@example.test").accept("Ina", "hash"))
    assert known(app, "ina@example.test") == ["alpha"]


def test_another_address_takes_the_place_of_the_one_before(app, at, alpha):
    join(at, alpha)

    def move():
        User.by_email("mia@example.test").email = "mia@new.test"

    at(alpha, move)
    assert (known(app, "mia@example.test"), known(app, "mia@new.test")) == ([], ["alpha"])


def test_what_is_rolled_back_is_not_on_the_map(app, alpha):
    with app.app_context(), tenant_context(alpha):
        User.join("mia@example.test", "Mia")
        db.session.flush()
        db.session.rollback()
        User.join("ida@example.test", "Ida")
        db.session.commit()
    assert (known(app, "mia@example.test"), known(app, "ida@example.test")) == ([], ["alpha"])


def test_the_map_holds_no_address(app, alpha):
    with app.app_context(), platform_context(writes=False):
        rows = db.session.scalars(select(Identity)).all()
        assert rows
        assert not [row for row in rows if "@" in row.mark or "owner" in row.mark]
        assert all(len(row.mark) == 64 for row in rows)


def test_each_night_the_map_is_made_true(app, at, alpha):
    with app.app_context(), platform_context():
        db.session.execute(delete(Identity))
        db.session.add(Identity(mark="0" * 64, tenant_id=alpha.id))
        db.session.commit()
    at(alpha, identities.check)
    assert known(app, "owner@alpha.test") == ["alpha"]
    with app.app_context(), platform_context(writes=False):
        assert len(db.session.scalars(select(Identity)).all()) == 1


def test_a_paused_or_closed_organisation_is_not_told_of(app, alpha, runner):
    runner("tenants", "suspend", "alpha", "--reason", "late")
    assert known(app, "owner@alpha.test") == []
    runner("tenants", "resume", "alpha")
    assert known(app, "owner@alpha.test") == ["alpha"]


def test_a_copy_that_is_brought_back_is_compared_soon(app, at, alpha, runner, work):
    from app.tenancy import due
    from app.tenancy.jobs import schedules

    at(alpha, lambda: due.plant(schedules()))
    assert runner("backups", "run", "alpha").exit_code == 0
    join(at, alpha)
    assert known(app, "mia@example.test") == ["alpha"]
    assert runner("backups", "restore", "alpha", "--at", "latest", "--replace", "--yes").exit_code == 0
    with app.app_context():
        restored = app.extensions["tenancy"].registry.by_slug("alpha")
    work(restored)
    assert known(app, "mia@example.test") == []
    assert known(app, "owner@alpha.test") == ["alpha"]


# The form on the platform's host.


@pytest.fixture
def work_all(app, work):
    """Run the due jobs of all organisations: chance picks the one that gets the look-up."""

    def run():
        with app.app_context():
            tenants = list(app.extensions["tenancy"].registry.tenants("active"))
        for tenant in tenants:
            work(tenant)

    return run


def waiting():
    return db.session.scalars(select(Due).where(Due.job == "accounts.send_organisations")).all()


def ask(app, email):
    browser = _client(app, "platform.localhost")
    given = filled_in(browser.get("/organisations").text, "email", email=email)
    return browser.post("/organisations", data=given, buffered=True)  # which closes the answer, as servers do


def test_one_letter_tells_where_somebody_can_sign_in(app, at, alpha, beta, work_all):
    join(at, alpha)
    join(at, beta)
    assert ask(app, "Mia@Example.test").location == "/organisations/sent"
    work_all()
    (letter,) = letters(app)
    text = letter.get_content()
    assert letter["To"] == "mia@example.test"
    assert "http://alpha.localhost:8000/sign-in" in text
    assert "http://beta.localhost:8000/sign-in" in text


def test_known_and_unknown_addresses_get_the_same_answer_and_no_hint(app, alpha, work_all):
    answers = [ask(app, email) for email in ("owner@alpha.test", "nobody@example.test")]
    assert len({(each.status_code, each.location, each.text) for each in answers}) == 1
    work_all()
    assert [letter["To"] for letter in letters(app)] == ["owner@alpha.test"]


def test_an_address_that_left_everywhere_gets_no_letter_though_one_was_under_way(app, at, alpha, work_all):
    join(at, alpha)
    ask(app, "mia@example.test")
    change(at, alpha, "mia@example.test", "remove")
    work_all()
    assert letters(app) == []


def test_asking_again_and_again_has_to_wait(app, alpha):
    assert [ask(app, "owner@alpha.test").status_code for _ in range(4)] == [303, 303, 303, 429]


def test_the_form_answers_on_no_organisations_host(alpha, client_for):
    assert client_for(alpha).get("/organisations").status_code == 404


@pytest.mark.parametrize("email", ["", "no address", "a" * 300 + "@example.test"])
def test_what_is_no_address_finds_nobody(app, alpha, email, work_all):
    assert ask(app, email).status_code in (303, 422)
    work_all()
    assert letters(app) == []


def test_known_and_unknown_cost_the_same_before_and_after_the_answer(app, at, alpha, monkeypatch):
    """Nothing is looked up, and the same is written: a row of one length, wherever chance has it."""
    asked = []
    monkeypatch.setattr(organisations, "tenants_of", asked.append)
    for email in ("owner@alpha.test", "nobody-of-a-longer-name@example.test"):
        assert ask(app, email).status_code == 303
    with app.app_context():
        tenants = list(app.extensions["tenancy"].registry.tenants("active"))
    rows = [row.arguments for tenant in tenants for row in at(tenant, waiting)]
    assert asked == []
    assert [len(each["address"]) for each in rows] == [len(rows[0]["address"])] * 2
    assert "alpha" not in str(rows)


def test_known_and_unknown_take_the_same_time_answer_and_all(app, alpha, monkeypatch):
    """The next request of the same connection waits for what is done after an answer, so that counts as well."""
    from app.facilities import rates

    monkeypatch.setattr(rates, "take", lambda *tries: None)
    took = {email: [] for email in ("owner@alpha.test", "nobody@example.test")}
    browser = _client(app, "platform.localhost")
    given = filled_in(browser.get("/organisations").text, "email", email="")
    for _ in range(30):
        for email, times in took.items():
            began = perf_counter()
            browser.post("/organisations", data={**given, "email": email}, buffered=True).close()
            times.append(perf_counter() - began)
    first, second = (median(times) for times in took.values())
    assert abs(first - second) < 0.005
