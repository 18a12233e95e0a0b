"""Roles: what they hold, who makes and gives them, and how soon a change is felt."""

from __future__ import annotations

import shutil

import pytest
from lxml.html import fromstring
from sqlalchemy import select

from app.accounts import Invitation, Role, User, permission
from app.accounts.policy import ROLES, Visitor, permissions
from app.chat import Room
from app.chat.policy import visible_rooms
from app.content.models import Entry, Media
from app.facilities import events, storage
from app.inbox import Contact, Conversation
from app.tenancy import db, tenant_context
from app.tenancy.database import connect
from app.tenancy.errors import Refused
from app.tenancy.schema import MIGRATIONS, migrate
from tests.accounts.people import acts, browser_of, is_in, join, post
from tests.accounts.test_live import Reader
from tests.conftest import sign_in
from tests.running import until

MIA = "mia@example.test"
PLACES = ("content", "inbox", "chat", "people", "settings")
WRITES = ["content.edit", "people.see"]


@pytest.fixture
def mia(at, alpha):
    return join(at, alpha)


@pytest.fixture
def as_mia(app, at, alpha, mia):
    """Give Mia a role, and return a browser in which she has signed in with it."""

    def become(role):
        at(alpha, lambda: setattr(db.session.get(User, mia), "role", role))
        return browser_of(app, alpha, MIA)

    return become


@pytest.fixture
def made(at, alpha):
    """Make a role as the owner; returns its key."""
    return lambda name="Writers", holds=WRITES: at(alpha, lambda: Role.make(name, holds, by=owner()).key)


def owner():
    return db.session.get(User, 1)


def menu(browser):
    page = browser.get("/desk/").text
    return {place for place in PLACES if f'<li><a href="/desk/{place}/"' in page}


# What a permission is


def test_a_permission_is_declared_once_for_roles_that_every_organisation_has():
    with pytest.raises(ValueError, match="Two permissions"):
        permission("people.see", "Another meaning")
    with pytest.raises(ValueError, match="every organisation has"):
        permission("test.made_up", "For nobody", roles=("emperor",))


def test_what_nobody_declared_is_an_error_and_not_a_no(app, at, alpha, mia):
    with app.test_request_context(), pytest.raises(KeyError):
        Visitor().may("people.sea")
    with pytest.raises(KeyError):
        at(alpha, lambda: db.session.get(User, mia).may("people.sea"))
    with pytest.raises(KeyError):
        at(alpha, lambda: User.who_may("people.sea"))


def test_a_role_that_is_unknown_lets_nobody_do_anything(at, alpha, as_mia):
    browser = as_mia("gone")
    assert menu(browser) == set()
    assert at(alpha, lambda: [each.name for each in permissions() if User.by_email(MIA).may(each.name)]) == []


# What is seen


@pytest.mark.parametrize(
    ("role", "places"),
    [
        ("owner", set(PLACES)),
        ("admin", set(PLACES)),
        ("editor", {"content", "chat", "people"}),
        ("agent", {"inbox", "chat", "people"}),
        ("member", {"chat", "people"}),
    ],
)
def test_the_menu_leads_to_what_one_may_see(as_mia, role, places):
    assert menu(as_mia(role)) == places


def test_the_first_page_counts_and_lists_only_what_one_may_see(at, alpha, as_mia):
    def write():
        Entry.write("post", "A secret draft", author_id=1, author_name="Olive")
        Conversation.open_from(Contact.at("v@example.org", "V"), "Asks", "Words")
        db.session.scalars(select(Room)).first().say("A line", by=owner())

    at(alpha, write)
    shown = {"A secret draft": "editor", "1 open conversation": "agent", "1 unread line": "member"}
    for words, role in shown.items():
        assert words in as_mia(role).get("/desk/").text
    assert not {
        words for words in ("A secret draft", "open conversation") if words in as_mia("member").get("/desk/").text
    }


def test_a_file_is_there_for_who_edits_and_for_who_may_read_a_page_with_it(at, alpha, as_mia, client_for):
    def keep(words, **how):
        stored = storage.put(words.encode())
        db.session.add(Media(name="list.txt", mime=stored.mime, stored_name=stored.name))
        address = f"/files/{stored.name}/list.txt"
        entry = Entry.write("page", words, f"[list]({address})", author_id=1, author_name="Olive", **how)
        if how:
            entry.publish()
        return address

    draft, inside = at(alpha, lambda: (keep("draft"), keep("inside", visibility="members")))
    seen = {role: [as_mia(role).get(each).status_code for each in (draft, inside)] for role in ("member", "editor")}
    assert seen == {"member": [404, 200], "editor": [200, 200]}
    assert [client_for(alpha).get(each).status_code for each in (draft, inside)] == [404, 404]


def test_only_who_may_talk_is_in_a_room_and_only_who_may_answer_gets_a_conversation(at, alpha, made, as_mia):
    made()
    browser = as_mia("writers")
    assert browser.get("/desk/chat/rooms/1").status_code == 404
    assert at(alpha, lambda: db.session.scalars(visible_rooms(User.by_email(MIA))).all()) == []
    names = at(alpha, lambda: [user.name for user in Room.general().members()])
    assert names == ["Olive of Alpha Allotments"]
    assert at(alpha, lambda: events.may_see("room:1", {1, 2})) == {1}
    assert at(alpha, lambda: events.may_see("inbox", {1, 2})) == {1}


# Who gives what


def test_an_owner_makes_a_role_and_its_people_see_that_alone(app, at, alpha, signed_in, mia):
    browser = signed_in(alpha)
    asked = fromstring(browser.get("/desk/people/roles/new").text).xpath("//fieldset/fieldset/legend/text()")
    assert sorted(asked) == ["Chat", "Content", "Inbox", "People", "Settings"]
    answer = post(browser, "/desk/people/roles/new", name="Writers", permissions=WRITES)
    assert answer.location == "/desk/people/roles/"
    assert "Writers" in browser.get("/desk/people/roles/").text
    assert post(browser, f"/desk/people/{mia}/role", role="writers").status_code == 303
    writer = browser_of(app, alpha, MIA)
    assert menu(writer) == {"content", "people"}
    assert [writer.get(f"/desk/{place}/").status_code for place in PLACES] == [200, 404, 404, 200, 404]
    assert acts(at, alpha).count("role_made") == acts(at, alpha).count("role_changed") == 1


def test_no_role_is_made_of_what_is_for_owners_alone(at, alpha, signed_in, made):
    browser = signed_in(alpha)
    page = browser.get("/desk/people/roles/new").text
    for name in ("roles.manage", "backups.restore"):
        assert name not in page
        assert post(browser, "/desk/people/roles/new", name="Mighty", permissions=[name]).status_code == 422
    key = made("Mighty", ["roles.manage", "backups.restore"])
    assert at(alpha, lambda: Role.of(key).grants) == frozenset()


@pytest.mark.parametrize("name", ["", "  ", "Owner", " editor ", "WRITERS", "x" * 41])
def test_a_role_has_a_name_of_its_own(at, alpha, made, name):
    made()
    with pytest.raises(Refused, match=r"name|called"):
        made(name)


def test_nobody_gives_more_than_they_have_or_decides_about_who_has_more(app, at, alpha, signed_in, mia):
    def try_all():
        admin, other = db.session.get(User, mia), User.join("other@example.test", "Other", role="owner")
        db.session.flush()
        for act in (
            lambda: other.give_role("member", by=admin),
            lambda: other.deactivate(by=admin),
            lambda: other.remove(by=admin),
            lambda: owner().give_role("member", by=admin),
            lambda: User.join("x@example.test", "X").give_role("owner", by=admin),
        ):
            with pytest.raises(Refused, match="what yours may not"):
                act()

    at(alpha, lambda: setattr(db.session.get(User, mia), "role", "admin"))
    at(alpha, try_all)
    admin = browser_of(app, alpha, MIA)
    page = admin.get("/desk/people/invitations/new").text
    assert 'value="admin"' in page
    assert 'value="owner"' not in page
    invited = {"email": "new@example.test", "name": "", "role": "owner"}
    assert post(admin, "/desk/people/invitations/", **invited).status_code == 422
    assert "an owner decides about" in admin.get("/desk/people/1").text
    assert admin.get("/desk/people/roles/").status_code == 200
    assert admin.get("/desk/people/roles/new").status_code == 404


def test_a_role_is_not_removed_while_somebody_has_it_or_is_invited_with_it(at, alpha, signed_in, made, mia):
    key, browser = made(), signed_in(alpha)
    for give, take in (
        (lambda: db.session.get(User, mia).give_role(key, by=owner()),
         lambda: db.session.get(User, mia).give_role("member", by=owner())),
        (lambda: Invitation.send("new@example.test", key, by=owner()), lambda: None),
    ):  # fmt: skip
        at(alpha, give)
        post(browser, "/desk/people/roles/1/removal")
        assert "Give them another one first" in browser.get("/desk/people/roles/").text
        at(alpha, take)
    post(browser, "/desk/people/invitations/1/withdrawal")
    post(browser, "/desk/people/roles/1/removal")
    assert at(alpha, lambda: Role.of(key).grants) == frozenset()
    assert acts(at, alpha).count("role_removed") == 1


# How soon it is felt


@pytest.mark.parametrize(("before", "after"), [("agent", "member"), ("member", "admin")])
def test_the_open_stream_of_who_is_promoted_or_demoted_ends_within_a_second(
    at, alpha, signed_in, as_mia, mia, before, after
):
    browser = as_mia(before)
    reader, others = Reader(browser), Reader(signed_in(alpha))
    reader.next()
    others.next()
    at(alpha, lambda: db.session.get(User, mia).give_role(after, by=owner()))
    until(lambda: reader.is_over, 1)
    assert not others.is_over
    assert browser.get("/desk/inbox/").location == "/sign-in?next=/desk/inbox/"
    sign_in(browser, MIA)
    assert browser.get("/desk/inbox/").status_code == (200 if after == "admin" else 404)


def test_who_has_a_role_that_is_changed_begins_anew_with_what_it_holds(at, alpha, signed_in, made, as_mia):
    key, browser = made(), signed_in(alpha)
    writer = as_mia(key)
    reader = Reader(writer)
    reader.next()
    assert post(browser, "/desk/people/roles/1", name="Scribes", permissions=WRITES).status_code == 303
    assert is_in(writer), "another name changes nothing"
    assert post(browser, "/desk/people/roles/1", name="Scribes", permissions=["people.see"]).status_code == 303
    until(lambda: reader.is_over, 1)
    assert not is_in(writer)
    sign_in(writer, MIA)
    assert menu(writer) == {"people"}
    assert writer.get("/desk/content/").status_code == 404
    assert acts(at, alpha).count("role_redefined") == 2


def test_a_stream_says_nothing_of_what_its_person_may_not_see(at, alpha, signed_in, as_mia):
    def happen():
        Conversation.open_from(Contact.at("v@example.org", "V"), "Asks", "Words")
        Entry.write("post", "A draft", author_id=1, author_name="Olive").publish()
        Room.general().say("A line", by=owner())

    kinds = {}
    for role in ("member", "agent", "editor"):
        reader = Reader(as_mia(role))
        reader.next()
        at(alpha, happen)
        kinds[role] = {
            found["kind"].removesuffix("Published") for found in reader.heard() if found["name"] == "message"
        }
    assert kinds["member"] == {"LinePosted"}
    assert "ConversationOpened" in kinds["agent"]
    assert "ConversationOpened" not in kinds["editor"]
    assert kinds["editor"] > {"LinePosted"}
    assert not kinds["agent"] & (kinds["editor"] - {"LinePosted"})


def test_what_somebody_looked_after_is_free_when_they_may_answer_no_more(at, alpha, mia):
    def take():
        user = db.session.get(User, mia)
        user.role = "agent"
        conversation = Conversation.open_from(Contact.at("v@example.org", "V"), "Asks", "Words")
        conversation.assign_to(user, by=user)
        return conversation.id

    def held_after(role):
        at(alpha, lambda: db.session.get(User, mia).give_role(role, by=owner()))
        return at(alpha, lambda: db.session.get(Conversation, number).assignee_id)

    number = at(alpha, take)
    assert [held_after("admin"), held_after("editor")] == [mia, None]


def test_the_door_asks_at_every_request(app, at, alpha, as_mia):
    browser = as_mia("editor")
    assert browser.get("/desk/content/").status_code == 200
    at(alpha, lambda: setattr(User.by_email(MIA), "role", "member"))  # without the verb, which ends the session too
    assert browser.get("/desk/content/").status_code == 404


# Who was here before


def test_members_of_before_keep_what_they_could_do(tmp_path):
    """The files of accounts_0005 and of all that came with it are put aside, and then back."""
    tree = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, tree, ignore=shutil.ignore_patterns("__pycache__"))
    later = [*(tree / "tenant" / "accounts").glob("000[5-9]_*.py"), tree / "tenant" / "api"]
    for each in later:
        if each.exists():
            each.rename(tmp_path / each.name)
    file = connect(tmp_path / "old.sqlite3", b"k" * 32, create=True)
    migrate(file, "tenant", tree)
    people = (("owner", "active"), ("member", "active"), ("member", "closed"), ("member", "removed"))
    file.executemany(
        "INSERT INTO user (email, name, role, state, created_at) VALUES (?, ?, ?, ?, 0)",
        [(f"{number}@x.test", "X", *each) for number, each in enumerate(people)],
    )
    for each in later:
        if (tmp_path / each.name).exists():
            (tmp_path / each.name).rename(each)
    migrate(file, "tenant", tree)
    assert [role for (role,) in file.execute("SELECT role FROM user ORDER BY id").fetchall()] == [
        "owner",
        "team",
        "team",
        "member",
    ]
    rows = file.execute("SELECT key, name, permissions FROM role").fetchall()
    assert rows == [("team", "Team", '["people.see", "content.edit", "inbox.answer", "chat.talk"]')]
    file.close()


def test_a_house_that_begins_today_has_the_five_and_no_more(app, alpha):
    with app.app_context(), tenant_context(alpha, writes=False):
        assert [role.key for role in Role.every()] == list(ROLES)
