"""Pages and posts brought back from a preview: nothing of today is lost, and visitors see nothing new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select

from app.accounts import User
from app.backups import returns
from app.backups.returns import AlreadyHere
from app.content.models import Entry, Media, MenuItem, Topic
from app.facilities import storage
from app.facilities.events import Event
from app.tenancy import db, utcnow
from tests.backups.past import preview_of
from tests.content.test_files import picture

MOMENT = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)


@pytest.fixture
def preview(app):
    return lambda tenant: preview_of(app, tenant, MOMENT)


@pytest.fixture
def bring(at):
    """Bring an entry back in the owner's name and return its id here."""

    def back(tenant, preview, entry_id) -> int:
        def work():
            return returns.bring_back(preview, "page", entry_id, by=User.by_email(f"owner@{tenant.slug}.test"))

        path = at(tenant, work)
        assert path.startswith("/desk/content/entries/")
        return int(path.rpartition("/")[2])

    return back


@pytest.fixture
def states(at):
    """Return how each entry of the preview stands here, by title."""

    def read(tenant, preview, search="") -> dict[str, str]:
        def work():
            owner = User.by_email(f"owner@{tenant.slug}.test")
            return returns.items(preview, "page", search, user=owner)

        return {item.title: item.state for item in at(tenant, work)}

    return read


@pytest.fixture
def lose(at):
    """Take an entry out of a tenant's file for good."""
    return lambda tenant, entry_id: at(tenant, lambda: db.session.execute(delete(Entry).where(Entry.id == entry_id)))


@pytest.fixture
def entry(at):
    def read(tenant, entry_id) -> Entry:
        def work():
            found = db.session.get(Entry, entry_id)
            if found:
                found.topics  # noqa: B018  (loaded while its session is open)
            return found

        return at(tenant, work)

    return read


def count(at, tenant) -> int:
    return len(at(tenant, lambda: db.session.scalars(select(Entry.id)).all()))


def test_the_list_says_how_each_stands_here(alpha, publish, change, preview, states, lose):
    kept, changed = publish(alpha, "page", "Plots"), publish(alpha, "post", "The pump is back")
    lost, thrown_away = publish(alpha, "page", "Rules"), publish(alpha, "page", "Opening hours")
    publish(alpha, "page", "Long gone")
    change(alpha, thrown_away + 1, "trash")
    past = preview(alpha)
    change(alpha, changed, "revise", "The pump is gone", "Stolen.")
    change(alpha, thrown_away, "trash")
    lose(alpha, lost)
    publish(alpha, "page", "New since")
    assert states(alpha, past) == {
        "Welcome": "same",
        "Plots": "same",
        "The pump is back": "changed",
        "Rules": "missing",
        "Opening hours": "trashed",
    }
    assert kept
    assert states(alpha, past, "PUMP") == {"The pump is back": "changed"}
    assert states(alpha, past, "100%") == {}


def test_a_page_that_is_missing_comes_back_as_a_draft_under_its_number_and_address(
    alpha, publish, preview, bring, states, lose, entry, client_for, at
):
    above = publish(alpha, "page", "Garden")
    lost = publish(alpha, "page", "Rules", "No fires.", under=above, visibility="members", summary="By hand")
    at(alpha, lambda: MenuItem.add("Rules", entry_id=lost))
    then = entry(alpha, lost)
    past = preview(alpha)
    lose(alpha, lost)
    menu = at(alpha, lambda: db.session.scalars(select(MenuItem.label)).all())
    assert bring(alpha, past, lost) == lost
    back = entry(alpha, lost)
    for name in ("path", "title", "source", "html", "summary", "visibility", "parent_id", "published_at", "created_at"):
        assert getattr(back, name) == getattr(then, name), name
    assert (back.state, back.is_front) == ("draft", False)
    assert client_for(alpha).get("/garden/rules").status_code == 404
    assert at(alpha, lambda: db.session.scalars(select(MenuItem.label)).all()) == menu
    assert states(alpha, past)["Rules"] == "same"
    told = at(alpha, lambda: db.session.scalars(select(Event).where(Event.kind == "PageReturned")).all())
    assert [(event.subject, event.audience, event.actor) for event in told] == [
        (f"entry:{lost}", "may:content.edit", 1)
    ]


def test_a_post_comes_back_with_its_topics_and_its_author(alpha, publish, preview, bring, lose, entry, at):
    lost = publish(alpha, "post", "Tea", author_id=1, author_name="Olive")
    at(alpha, lambda: db.session.get(Entry, lost).file_under([Topic.named("Events"), Topic.named("Food")]))
    past = preview(alpha)
    lose(alpha, lost)
    at(alpha, lambda: db.session.execute(delete(Topic).where(Topic.slug == "food")))
    back = entry(alpha, bring(alpha, past, lost))
    assert sorted(topic.name for topic in back.topics) == ["Events", "Food"]
    assert (back.author_id, back.author_name) == (1, "Olive")


def test_one_whose_number_and_address_are_taken_gets_the_next_and_never_comes_twice(
    alpha, publish, preview, bring, states, lose, entry, at
):
    lost = publish(alpha, "page", "Rules", "No fires.")
    past = preview(alpha)
    lose(alpha, lost)
    assert publish(alpha, "page", "Rules", "Fires allowed.") == lost, "SQLite gives the highest number again"
    back = entry(alpha, bring(alpha, past, lost))
    assert (back.id, back.path, back.source) == (lost + 1, "rules-2", "No fires.")
    assert entry(alpha, lost).source == "Fires allowed."
    assert states(alpha, past)["Rules"] == "same"
    before = count(at, alpha)
    with pytest.raises(AlreadyHere):
        bring(alpha, past, lost)
    assert count(at, alpha) == before


def test_what_lies_in_the_trash_unchanged_is_taken_out_of_it_as_a_draft(
    alpha, publish, change, preview, bring, entry, at
):
    thrown = publish(alpha, "page", "Rules", "No fires.")
    past = preview(alpha)
    change(alpha, thrown, "trash")
    before = count(at, alpha)
    assert bring(alpha, past, thrown) == thrown
    back = entry(alpha, thrown)
    assert (back.state, back.path) == ("draft", "rules")
    assert count(at, alpha) == before
    with pytest.raises(AlreadyHere) as refused:
        bring(alpha, past, thrown)
    assert refused.value.path == f"/desk/content/entries/{thrown}"


def test_what_a_page_said_then_stands_beside_it_once_and_today_stays(
    alpha, publish, change, preview, bring, entry, client_for, at
):
    changed = publish(alpha, "page", "Rules", "No fires.")
    past = preview(alpha)
    change(alpha, changed, "revise", "Rules", "Anything goes.")
    beside = entry(alpha, bring(alpha, past, changed))
    assert (beside.title, beside.source, beside.state) == ("Rules (from 21 November, 14:05)", "No fires.", "draft")
    assert beside.path == "rules-2"
    assert "Anything goes." in client_for(alpha).get("/rules").text
    assert client_for(alpha).get("/rules-2").status_code == 404
    with pytest.raises(AlreadyHere) as refused:
        bring(alpha, past, changed)
    assert refused.value.path.endswith(f"/{beside.id}")

    change(alpha, beside.id, "trash")
    again = bring(alpha, past, changed)
    assert again != beside.id, "what was thrown away is not found by those who look for it"
    change(alpha, again, "revise", "Rules", "Half of both.")
    bring(alpha, past, changed)
    assert entry(alpha, again).source == "Half of both."


def test_a_long_title_leaves_room_for_the_moment(alpha, publish, change, preview, bring, entry):
    changed = publish(alpha, "page", "R" * 200)
    past = preview(alpha)
    change(alpha, changed, "revise", "Rules", "Anything goes.")
    title = entry(alpha, bring(alpha, past, changed)).title
    assert title.endswith("RR (from 21 November, 14:05)")
    assert len(title) == 200


def test_what_was_to_appear_by_itself_does_not(alpha, publish, preview, bring, lose, entry):
    lost = publish(alpha, "post", "Sale", at=utcnow() + timedelta(days=1))
    past = preview(alpha)
    lose(alpha, lost)
    back = entry(alpha, bring(alpha, past, lost))
    assert (back.state, back.published_at) == ("draft", None)


def test_a_page_that_lay_in_the_trash_then_is_not_in_the_preview(alpha, publish, change, preview, bring, states):
    thrown = publish(alpha, "page", "Rules")
    change(alpha, thrown, "trash")
    past = preview(alpha)
    assert "Rules" not in states(alpha, past)
    with pytest.raises(returns.Refused, match="not in the preview"):
        bring(alpha, past, thrown)


def test_an_import_finds_again_what_came_back(alpha, publish, preview, bring, lose, entry):
    lost = publish(alpha, "post", "Tea", origin="wordpress:example.org#post-7")
    past = preview(alpha)
    lose(alpha, lost)
    publish(alpha, "post", "Coffee")
    assert entry(alpha, bring(alpha, past, lost)).origin == "wordpress:example.org#post-7"
    with pytest.raises(AlreadyHere):
        bring(alpha, past, lost)


def test_pictures_come_with_their_page(alpha, beta, publish, preview, bring, lose, entry, at, client_for, change):
    def keep():
        stored = storage.put(picture())
        db.session.add(Media(name="plot.png", mime=stored.mime, stored_name=stored.name, alt="A plot"))
        return stored.name

    def forget():
        db.session.execute(delete(Media))
        db.session.delete(storage.find(name))

    name = at(alpha, keep)
    address = f"/files/{name}/plot.png"
    lost = publish(alpha, "page", "Plots", f"![A plot]({address})")
    past = preview(alpha)
    lose(alpha, lost)
    at(alpha, forget)
    bring(alpha, past, lost)
    visitor = client_for(alpha)
    assert visitor.get(address).status_code == 404, "it is a draft still"
    change(alpha, lost, "publish")
    assert visitor.get(address).data == picture()
    assert [media.alt for media in at(alpha, lambda: db.session.scalars(select(Media)).all())] == ["A plot"]
    assert at(beta, lambda: db.session.scalars(select(Media)).all()) == []


def test_what_one_house_brings_back_is_not_in_another_with_the_same_numbers(
    alpha, beta, publish, preview, bring, lose, entry
):
    lost, other = publish(alpha, "page", "Rules", "No fires."), publish(beta, "page", "Rules", "No drums.")
    assert lost == other
    past = preview(alpha)
    lose(alpha, lost)
    lose(beta, other)
    bring(alpha, past, lost)
    assert entry(alpha, lost).source == "No fires."
    assert entry(beta, other) is None
