"""Who is here, what they may do, and how they go."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from app import create_app
from app.accounts import User
from app.accounts.models import Factor
from app.chat import Room
from app.content.models import Entry
from app.inbox import Contact, Conversation
from app.tenancy import db, tenant_context
from app.tenancy.errors import QuotaExceeded, Refused
from tests.accounts.people import acts, browser_of, is_in, join, post
from tests.accounts.test_live import Reader
from tests.conftest import PASSWORD, sign_in
from tests.printed import filled_in
from tests.running import until


@pytest.fixture
def mia(at, alpha):
    return join(at, alpha)


def states(at, tenant):
    return at(tenant, lambda: {user.name: (user.role, user.state) for user in db.session.scalars(select(User))})


def test_members_see_names_and_owners_addresses(app, alpha, signed_in, mia):
    owner, member = signed_in(alpha), browser_of(app, alpha, "mia@example.test")
    assert "mia@example.test" in owner.get("/desk/people/").text
    seen = member.get("/desk/people/").text
    assert "Olive of Alpha" in seen
    assert "owner@alpha.test" not in seen
    assert "Invite somebody" not in seen
    assert [member.get(f"/desk/people/{path}").status_code for path in ("1", "2/removal", "invitations/new")] == [
        404
    ] * 3
    assert post(member, "/desk/people/1/deactivation").status_code == 404


def test_who_manages_people_sees_who_has_a_second_factor(app, at, alpha, signed_in, mia):
    owner, member = signed_in(alpha), browser_of(app, alpha, "mia@example.test")
    assert owner.get("/desk/people/").text.count("No second factor") == 2
    at(alpha, lambda: db.session.add(Factor(person_id=mia, kind="app", secret="x")))
    listed, person = owner.get("/desk/people/").text, owner.get(f"/desk/people/{mia}").text
    assert (listed.count("No second factor"), listed.count("Has a second factor")) == (1, 1)
    assert "<dt>Second factor</dt><dd>Set up</dd>" in person
    assert "second factor" not in member.get("/desk/people/").text


def test_an_owner_alone_is_told_what_people_are_for(alpha, signed_in):
    assert "on your own so far" in signed_in(alpha).get("/desk/people/").text


def test_a_long_list_can_be_searched(at, alpha, app, signed_in):
    owner = signed_in(alpha)
    assert 'type="search"' not in owner.get("/desk/people/").text
    for number in range(21):
        join(at, alpha, f"person{number}@example.test", f"Person {number}")
    assert 'type="search"' in owner.get("/desk/people/").text
    found = owner.get("/desk/people/?q=PERSON+17").text
    assert "Person 17" in found
    assert "Person 16" not in found
    assert "Person 3" in owner.get("/desk/people/?q=person3%40").text
    member = browser_of(app, alpha, "person1@example.test")
    assert "Nobody is called that" in member.get("/desk/people/?q=person3%40").text


def test_last_seen_is_kept_when_somebody_signs_out(app, at, alpha, mia):
    browser = browser_of(app, alpha, "mia@example.test")
    post(browser, "/sign-out")
    assert at(alpha, lambda: db.session.get(User, mia).last_seen_at) is not None


def test_a_new_role_holds_at_once_and_ends_the_sessions_of_the_old_one(app, at, alpha, signed_in, mia):
    owner, member = signed_in(alpha), browser_of(app, alpha, "mia@example.test")
    assert post(owner, f"/desk/people/{mia}/role", role="owner").status_code == 303
    assert not is_in(member)
    assert is_in(owner)
    sign_in(member, "mia@example.test")
    assert member.get("/desk/settings/").status_code == 200
    assert acts(at, alpha).count("role_changed") == 1


@pytest.mark.parametrize("act", ["role", "deactivation", "removal"])
def test_an_old_session_is_dead_in_every_process_at_once(app, config, at, alpha, signed_in, mia, act):
    elsewhere = create_app(config)  # another process, for all that it knows
    try:
        owner, member = signed_in(alpha), browser_of(elsewhere, alpha, "mia@example.test")
        assert is_in(member)
        post(owner, f"/desk/people/{mia}/{act}", role="owner", email="mia@example.test")
        assert not is_in(member)
    finally:
        elsewhere.extensions["tenancy"].close()


def test_a_deactivated_person_is_out_within_a_second_and_may_come_back(app, at, alpha, signed_in, mia):
    owner, member = signed_in(alpha), browser_of(app, alpha, "mia@example.test")
    reader = Reader(member)
    reader.next()
    post(owner, f"/desk/people/{mia}/deactivation")
    until(lambda: reader.is_over, 1)
    assert not is_in(member)
    with pytest.raises(AssertionError):
        sign_in(member, "mia@example.test")
    assert "Deactivated" in owner.get("/desk/people/").text
    post(owner, f"/desk/people/{mia}/reactivation")
    sign_in(member, "mia@example.test", PASSWORD)
    assert is_in(member)


def test_coming_back_takes_a_place_of_the_plan(at, alpha, mia, app):
    at(alpha, lambda: db.session.get(User, mia).deactivate(by=db.session.get(User, 1)))
    with app.app_context(), tenant_context(small(alpha, 1)):
        with pytest.raises(QuotaExceeded):
            db.session.get(User, mia).reactivate(by=db.session.get(User, 1))


def small(tenant, most):
    """Return the tenant with room for so many people."""
    return replace(tenant, caps={"users": most})


def test_what_a_removed_person_wrote_keeps_their_name(app, at, alpha, signed_in, mia):
    def write():
        user = db.session.get(User, mia)
        Entry.write("post", "Hello", author_id=user.id, author_name=user.name)
        db.session.scalars(select(Room)).first().say("A line", by=user)
        conversation = Conversation.open_from(Contact.at("v@example.org", "V"), "Asks", "Words")
        conversation.reply("An answer", by=user, client_id="1")
        conversation.assign_to(user, by=user)
        return conversation.id

    conversation_id = at(alpha, write)
    owner = signed_in(alpha)
    page = owner.get(f"/desk/people/{mia}/removal").text
    assert owner.post(f"/desk/people/{mia}/removal", data=filled_in(page, email="wrong")).status_code == 422
    answer = owner.post(f"/desk/people/{mia}/removal", data=filled_in(page, "email", email=" MIA@example.test"))
    assert answer.status_code == 303
    assert "Mia Member is removed" in owner.get("/desk/people/").text
    assert "Mia Member" in owner.get(f"/desk/inbox/{conversation_id}").text
    assert "Mia Member" in owner.get("/desk/chat/rooms/1").text
    assert at(alpha, lambda: db.session.get(Conversation, conversation_id).assignee_id) is None
    row = at(alpha, lambda: db.session.get(User, mia))
    assert ("mia@example.test" in row.email, row.password_hash, row.state) == (False, None, "removed")
    assert "Mia Member" not in owner.get("/desk/people/").text
    assert owner.get(f"/desk/people/{mia}").status_code == 404
    assert join(at, alpha) != mia


def test_nobody_acts_on_themselves(at, alpha, signed_in, mia):
    at(alpha, lambda: db.session.get(User, mia).give_role("owner", by=db.session.get(User, 1)))
    owner = signed_in(alpha)
    for act, data in (("role", {"role": "member"}), ("deactivation", {})):
        assert post(owner, f"/desk/people/1/{act}", **data).status_code == 303
    assert owner.get("/desk/people/1/removal").location == "/desk/profile/leaving"
    assert states(at, alpha)["Olive of Alpha Allotments"] == ("owner", "active")
    assert is_in(owner)


def test_the_last_owner_stays_and_one_who_never_came_counts_for_nobody(at, alpha, mia):
    def leave():
        owner, never = db.session.get(User, 1), User.join("never@example.test", "Never", role="owner")
        db.session.flush()
        for act in (
            lambda: owner.remove(by=owner),
            lambda: owner.remove(by=never),
            lambda: owner.give_role("member", by=never),
            lambda: owner.deactivate(by=never),
        ):
            with pytest.raises(Refused, match="no owner left"):
                act()

    at(alpha, leave)


def test_of_two_owners_who_demote_each_other_at_the_same_moment_one_succeeds(app, at, alpha):
    other = join(at, alpha, role="owner")
    start, refused = threading.Barrier(2), []

    def demote(whom, by):
        with app.app_context(), tenant_context(alpha):
            start.wait()
            try:
                db.session.get(User, whom).give_role("member", by=db.session.get(User, by))
                db.session.commit()
            except Refused as refusal:
                refused.append(refusal)

    for _ in range(5):
        threads = [threading.Thread(target=demote, args=pair) for pair in ((1, other), (other, 1))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        roles = [role for role, _ in states(at, alpha).values()]
        assert sorted(roles) == ["member", "owner"]
        at(alpha, lambda: [setattr(user, "role", "owner") for user in db.session.scalars(select(User))])
    assert len(refused) == 5


def test_somebody_may_leave(app, at, alpha, mia):
    member = browser_of(app, alpha, "mia@example.test")
    page = member.get("/desk/profile/leaving").text
    assert member.post("/desk/profile/leaving", data=filled_in(page, "email", email="nope")).status_code == 422
    assert (
        member.post("/desk/profile/leaving", data=filled_in(page, "email", email="mia@example.test")).status_code == 303
    )
    assert not is_in(member)
    assert states(at, alpha)["Mia Member"] == ("member", "removed")
    assert acts(at, alpha)[-1] == "person_left"
