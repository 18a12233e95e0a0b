"""What is true of everything that is brought back: whose it may be, what crosses, and that it happens once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.accounts import User
from app.backups import returns
from app.backups.returns import AlreadyHere, Bringing, Person
from app.content.models import Entry, Media
from app.facilities import storage
from app.facilities.events import Event
from app.tenancy import current_tenant, db
from app.tenancy.due import Due
from app.tenancy.errors import QuotaExceeded, Refused, WrongTenant
from tests.backups.past import preview_of

KINDS = ("page", "conversation", "room")


def owner() -> User:
    return db.session.scalars(select(User).order_by(User.id)).first()


def bring(preview, name, item_id, by=None):
    return lambda: returns.bring_back(preview, name, item_id, by=by or owner())


def listed(preview, name, search=""):
    return lambda: returns.items(preview, name, search, user=owner())


@pytest.fixture
def page(at):
    def write(tenant, title="Plots", source="Twenty plots."):
        return at(tenant, lambda: Entry.write("page", title, source).id)

    return write


def test_every_module_says_what_of_its_can_be_brought_back(app):
    assert [kind.name for kind in returns.kinds()] == list(KINDS)
    assert returns.find("page").plural == "pages and posts"
    assert returns.find("tenant") is None


@pytest.mark.parametrize("name", KINDS)
def test_a_preview_of_another_house_gives_nothing_here(app, alpha, beta, at, page, name):
    assert page(alpha) == page(beta, source="The band's.")
    foreign = preview_of(app, beta)
    before = at(alpha, lambda: db.session.scalars(select(Event.id)).all())
    with pytest.raises(WrongTenant):
        at(alpha, listed(foreign, name))
    for item_id in (1, 2):
        with pytest.raises(WrongTenant):
            at(alpha, bring(foreign, name, item_id))
    assert at(alpha, lambda: db.session.scalars(select(Event.id)).all()) == before
    assert at(alpha, lambda: db.session.scalars(select(Entry.source)).all())[-1] == "Twenty plots."


@pytest.mark.parametrize("name", KINDS)
def test_a_living_house_is_no_preview_of_another_nor_of_itself(alpha, beta, at, name):
    for other in (alpha, beta):
        with pytest.raises(WrongTenant):
            at(alpha, listed(other, name))
        with pytest.raises(WrongTenant):
            at(alpha, bring(other, name, 1))


def test_a_preview_takes_nothing_from_the_living_house(app, alpha, at, page):
    page(alpha)
    preview = preview_of(app, alpha)
    with pytest.raises(WrongTenant):
        at(preview, bring(preview, "page", 2))


def test_the_preview_is_only_read_and_the_current_house_stays_current(app, alpha, at, page):
    entry_id = page(alpha)
    preview = preview_of(app, alpha)
    at(alpha, lambda: db.session.delete(db.session.get(Entry, entry_id)))

    def look():
        returns.items(preview, "page", user=owner())
        returns.bring_back(preview, "page", entry_id, by=owner())
        return current_tenant().slug

    def told():
        return [event.kind for event in db.session.scalars(select(Event))]

    before = at(preview, told)
    assert at(alpha, look) == "alpha"
    assert at(preview, told) == before
    with pytest.raises(Exception, match="readonly"):
        returns_in(app, alpha, preview, lambda: db.session.add(Media(name="x")) or db.session.flush())


def returns_in(app, tenant, preview, work):
    from app.tenancy import tenant_context

    with app.app_context(), tenant_context(tenant):
        return returns._looking_into(preview, work)


def test_what_is_not_there_is_refused_and_an_unknown_kind_is_an_error(app, alpha, at):
    preview = preview_of(app, alpha)
    for name in KINDS:
        with pytest.raises(Refused, match="not in the preview"):
            at(alpha, bring(preview, name, 99))
    with pytest.raises(KeyError):
        at(alpha, bring(preview, "tenant", 1))


def test_nothing_but_plain_json_crosses(app, alpha, at, page, monkeypatch):
    entry_id, crossed = page(alpha), []
    preview = preview_of(app, alpha)
    kind = returns.find("page")
    spy = returns.Returnable(
        **{**vars(kind), "bring": lambda taken, bringing: crossed.append(taken) or "/desk/"},
    )
    monkeypatch.setitem(returns._returnables, "page", spy)
    at(alpha, bring(preview, "page", entry_id))
    assert crossed == [json.loads(json.dumps(crossed[0]))]
    assert crossed[0]["source"] == "Twenty plots."


def test_what_the_caller_has_begun_is_undone_so_that_nobody_waits_for_the_preview(app, alpha, at, page):
    entry_id = page(alpha)
    preview = preview_of(app, alpha)

    def do():
        db.session.get(Entry, entry_id).title = "Half done"
        db.session.flush()
        with pytest.raises(AlreadyHere):
            returns.bring_back(preview, "page", entry_id, by=owner())
        return db.session.get(Entry, entry_id).title

    assert at(alpha, do) == "Plots"


def test_an_address_that_passed_on_to_somebody_else_is_not_the_same_person(alpha, at):
    def do():
        mark = Person.of(owner())
        assert mark.here() == owner()
        owner().created_at += timedelta(seconds=1)
        db.session.flush()
        return mark.here()

    assert at(alpha, do) is None


def test_a_file_that_is_still_here_keeps_its_name_and_one_that_is_gone_is_sealed_again(app, alpha, at):
    def forget(name):
        db.session.delete(storage.find(name))

    name = at(alpha, lambda: storage.put(b"the minutes of the meeting").name)
    preview = preview_of(app, alpha)

    def file():
        here = Bringing(preview, owner()).file(name)
        return here, storage.read(here)

    assert at(alpha, file) == (name, b"the minutes of the meeting")
    at(alpha, lambda: forget(name))
    assert at(alpha, file) == (name, b"the minutes of the meeting")
    at(preview, lambda: forget(name))
    at(alpha, lambda: forget(name))
    assert at(alpha, lambda: Bringing(preview, owner()).file(name)) == name, "a page is worth more than one picture"
    assert at(alpha, lambda: storage.find(name)) is None


def test_a_file_that_the_plan_has_no_room_for_is_refused(app, alpha, at, tenancy):
    name = at(alpha, lambda: storage.put(b"x" * 200_000).name)
    preview = preview_of(app, alpha)
    at(alpha, lambda: db.session.delete(storage.find(name)))
    limited = replace(alpha, caps={"storage": 100_000})
    with pytest.raises(QuotaExceeded):
        at(limited, lambda: Bringing(preview, owner()).file(name))


def test_nothing_brought_back_leaves_work_to_do(app, alpha, at, page):
    entry_id = page(alpha)
    preview = preview_of(app, alpha)
    at(alpha, lambda: db.session.delete(db.session.get(Entry, entry_id)))
    before = at(alpha, lambda: db.session.scalars(select(Due.id)).all())
    at(alpha, bring(preview, "page", entry_id))
    assert at(alpha, lambda: db.session.scalars(select(Due.id)).all()) == before
