"""Verbs of pages, posts and the menu."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.content.addresses import SLUG_LENGTH, slugify
from app.content.models import Entry, MenuItem, Redirect, Topic
from app.tenancy import db, utcnow
from app.tenancy.errors import Refused


@pytest.fixture(autouse=True)
def in_alpha(alpha, inside):
    with inside(alpha):
        yield


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Über uns & mehr!", "über-uns-mehr"),
        ("日本語のタイトル", "日本語のタイトル"),
        ("हिन्दी में", "हिन्दी-में"),
        ("Don’t panic", "dont-panic"),
        ("  --  ", ""),
        ("🎉", ""),
        ("a/b\\c?d#e%f", "a-b-c-d-e-f"),
        ("Cafe\u0301", "café"),
    ],
)
def test_a_slug_keeps_letters_of_any_script(title, slug):
    assert slugify(title) == slug


def test_a_slug_is_bounded_however_long_the_title():
    first, second = (Entry.write("page", "word " * 100) for _ in range(2))
    assert len(first.slug) <= SLUG_LENGTH
    assert len(second.slug) <= SLUG_LENGTH
    assert first.path != second.path


@pytest.mark.parametrize(
    "title", ["Desk", "Live", "API", "Files", "Static", "Sign in", "Sign out", "Set up", "Posts", "Metrics"]
)
def test_a_page_never_takes_an_address_of_the_platform(title):
    assert Entry.write("page", title).path.endswith("-2")
    assert Entry.write("post", title).path == slugify(title)


def test_a_reserved_word_is_free_further_down():
    parent = Entry.write("page", "Club")
    assert Entry.write("page", "Files", parent=parent).path == "club/files"


def test_two_with_one_title_get_two_addresses_per_kind_and_parent():
    parent = Entry.write("page", "Club")
    paths = [Entry.write("page", "News").path, Entry.write("page", "News").path]
    paths += [Entry.write("page", "News", parent=parent).path, Entry.write("post", "News").path]
    assert paths == ["news", "news-2", "club/news", "news"]


def test_text_is_rendered_when_written_and_the_summary_made_from_it():
    entry = Entry.write("post", "Frost", "It was **cold**.\n\n# How cold?")
    assert "<strong>cold</strong>" in entry.html
    assert "<h2>" in entry.html
    assert entry.summary == "It was cold. How cold?"


def test_a_made_summary_follows_the_text_and_a_written_one_stays():
    made, written = Entry.write("post", "A", "Old."), Entry.write("post", "B", "Old.", summary="Mine.")
    for entry in (made, written):
        entry.revise(entry.title, "New.", summary=entry.summary)
    assert (made.summary, written.summary) == ("New.", "Mine.")


def test_publishing_dates_it_once():
    entry = Entry.write("post", "Frost")
    entry.publish()
    first = entry.published_at
    entry.unpublish()
    assert entry.status == "draft"
    entry.publish()
    assert entry.published_at == first


def test_a_scheduled_entry_can_be_published_now_or_withdrawn():
    later = utcnow() + timedelta(days=3)
    entry = Entry.write("post", "Frost")
    entry.publish(later)
    assert entry.status == "scheduled"
    entry.publish()
    assert entry.status == "published"
    entry.publish(later)
    entry.unpublish()
    assert (entry.status, entry.published_at) == ("draft", None)


def test_the_trash_frees_the_address_and_gives_back_what_was():
    entry = Entry.write("page", "Prices")
    entry.publish()
    entry.trash()
    db.session.flush()
    assert Entry.write("page", "Prices").path == "prices"
    entry.restore()
    assert (entry.status, entry.path) == ("published", "prices-2")


def test_a_draft_comes_back_from_the_trash_as_a_draft():
    entry = Entry.write("page", "Prices")
    entry.publish()
    entry.unpublish()
    entry.trash()
    entry.restore()
    assert entry.status == "draft"


def test_what_is_in_the_trash_is_not_published():
    entry = Entry.write("page", "Prices")
    entry.trash()
    with pytest.raises(Refused, match="Restore it first"):
        entry.publish()


def test_moving_a_page_moves_those_below_and_leaves_their_old_addresses_behind():
    club, house = Entry.write("page", "Club"), Entry.write("page", "House")
    rooms = Entry.write("page", "Rooms", parent=house)
    attic = Entry.write("page", "Attic", parent=rooms)
    for entry in (club, house, rooms, attic):
        entry.publish()
    house.move_under(club)
    assert [rooms.path, attic.path] == ["club/house/rooms", "club/house/rooms/attic"]
    left = dict(db.session.execute(select(Redirect.path, Redirect.entry_id)).all())
    assert left == {"house": house.id, "house/rooms": rooms.id, "house/rooms/attic": attic.id}


def test_moving_back_leaves_no_circle_of_addresses():
    club, house = Entry.write("page", "Club"), Entry.write("page", "House")
    house.publish()
    house.move_under(club)
    house.move_under(None)
    assert house.path == "house"
    assert db.session.scalars(select(Redirect.path)).all() == ["club/house"]


@pytest.mark.parametrize("target", ["itself", "its child", "its grandchild"])
def test_a_page_cannot_lie_below_itself(target):
    page = Entry.write("page", "Club")
    child = Entry.write("page", "House", parent=page)
    grandchild = Entry.write("page", "Attic", parent=child)
    with pytest.raises(Refused):
        page.move_under({"itself": page, "its child": child, "its grandchild": grandchild}[target])
    assert grandchild.path == "club/house/attic"


def test_a_draft_leaves_no_old_address():
    entry = Entry.write("page", "Prices")
    entry.rename("fees")
    assert db.session.scalars(select(Redirect)).all() == []


def test_children_of_a_trashed_page_stay_where_they_are():
    parent = Entry.write("page", "Club")
    child = Entry.write("page", "House", parent=parent)
    child.publish()
    parent.trash()
    db.session.flush()
    other = Entry.write("page", "Club")
    assert Entry.write("page", "House", parent=other).path == "club/house-2"
    parent.restore()
    assert parent.path == "club-2"
    assert child.path == "club-2/house"


def test_there_is_one_front_page():
    first, second = Entry.write("page", "First"), Entry.write("page", "Second")
    first.make_front()
    second.make_front()
    db.session.flush()
    db.session.expire_all()
    assert db.session.scalars(select(Entry.title).where(Entry.is_front)).all() == ["Second"]


def test_a_topic_is_found_again_by_its_name():
    assert Topic.named("Boats & Oars").id == Topic.named("boats, oars").id


def test_lines_of_the_menu_change_places_and_stay_at_the_ends():
    first, second, third = (MenuItem.add(label) for label in ("One", "Two", "Three"))
    third.move(-1)
    assert order() == ["Home", "News", "Contact", "One", "Three", "Two"]
    first.move(-5)
    second.move(+5)
    assert order() == ["One", "Home", "News", "Contact", "Three", "Two"]


def test_a_menu_has_two_levels():
    first, second, third = (MenuItem.add(label) for label in ("One", "Two", "Three"))
    second.nest()
    assert second.parent_id == first.id
    third.nest()
    assert third.parent_id == first.id
    with pytest.raises(Refused):
        first.nest()
    with pytest.raises(Refused):
        third.nest()
    second.unnest()
    assert order()[-2:] == ["One", "Two"]


def test_removing_a_line_takes_those_under_it():
    first, second = MenuItem.add("One"), MenuItem.add("Two")
    second.nest()
    db.session.flush()
    first.remove()
    db.session.flush()
    assert "Two" not in db.session.scalars(select(MenuItem.label)).all()


def order() -> list[str]:
    top = select(MenuItem.label).where(MenuItem.parent_id.is_(None))
    return list(db.session.scalars(top.order_by(MenuItem.position, MenuItem.id)))
