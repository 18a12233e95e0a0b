"""What a plan allows is asked before the work, told in time, and the last place is given once."""

from __future__ import annotations

import json
import threading
from contextvars import Context
from dataclasses import replace
from datetime import timedelta

import pytest
import time_machine
from sqlalchemy import func, select

from app.accounts import Invitation, User
from app.console import caps
from app.facilities import limits, storage
from app.facilities.events import Event
from app.inbox import Contact, Conversation
from app.tenancy import db, platform_context, tenant_context, utcnow
from app.tenancy.errors import QuotaExceeded
from app.tenancy.registry import Tenant, TenantCap, Tier
from tests.printed import filled_in

GIB = 1 << 30


@pytest.fixture
def letters(monkeypatch):
    """Name a meter of the day for this test alone."""
    monkeypatch.setattr(limits, "_meters", dict(limits._meters))
    return limits.meter("letters", unit="letters a day", label="Letters")


@pytest.fixture
def grant(app, tenancy):
    """Give a tenant an exception, as the console does."""

    def give(tenant, meter, cap, until=None):
        with app.app_context(), platform_context():
            row = db.session.get(Tenant, tenant.id)
            caps.grant(row, meter, cap, "a test", until, "operator@platform.test")
        return tenancy.registry.by_id(tenant.id)

    return give


def told(app, tenant):
    """Return what the owners were told, as events."""
    with app.app_context(), tenant_context(tenant, writes=False):
        rows = db.session.scalars(select(Event).where(Event.kind == "LimitNeared").order_by(Event.id))
        return [(row.payload["meter"], row.payload["percent"]) for row in rows]


def join(number, slug="alpha"):
    User.join(f"person{number}@{slug}.test", f"Person {number}")


# What the plans allow


@pytest.mark.parametrize(
    ("plan", "users", "storage"),
    [("standard", 50, 10 * GIB), ("premium", 200, 50 * GIB), ("enterprise", None, None)],
)
def test_each_plan_allows_what_it_says(tenancy, alpha, plan, users, storage):
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(Tenant.__table__.update().values(tier_name=plan))
    tenant = tenancy.registry.by_slug("alpha")
    assert (tenant.max_users, tenant.max_bytes) == (users, storage)
    assert tenant == tenancy.registry.resolve("alpha.localhost")


def test_an_exception_holds_for_one_tenant_and_until_its_day(grant, tenancy, alpha, beta):
    until = utcnow() + timedelta(days=1)
    granted = grant(alpha, "users", 60, until)
    assert (granted.max_users, tenancy.registry.by_id(beta.id).max_users) == (60, 50)
    assert tenancy.registry.resolve("alpha.localhost").max_users == 60
    with time_machine.travel(until + timedelta(seconds=1), tick=False):
        assert tenancy.registry.resolve("alpha.localhost").max_users == 50
    assert grant(alpha, "users", None).max_users is None


def test_a_meter_without_a_cap_has_no_limit(app, alpha, letters):
    with app.app_context(), tenant_context(alpha):
        limits.spend("letters", 1_000_000)
        assert next(use for use in limits.uses() if use.name == "letters").cap is None


def test_two_meters_of_one_name_are_refused(letters):
    assert limits.meter("letters", unit="letters a day", label="Letters") is letters
    with pytest.raises(ValueError, match="'letters'"):
        limits.meter("letters", unit="stamps", label="Letters")


# Asked before the work


def test_what_is_too_much_is_refused_with_the_quota_the_limit_and_the_use(app, alpha):
    with app.app_context(), tenant_context(replace(alpha, caps={"users": 1, "storage": 0})):
        with pytest.raises(QuotaExceeded) as people:
            limits.require("users")
        with pytest.raises(QuotaExceeded) as files:
            storage.put(b"a picture")
    assert (people.value.quota, people.value.limit, people.value.used) == ("users", 1, 1)
    assert "allows 1 people, and 1 are taken" in people.value.advice
    assert (files.value.quota, files.value.limit) == ("storage", 0)
    assert "0 bytes" in files.value.advice


def test_a_full_house_is_still_read_and_exported(app, alpha, grant, signed_in, runner):
    member = signed_in(alpha)
    with app.app_context(), tenant_context(alpha):
        name = storage.put(b"kept").name
        db.session.commit()
    full = grant(grant(alpha, "users", 0), "storage", 0)
    assert member.get("/desk/").status_code == 200
    with app.app_context(), tenant_context(full, writes=False):
        assert storage.read(name) == b"kept"
    assert runner("users", "list", "alpha", "--json").exit_code == 0


def test_many_at_once_do_not_take_more_than_the_last_places(app, alpha, grant):
    tenant, refused, start = grant(alpha, "users", 4), [], threading.Barrier(8)

    def come(number):
        with app.app_context(), tenant_context(tenant):
            start.wait()
            try:
                join(number)
                db.session.commit()
            except QuotaExceeded:
                db.session.rollback()
                refused.append(number)

    threads = [threading.Thread(target=Context().run, args=(come, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with app.app_context(), tenant_context(tenant, writes=False):
        assert User.count() == 4
    assert len(refused) == 5


def test_a_meter_of_the_day_counts_in_the_transaction_and_begins_anew(app, alpha, beta, letters, grant):
    tenant = grant(alpha, "letters", 3)
    with app.app_context(), tenant_context(tenant):
        limits.spend("letters", 2)
        db.session.commit()
        limits.spend("letters")
        db.session.rollback()
        assert letters.used() == 2
        with pytest.raises(QuotaExceeded, match="Tomorrow"):
            limits.spend("letters", 2)
        limits.spend("letters")
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(days=1), tick=False):
            assert letters.used() == 0
            limits.spend("letters", 3)
    with app.app_context(), tenant_context(beta, writes=False):
        assert letters.used() == 0


# Told in time


def test_owners_are_told_once_at_80_and_once_at_100(app, alpha, grant):
    tenant = grant(alpha, "users", 5)
    for number in range(4):
        with app.app_context(), tenant_context(tenant):
            join(number)
            db.session.commit()
            assert [use.percent for use in limits.nearing()] == {0: [], 1: [], 2: [80], 3: [100]}[number]
    assert told(app, alpha) == [("users", 80), ("users", 100)]


def test_who_makes_room_and_fills_it_again_is_told_again(app, alpha, grant):
    tenant = grant(alpha, "users", 5)
    with app.app_context(), tenant_context(tenant):
        for number in range(3):
            join(number)
        for person in db.session.scalars(select(User).where(User.role == "member")):
            person.state = "closed"
        assert limits.nearing() == []
        for number in range(3, 6):
            join(number)
        db.session.commit()
    assert told(app, alpha) == [("users", 80), ("users", 80)]


def test_from_full_to_nearly_full_is_no_news(app, alpha, grant):
    with app.app_context(), tenant_context(grant(alpha, "users", 5)):
        for number in range(4):
            join(number)
        db.session.scalars(select(User).where(User.role == "member")).first().state = "closed"
        limits.require("users", 0)
        assert [use.percent for use in limits.nearing()] == [80]
        db.session.commit()
    assert told(app, alpha) == [("users", 80), ("users", 100)]


def test_while_there_is_room_nothing_is_written(app, alpha):
    with app.app_context(), tenant_context(alpha, writes=False):
        limits.require("users")
        assert db.session.scalar(select(func.count()).select_from(limits.Tally)) == 0


def test_what_is_taken_back_is_not_told(app, alpha, grant):
    with app.app_context(), tenant_context(grant(alpha, "users", 2)):
        join(1)
        db.session.rollback()
    assert told(app, alpha) == []


def test_the_owner_reads_what_is_used_and_members_do_not(app, alpha, grant, signed_in):
    owner = signed_in(alpha)
    with app.app_context(), tenant_context(grant(alpha, "users", 2)):
        join(1)
        db.session.commit()
    for page in (owner.get("/desk/").text, owner.get("/desk/settings/").text):
        assert "People who may sign in: 2 of 2 people. Nothing can be added." in page
    assert '<meter min="0" max="2"' in owner.get("/desk/settings/use").text
    with app.app_context(), tenant_context(alpha):
        db.session.add(User(email="second.owner@alpha.test", name="Second", role="owner"))
        db.session.scalars(select(User).where(User.email == "owner@alpha.test")).one().role = "member"
        db.session.commit()
    assert "Nothing can be added" not in owner.get("/desk/").text


# The operators' side


def test_operators_see_the_use_make_an_exception_and_end_it(app, tenancy, alpha, operator):
    page = operator.get("/tenants/alpha").text
    assert "1 of 50 people" in page
    given = filled_in(page, "amount", meter="storage", amount="0.5", why="They pay for it")
    assert operator.post("/tenants/alpha/caps", data=given).status_code == 303
    assert tenancy.registry.by_slug("alpha").max_bytes == GIB // 2
    page = operator.get("/tenants/alpha").text
    assert "They pay for it" in page
    assert "Cap set: They pay for it (Storage: 512.0 MiB, 10.0 GiB until then)" in page
    given = filled_in(page)
    assert operator.post("/tenants/alpha/caps/storage/end", data=given).status_code == 303
    assert tenancy.registry.by_slug("alpha").max_bytes == 10 * GIB
    assert operator.post("/tenants/alpha/caps/storage/end", data=given).status_code == 404
    with app.app_context(), platform_context():
        assert db.session.scalar(select(func.count()).select_from(TenantCap)) == 0


@pytest.mark.parametrize("wrong", [{"why": ""}, {"amount": "-1"}, {"meter": "gold"}, {"until": "2001-01-01"}])
def test_an_exception_that_makes_no_sense_is_refused(tenancy, operator, wrong):
    page = operator.get("/tenants/alpha").text
    given = filled_in(page, "amount", **({"meter": "users", "amount": "7", "why": "Why not"} | wrong))
    assert operator.post("/tenants/alpha/caps", data=given).status_code == 422
    assert tenancy.registry.by_slug("alpha").max_users == 50


def test_a_plan_has_a_field_for_every_meter(app, operator, tenancy, letters):
    page = operator.get("/settings/").text
    operator.post("/settings/", data=filled_in(page, "platform_name", **{"standard-letters": "200"}))
    tenant = tenancy.registry.by_slug("alpha")
    assert (tenant.cap("letters"), tenant.max_users, tenant.max_bytes) == (200, 50, 10 * GIB)
    with app.app_context(), platform_context():
        assert caps.of_plan(db.session.get(Tier, "premium"), "letters") is None


def test_the_command_shows_every_meter_and_keeps_its_keys(runner, grant, alpha):
    grant(alpha, "users", None)
    shown = json.loads(runner("tenants", "show", "alpha", "--json").output)
    assert (shown["max_users"], shown["max_bytes"]) == (None, 10 * GIB)
    assert {"slug", "tier", "max_jobs", "hosts", "domains", "counts"} <= shown.keys()
    users = next(each for each in shown["limits"] if each["name"] == "users")
    assert (users["used"], users["cap"], users["unit"]) == (1, None, "people")


def test_asking_for_a_host_again_reads_no_caps(tenancy, alpha, monkeypatch):
    tenancy.registry.resolve("alpha.localhost")
    asked, real = [], tenancy.registry._connection.execute

    class Listening:
        def execute(self, sql, *rest):
            asked.append(sql)
            return real(sql, *rest)

        def close(self):
            pass

    monkeypatch.setattr(tenancy.registry, "_connection", Listening())
    tenancy.registry.resolve("alpha.localhost")
    assert asked == ["PRAGMA data_version"]


def test_what_people_write_counts_as_letters_of_the_day_and_more_than_the_plan_has_is_not_begun(app, at, alpha, grant):
    full = grant(alpha, "letters", 2)
    olive = lambda: db.session.get(User, 1)  # noqa: E731
    at(full, lambda: Invitation.send("ann@alpha.test", "member", by=olive()))
    at(full, lambda: db.session.get(Invitation, 1).send_again(by=olive()))
    with pytest.raises(QuotaExceeded, match="2 letters a day"):
        at(full, lambda: Invitation.send("bea@alpha.test", "member", by=olive()))
    assert at(full, lambda: Invitation.by_email("bea@alpha.test")) is None
    with time_machine.travel(utcnow() + timedelta(days=1)):
        at(full, lambda: Invitation.send("bea@alpha.test", "member", by=olive()))


def test_a_reply_counts_as_a_letter_and_a_second_sending_of_the_form_does_not(app, at, alpha, grant):
    full = grant(alpha, "letters", 1)

    def begin():
        return Conversation.open_from(Contact.at("ann@alpha.test", "Ann"), "Boats", "When do you meet?").id

    def reply(text, client_id):
        return db.session.get(Conversation, number).reply(text, by=db.session.get(User, 1), client_id=client_id).id

    number = at(full, begin)
    first = at(full, lambda: reply("On Sundays.", "one"))
    assert at(full, lambda: reply("On Sundays.", "one")) == first
    with pytest.raises(QuotaExceeded):
        at(full, lambda: reply("At noon.", "two"))
