"""The first page of the desk."""

from __future__ import annotations

import pytest
import time_machine

from app.branding import Site
from app.chat import Room
from app.content.home import greeting
from app.content.models import Entry
from app.inbox import Contact, Conversation
from app.tenancy import db, tenant_context


def write(app, tenant, *titles, publish=False):
    with app.app_context(), tenant_context(tenant):
        for title in titles:
            entry = Entry.write("post", title, "Words")
            if publish:
                entry.publish()
        db.session.commit()


def test_a_member_finds_drafts_and_what_changed_lately(app, alpha, beta, signed_in):
    write(app, alpha, "Half a thought")
    write(app, alpha, "Harvest report", publish=True)
    write(app, beta, "Beta's secret draft")
    page = signed_in(alpha).get("/desk/").text
    assert "Half a thought" in page.split('id="drafts"')[1]
    assert "Harvest report" in page.split('id="recent"')[1].split('id="drafts"')[0]
    assert "secret" not in page
    assert "alpha.localhost" in page


def test_an_empty_desk_says_what_will_be_there(app, alpha, signed_in):
    with app.app_context(), tenant_context(alpha):
        for entry in db.session.query(Entry):
            db.session.delete(entry)
        db.session.commit()
    page = signed_in(alpha).get("/desk/").text
    assert "Nothing published yet" in page
    assert "No drafts" in page


def test_the_trash_is_not_news(app, alpha, signed_in):
    with app.app_context(), tenant_context(alpha):
        Entry.write("post", "Thrown away", "Words").trash()
        db.session.commit()
    assert "Thrown away" not in signed_in(alpha).get("/desk/").text


@pytest.mark.parametrize(
    ("zone", "words"),
    [("Europe/London", "Good morning"), ("Asia/Tokyo", "Good evening"), ("Asia/Karachi", "Good afternoon")],
)
def test_the_greeting_goes_by_the_clocks_of_the_place(zone, words):
    with time_machine.travel("2026-01-10 10:00:00+00:00", tick=False):
        assert greeting(zone) == words


def test_the_greeting_follows_the_settings(app, alpha, signed_in):
    with app.app_context(), tenant_context(alpha):
        Site.mine().speak("en", "Asia/Tokyo")
        db.session.commit()
    client = signed_in(alpha)
    with time_machine.travel("2026-11-22 10:00:00+00:00", tick=False):
        assert "Good evening" in client.get("/desk/").text


def test_what_waits_in_inbox_and_chat_is_told(app, alpha, signed_in):
    browser = signed_in(alpha)
    assert "Everything is answered." in browser.get("/desk/").text
    with app.app_context(), tenant_context(alpha):
        Conversation.open_from(Contact.at("ada@example.org", "Ada"), "Boats", "Are there boats?")
        Room.general().tell("The kettle is on.", "kettle:1")
        db.session.commit()
    page = browser.get("/desk/").text
    assert "1 open conversation, 1 that nobody has taken." in page
    assert "1 unread line." in page
