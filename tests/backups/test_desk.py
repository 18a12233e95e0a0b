"""Where owners go back in time: what they are told, what they find, and what they can do."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text

from app import backups
from app.accounts import User, hash_password
from app.backups import around, timeline
from app.backups.models import Order
from app.backups.standing import Return
from app.chat import Room
from app.facilities import events
from app.tenancy import db, platform_context, utcnow
from app.tenancy.ledger import AuditRow
from tests.backups import doing
from tests.backups.doing import copy_of, proof_of, send
from tests.conftest import PASSWORD, sign_in

BACKUPS = "/desk/settings/backups/"


@pytest.fixture
def owner(alpha, signed_in):
    return signed_in(alpha)


@pytest.fixture
def copied(app):
    return partial(doing.copied, app)


@pytest.fixture
def note(app):
    return partial(doing.noted, app)


@pytest.fixture
def archivist(app):
    """Carry out what waits, as the archivist would."""
    return partial(doing.carried_out, app)


@pytest.fixture
def say(at, alpha):
    """Say something in the first room of alpha."""

    return lambda text: at(alpha, lambda: said_now(text))


def said_now(text):
    by = db.session.scalars(select(User)).first()
    db.session.scalars(select(Room)).first().say(text, by=by, client_id=text)


def look_at(client, archivist, moment):
    assert send(client, f"{BACKUPS}moments/{moment.seq}/preview").location == f"{BACKUPS}order"
    assert archivist() == 1


# What owners are told.


def test_the_settings_tell_of_the_last_proof_and_the_last_copy(alpha, owner, note):
    note(copy_of(alpha), proof_of(alpha, proven_at=datetime(2026, 11, 21, 14, 5, tzinfo=UTC)))
    page = owner.get("/desk/settings/").text
    assert "21 November 2026, 14:05 UTC" in page
    assert "took 0.8 s, everything was there" in page
    assert "copied within seconds" in page
    assert "Go back in time" in page


def test_before_the_first_proof_and_copy_the_settings_say_so(alpha, owner):
    page = owner.get("/desk/settings/").text
    assert "none yet. The first one is done by itself" in page
    assert "none yet. The first one is made within a minute" in page


def test_a_failed_proof_is_told_with_what_it_means_until_one_succeeds(alpha, owner, note):
    note(proof_of(alpha, proven_at=utcnow() - timedelta(days=2)))
    note(proof_of(alpha, proven_at=utcnow() - timedelta(days=1), error="a page is not authentic"))
    page = owner.get("/desk/settings/").text
    assert "The last try to prove a restore failed" in page
    assert "everything was there" in page, "the good one before is told too"
    note(proof_of(alpha))
    assert "failed" not in owner.get("/desk/settings/").text


def test_late_copies_are_told(alpha, owner, note):
    note(copy_of(alpha, late_since=datetime(2026, 11, 20, 9, 30, tzinfo=UTC), error="no room"))
    assert "Copies are late since 20 November 2026, 09:30 UTC" in owner.get("/desk/settings/").text


def test_it_is_told_when_nobody_makes_copies_any_more(config, alpha, owner, note):
    note(copy_of(alpha))
    beat = config.run / "copies.beat"
    beat.parent.mkdir(parents=True, exist_ok=True)
    beat.touch()
    assert "No copies are being made" not in owner.get("/desk/settings/").text
    os.utime(beat, (time.time() - 120, time.time() - 120))
    assert "No copies are being made since" in owner.get("/desk/settings/").text


def test_a_large_file_is_said_to_be_copied_less_often(alpha, owner, note):
    note(copy_of(alpha, size=3 << 30, interval=170.0))
    page = owner.get("/desk/settings/").text
    assert "has grown to 3.0 GiB" in page
    assert "within 3 minutes" in page


def test_members_and_visitors_see_nothing_of_it(app, alpha, at, client_for, copied):
    hashed = hash_password(PASSWORD)
    at(alpha, lambda: User.join("mia@alpha.test", "Mia", hashed=hashed))
    copied(alpha)
    member = client_for(alpha)
    assert member.get(BACKUPS).location.startswith("/sign-in")
    sign_in(member, "mia@alpha.test")
    for path in ("", "order", "preview/open", "preview/things", "moments/1/replacement"):
        assert member.get(BACKUPS + path).status_code == 404, path


# What they find.


def test_without_any_copy_the_page_says_what_is_to_come(owner):
    assert "No moment to go back to yet" in owner.get(BACKUPS).text


def test_a_place_of_the_copies_that_is_gone_is_told(config, alpha, owner, copied):
    moment = copied(alpha)
    config.backups.rename(config.backups.with_name("elsewhere"))
    assert "cannot be reached at the moment" in owner.get(BACKUPS).text
    assert owner.get(f"{BACKUPS}moments/{moment.seq}/replacement").status_code == 404
    assert owner.get("/desk/settings/").status_code == 200


def test_moments_are_listed_newest_first_with_what_happened(alpha, owner, copied, say):
    copied(alpha)
    say("one")
    say("two")
    copied(alpha)
    page = owner.get(BACKUPS).text
    assert "2 lines posted" in page
    times = [stamp.split("+")[0] for stamp in re.findall(r'<time datetime="([^"]+)"', page)]
    assert len(times) == 2
    assert times == sorted(times, reverse=True)
    assert "1 moment" in re.sub(r"<[^>]+>", "", page) or "2 moments" in re.sub(r"<[^>]+>", "", page)


def test_a_long_list_has_pages(monkeypatch, alpha, owner, copied):
    from app.backups import desk

    monkeypatch.setattr(desk, "PER_PAGE", 2)
    for _ in range(3):
        copied(alpha)
    assert owner.get(BACKUPS).text.count("Look at this moment") == 2
    assert owner.get(f"{BACKUPS}?page=2").text.count("Look at this moment") == 1
    assert owner.get(f"{BACKUPS}?page=3").status_code == 404


def test_a_time_finds_the_newest_moment_not_after_it_by_the_clocks_of_the_place(alpha, owner, copied, at):
    from app.branding import Site

    at(alpha, lambda: Site.mine().speak("en", "Asia/Tokyo"))
    first = copied(alpha)
    time.sleep(1.0)  # the field holds whole seconds
    second = copied(alpha)
    wall = (second.at - timedelta(microseconds=1)).astimezone(ZoneInfo("Asia/Tokyo"))
    page = owner.get(f"{BACKUPS}?day={wall:%Y-%m-%d}&time={wall:%H:%M:%S}").text
    assert "The newest moment up to" in page
    assert f"moments/{first.seq}/preview" in page.split("All moments")[0]
    assert f"moments/{second.seq}/preview" not in page.split("All moments")[0]


def test_a_time_before_all_moments_finds_none_and_nonsense_is_explained(alpha, owner, copied):
    copied(alpha)
    assert "Nothing is kept from before that" in owner.get(f"{BACKUPS}?day=1999-01-01&time=12:00").text
    page = owner.get(f"{BACKUPS}?day=tomorrow&time=12:00")
    assert page.status_code == 200
    assert "Not a valid date" in page.text


def test_of_another_life_of_the_file_nothing_is_said(alpha, owner, copied, say, at):
    copied(alpha)
    say("one")
    copied(alpha)
    at(alpha, lambda: db.session.execute(text("UPDATE stamp SET epoch = epoch + 1"), bind_arguments={"mapper": User}))
    assert "lines posted" not in owner.get(BACKUPS).text
    assert "line posted" not in owner.get(BACKUPS).text


def test_what_was_put_aside_by_going_back_is_marked_and_what_led_to_it_is_told(
    alpha, owner, copied, archivist, say, client_for, at, tenancy
):
    copied(alpha)
    say("kept")
    moment = copied(alpha)
    say("regretted")
    copied(alpha)
    send(owner, f"{BACKUPS}moments/{moment.seq}/replacement", name="Alpha Allotments")
    archivist()
    at(tenancy.registry.by_slug("alpha"), lambda: said_now("a new line, with the number of the regretted one"))
    browser = client_for(alpha)
    sign_in(browser, "owner@alpha.test")
    listed = browser.get(BACKUPS).text.split('id="moments"')[1]
    assert "put aside by going back" in listed
    assert listed.count("1 line posted") == 1, "the one that led to today"


def test_each_return_puts_aside_what_came_between():
    def at(hour):
        return datetime(2026, 11, 22, hour, tzinfo=UTC)

    # At 12 back to 10; at 15 back to 11, which the first return had put aside.
    spans = around._spans([Return(at(11), at(15), None), Return(at(10), at(12), None)])
    assert [any(after < at(hour) <= until for after, until in spans) for hour in (9, 11, 13, 14, 16)] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_kinds_are_spoken_as_people_say_them():
    assert around.spoken("LinePosted", 1) == "1 line posted"
    assert around.spoken("ReplyWritten", 2) == "2 replies written"
    assert around.spoken("ConversationMarkedSpam", 1200) == "1,200 conversations marked spam"


def test_the_picture_is_dense_at_the_end_and_forgets_nothing():
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    ages = [timedelta(seconds=8 * place) for place in range(60)] + [timedelta(days=days) for days in (2, 20, 200, 900)]
    spans = timeline.drawn((now - age for age in ages), now)
    assert [span.count for span in spans] == [2, 1, 1, 0, 60]
    assert spans[-1].bars[-1].height > spans[0].bars[0].height
    assert all(0 <= bar.place < span.slots for span in spans for bar in span.bars)


# What they can do.


def test_a_look_at_a_moment_shows_how_it_goes_and_then_the_ways_on(alpha, owner, copied, archivist, say):
    moment = copied(alpha)
    say("afterwards")
    assert send(owner, f"{BACKUPS}moments/{moment.seq}/preview").location == f"{BACKUPS}order"
    page = owner.get(f"{BACKUPS}order").text
    assert "Waiting for its turn" in page
    assert "It begins within a few seconds." in page
    assert 'hx-trigger="every 1s"' in page
    assert "Look again" in page
    archivist()
    page = owner.get(f"{BACKUPS}order").text
    assert "hx-trigger" not in page
    for way in ("Open the preview", "Bring back single things", "Put this moment in place", "Discard the preview"):
        assert way in page, way


def test_a_moment_that_is_not_kept_is_not_found(alpha, beta, owner, copied):
    moment = copied(beta)
    assert send(owner, f"{BACKUPS}moments/{moment.seq}/preview").status_code == 404
    assert owner.get(f"{BACKUPS}moments/{moment.seq}/replacement").status_code == 404


def test_an_order_that_failed_says_why(alpha, owner, note):
    note(
        Order(
            tenant_id=alpha.id,
            kind="preview",
            asked_by="x",
            state="failed",
            message="There is no room.",
            ended_at=utcnow(),
        )
    )
    page = owner.get(f"{BACKUPS}order").text
    assert "A look at the past did not work. There is no room." in page


def test_while_something_else_is_done_an_order_has_to_wait(alpha, owner, copied, note):
    moment = copied(alpha)
    note(Order(tenant_id=alpha.id, kind="tick", asked_by="x", state="running"))
    send(owner, f"{BACKUPS}moments/{moment.seq}/preview")
    assert "Something else is being done" in owner.get(f"{BACKUPS}order").text


def test_going_back_says_in_numbers_what_is_undone_and_wants_the_name(alpha, owner, copied, say):
    moment = copied(alpha)
    say("one")
    say("two")
    path = f"{BACKUPS}moments/{moment.seq}/replacement"
    page = owner.get(path).text
    row = re.search(r"<td>A line was written in a room</td><td class=\"number\">2</td>", page)
    assert row, "two lines, by the meaning of their kind"
    assert "kept as a moment first" in page
    answer = send(owner, path, name="Another")
    assert answer.status_code == 422
    assert "Please type “Alpha Allotments”" in answer.text
    assert send(owner, path, name=" alpha  allotments ").location == f"{BACKUPS}order"


def test_after_going_back_everybody_is_told_and_owners_can_undo_it(
    alpha, owner, copied, archivist, say, client_for, at
):
    moment = copied(alpha)
    say("regretted")
    send(owner, f"{BACKUPS}moments/{moment.seq}/replacement", name="Alpha Allotments")
    archivist()
    assert owner.get(BACKUPS).location.startswith("/sign-in"), "everybody signs in again"
    browser = client_for(alpha)
    assert "The organisation stands as of" in browser.get("/sign-in").text
    sign_in(browser, "owner@alpha.test")
    assert "An owner can undo this" in browser.get("/desk/").text
    page = browser.get(BACKUPS).text
    undo = re.search(r'Undo: <a href="([^"]+)"', page)
    assert undo
    send(browser, undo.group(1), name="Alpha Allotments")
    archivist()
    again = client_for(alpha)
    sign_in(again, "owner@alpha.test")
    assert "regretted" in again.get("/desk/chat/rooms/1").text


def test_who_signs_in_on_the_way_to_a_page_that_tells_of_the_return_is_told_once(
    alpha, owner, copied, archivist, client_for
):
    send(owner, f"{BACKUPS}moments/{copied(alpha).seq}/replacement", name="Alpha Allotments")
    archivist()
    browser = client_for(alpha)
    page = browser.get(f"/sign-in?next={BACKUPS}order")
    token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.text).group(1)
    answer = {"email": "owner@alpha.test", "password": PASSWORD, "next": f"{BACKUPS}order", "csrf_token": token}
    assert browser.post("/sign-in", data=answer).location == f"{BACKUPS}order"
    assert browser.get(f"{BACKUPS}order").text.count("The organisation stands as of") == 1


def test_one_that_was_brought_back_without_a_state_before_says_from_which_copy(alpha, owner, note, client_for):
    moment = datetime(2026, 11, 20, 9, 30, 7, tzinfo=UTC).isoformat()
    note(AuditRow(kind="tenant_brought_back", tenant_id=alpha.id, detail={"moment": moment, "before": ""}))
    browser = client_for(alpha)
    told = "brought back from a copy of 20 November 2026, 09:30:07"
    page = browser.get("/sign-in").text
    assert told in page
    assert "owner brought" not in page
    page = owner.get(BACKUPS).text
    assert told in page
    assert "Undo" not in page


def test_a_new_organisation_made_of_a_moment_tells_of_no_return(alpha, note, client_for):
    moment = datetime(2026, 11, 20, 9, 30, 7, tzinfo=UTC).isoformat()
    note(AuditRow(kind="tenant_brought_back_as", tenant_id=alpha.id, detail={"moment": moment, "source": "other"}))
    assert "brought" not in client_for(alpha).get("/sign-in").text


def test_what_cannot_be_counted_is_told_with_its_reason(monkeypatch, alpha, owner, copied, at):
    moment = copied(alpha)
    at(alpha, lambda: db.session.execute(text("UPDATE stamp SET epoch = epoch + 1"), bind_arguments={"mapper": User}))
    page = owner.get(f"{BACKUPS}moments/{moment.seq}/replacement").text
    assert "has been put back in between" in page
    assert "thirty days" not in page
    assert f"{moment.at:%-d %B %Y, %H:%M:%S}" in page
    monkeypatch.setattr(events, "KEPT", timedelta(0))
    assert "thirty days" in owner.get(f"{BACKUPS}moments/{moment.seq}/replacement").text


def test_before_going_back_one_can_look_at_the_moment_instead(alpha, owner, copied, archivist):
    moment = copied(alpha)
    path = f"{BACKUPS}moments/{moment.seq}/replacement"
    assert f'action="{BACKUPS}moments/{moment.seq}/preview"' in owner.get(path).text
    look_at(owner, archivist, moment)
    page = owner.get(path).text
    assert f'action="{BACKUPS}moments/{moment.seq}/preview"' not in page
    assert f'href="{BACKUPS}order"' in page


def test_single_things_are_found_and_brought_back(alpha, owner, copied, archivist, at):
    from app.content.models import Entry

    entry_id = at(alpha, lambda: _written("Minutes of May").id)
    moment = copied(alpha)
    at(alpha, lambda: db.session.delete(db.session.get(Entry, entry_id)))
    look_at(owner, archivist, moment)
    page = owner.get(f"{BACKUPS}preview/things").text
    assert "Minutes of May" in page
    assert "Missing today" in page
    assert "Minutes of May" in owner.get(f"{BACKUPS}preview/things?q=minutes").text
    assert "Nothing like that then" in owner.get(f"{BACKUPS}preview/things?q=zebra").text
    path = re.search(r'action="(/desk/settings/backups/preview/things/[^"]+)"', page).group(1)
    answer = send(owner, path)
    assert answer.status_code == 303
    there = owner.get(answer.location)
    assert "Minutes of May" in there.text
    assert "is back as a draft, as it was on" in there.text
    assert "Publish it when it is right." in there.text
    assert "As today" in owner.get(f"{BACKUPS}preview/things").text


def _written(title):
    from app.content.models import Entry

    entry = Entry.write("page", title, author_id=1, author_name="Olive")
    entry.publish()
    db.session.flush()
    return entry


def test_unknown_kinds_and_things_are_not_found(alpha, owner, copied, archivist):
    look_at(owner, archivist, copied(alpha))
    assert owner.get(f"{BACKUPS}preview/things?kind=secrets").status_code == 404
    assert send(owner, f"{BACKUPS}preview/things/secrets/1").status_code == 404
    answer = send(owner, f"{BACKUPS}preview/things/page/999999")
    assert answer.status_code in (303, 404)


def test_a_preview_is_discarded_from_the_desk(app, alpha, owner, copied, archivist):
    look_at(owner, archivist, copied(alpha))
    send(owner, f"{BACKUPS}preview/discard")
    archivist()
    assert "has been thrown away" in owner.get(f"{BACKUPS}order").text
    with app.app_context(), platform_context(writes=False):
        assert backups.preview_of(alpha.id) is None
    assert owner.get(f"{BACKUPS}preview/open").status_code == 404
