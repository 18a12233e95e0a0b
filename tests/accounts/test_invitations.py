"""How somebody is invited and comes in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.accounts import Invitation, Role, User, end_sessions
from app.console import caps
from app.facilities import mail
from app.tenancy import db, platform_context, tenant_context, utcnow
from app.tenancy.errors import QuotaExceeded
from app.tenancy.registry import Tenant
from tests.accounts.people import acts, browser_of, invite, is_in, join, letters, link_in, post
from tests.printed import filled_in

CHOSEN = {"name": "Nell New", "password": "four unrelated words"}


def accept(browser, link, **chosen):
    page = browser.get(link)
    if page.status_code != 200:
        return page
    return browser.post(link, data=filled_in(page.text, "password", **(CHOSEN | chosen)))


def test_an_invited_person_comes_in_by_the_letter(app, at, alpha, signed_in, client_for, work):
    owner, guest = signed_in(alpha), client_for(alpha)
    shown = invite(owner, "New@Example.test", name="Nell")
    assert "Letter on its way" in owner.get("/desk/people/").text
    work(alpha)
    (letter,) = letters(app)
    assert letter["To"].addresses[0].addr_spec == "new@example.test"
    assert letter["From"].addresses[0].display_name == alpha.name
    assert letter["From"].addresses[0].addr_spec == f"inbox@{alpha.primary_host}"
    text, html = (letter.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert link_in(text, "invitation") == link_in(html, "invitation") == shown
    assert f"http://{alpha.primary_host}" in text
    assert accept(guest, shown).location == "/desk/"
    assert "Welcome to Alpha Allotments!" in guest.get("/desk/").text
    assert "Nell New" in guest.get("/desk/people/").text
    assert "not yet here" not in owner.get("/desk/people/").text
    assert guest.get("/desk/settings/").status_code == 404
    assert acts(at, alpha)[-5:] == ["signed_in", "person_invited", "person_joined", "device_added", "signed_in"]


def test_an_invitation_gives_the_role_it_was_made_for(alpha, signed_in, client_for):
    guest = client_for(alpha)
    accept(guest, invite(signed_in(alpha), role="owner"), role="member")
    assert guest.get("/desk/settings/").status_code == 200


def test_the_token_is_not_stored(at, alpha, signed_in):
    token = invite(signed_in(alpha)).rpartition("/")[2]
    row = at(alpha, lambda: db.session.scalars(select(Invitation)).one())
    assert token not in {str(value) for value in vars(row).values()}


def test_a_link_that_is_used_expired_withdrawn_replaced_or_of_another_house_is_gone(
    at, alpha, beta, signed_in, client_for
):
    owner = signed_in(alpha)
    used, old, withdrawn = (invite(owner, f"{name}@example.test") for name in ("used", "old", "withdrawn"))
    replaced, expired = invite(owner, "replaced@example.test"), invite(owner, "expired@example.test")
    foreign = invite(signed_in(beta))
    accept(client_for(alpha), used)
    post(owner, "/desk/people/invitations/3/withdrawal")
    again = link_in(post(owner, "/desk/people/invitations/4/letter").text, "invitation")
    over = {"expires_at": utcnow() - timedelta(seconds=1)}
    at(alpha, lambda: db.session.execute(update(Invitation).where(Invitation.id == 5).values(**over)))
    pages = {
        client_for(alpha).get(link).text for link in (used, withdrawn, replaced, expired, foreign, "/invitation/x")
    }
    assert len(pages) == 1, "the page must not tell which it was"
    (page,) = pages
    assert "another owner of Alpha Allotments" in page
    assert "example.test" not in page
    for link in (used, withdrawn, replaced, expired, foreign):
        answer = client_for(alpha).post(link, data=CHOSEN)
        assert answer.status_code == 404
    assert client_for(alpha).get(old).status_code == client_for(alpha).get(again).status_code == 200
    assert "Expired" in owner.get("/desk/people/").text


def test_reading_the_page_and_weak_passwords_spend_nothing(alpha, signed_in, client_for):
    link, guest = invite(signed_in(alpha)), client_for(alpha)
    for _ in range(3):
        assert guest.get(link).status_code == 200
    assert accept(guest, link, password="short").status_code == 422
    assert accept(guest, link).status_code == 303
    assert accept(client_for(alpha), link).status_code == 404


def test_whoever_is_here_or_invited_is_not_invited_again(at, alpha, signed_in):
    owner = signed_in(alpha)
    join(at, alpha)
    invite(owner)
    for email, said in (("MIA@example.test", "is here already"), ("new@example.test", "is invited already")):
        page = post(owner, "/desk/people/invitations/", email=email, role="member")
        assert (page.status_code, said in page.text) == (422, True)
    assert post(owner, "/desk/people/invitations/", email="none", role="member").status_code == 422
    assert post(owner, "/desk/people/invitations/", email="x@example.test", role="king").status_code == 422


def narrow(app, tenant, most):
    """Give a tenant room for so many people, as the console does."""
    with app.app_context(), platform_context():
        caps.grant(db.session.get(Tenant, tenant.id), "users", most, "a test", None, "operator@platform.test")


def test_the_plan_holds_at_invitation_and_at_acceptance(app, alpha, signed_in, client_for):
    owner, guest = signed_in(alpha), client_for(alpha)
    narrow(app, alpha, 2)
    link = invite(owner)
    assert "Every place in your plan is taken" in owner.get("/desk/people/invitations/new").text
    assert post(owner, "/desk/people/invitations/", email="third@example.test", role="member").status_code == 403
    narrow(app, alpha, 1)
    assert accept(guest, link).status_code == 403
    narrow(app, alpha, 2)
    assert accept(guest, link).status_code == 303


def test_an_expired_invitation_needs_a_place_to_be_sent_again(app, at, alpha, signed_in):
    invite(signed_in(alpha))
    with app.app_context(), tenant_context(replace(alpha, caps={"users": 1})):
        invitation, owner = db.session.get(Invitation, 1), db.session.get(User, 1)
        invitation.expires_at = utcnow()
        db.session.flush()
        with pytest.raises(QuotaExceeded):
            invitation.send_again(by=owner)


def test_a_letter_that_cannot_leave_is_shown_and_the_link_works_all_the_same(
    app, alpha, signed_in, client_for, work, monkeypatch
):
    def refuse(*_):
        raise mail.MailRefused("The relay refused it: 550 no such box.")

    monkeypatch.setattr(mail, "send", refuse)
    owner = signed_in(alpha)
    link = invite(owner)
    work(alpha)
    assert "550 no such box" in owner.get("/desk/people/").text
    assert accept(client_for(alpha), link).status_code == 303


def test_no_letter_leaves_for_an_invitation_that_was_withdrawn(app, alpha, signed_in, work):
    owner = signed_in(alpha)
    invite(owner)
    post(owner, "/desk/people/invitations/1/withdrawal")
    work(alpha)
    assert letters(app) == []


def test_members_can_neither_invite_nor_withdraw(app, at, alpha, signed_in):
    join(at, alpha)
    member = browser_of(app, alpha, "mia@example.test")
    invite(signed_in(alpha))
    assert post(member, "/desk/people/invitations/", email="x@example.test", role="owner").status_code == 404
    assert post(member, "/desk/people/invitations/1/withdrawal").status_code == 404
    assert "new@example.test" not in member.get("/desk/people/").text


def test_an_owner_who_opens_the_link_is_warned_and_stays_who_they_are(alpha, signed_in):
    owner = signed_in(alpha)
    assert "You are signed in here as Olive" in owner.get(invite(owner)).text
    assert is_in(owner)


def test_an_invitation_that_a_copy_brings_back_has_expired(tenancy, alpha, signed_in, client_for):
    owner = signed_in(alpha)
    link = invite(owner)
    with closing(tenancy.placements.open_file(alpha.id)) as file:
        end_sessions(file)
    assert client_for(alpha).get(link).status_code == 404
    assert "Expired" in signed_in(alpha).get("/desk/people/").text


# An invitation is worth what its sender may do.


@pytest.mark.parametrize("fall", ["role", "deactivation", "removal"])
def test_an_invitation_is_withdrawn_when_its_sender_could_not_send_it_any_more(
    app, at, alpha, signed_in, client_for, fall
):
    owner, number = signed_in(alpha), join(at, alpha, role="admin")
    mine, theirs = invite(owner, "ed@example.test"), invite(browser_of(app, alpha, "mia@example.test"), role="admin")
    post(owner, f"/desk/people/{number}/{fall}", role="editor", email="mia@example.test")
    assert accept(client_for(alpha), theirs).status_code == 404
    assert acts(at, alpha)[-1] == "invitation_withdrawn"
    assert accept(client_for(alpha), mine).status_code == 303


def test_an_invitation_that_was_sent_again_is_worth_what_its_last_sender_may_do(app, at, alpha, signed_in, client_for):
    owner, number = signed_in(alpha), join(at, alpha, role="admin")
    invite(owner)
    page = post(browser_of(app, alpha, "mia@example.test"), "/desk/people/invitations/1/letter")
    post(owner, f"/desk/people/{number}/deactivation")
    assert accept(client_for(alpha), link_in(page.text, "invitation")).status_code == 404


def test_who_leaves_takes_their_invitations_along(at, alpha):
    join(at, alpha, role="admin")
    at(alpha, lambda: Invitation.send("new@example.test", "admin", by=User.by_email("mia@example.test")))
    at(alpha, lambda: (mia := User.by_email("mia@example.test")).remove(by=mia))
    assert at(alpha, lambda: Invitation.by_email("new@example.test")) is None


@pytest.mark.parametrize("changed", [["content.edit"], ["people.manage"]])
def test_an_invitation_is_withdrawn_when_a_made_role_changes_so_that_its_sender_could_not_send_it(at, alpha, changed):
    """Either the sender's role has lost inviting, or it no longer covers what the invitation gives."""

    def owner():
        return db.session.get(User, 1)

    role = at(alpha, lambda: Role.make("Greeters", ["people.manage", "content.edit"], by=owner()).key)
    given = at(alpha, lambda: Role.make("Writers", ["content.edit"], by=owner()).key)
    join(at, alpha, role=role)
    at(alpha, lambda: Invitation.send("new@example.test", given, by=User.by_email("mia@example.test")))
    at(alpha, lambda: Role.of(role).change("Greeters", changed, by=owner()))
    assert at(alpha, lambda: Invitation.by_email("new@example.test")) is None
