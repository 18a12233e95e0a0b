"""Who may see what, at every door."""

from datetime import timedelta

import pytest
import time_machine

from app.tenancy import utcnow

DOORS = ["/", "/posts/", "/feed.xml", "/sitemap.xml", "/posts/topics/boats"]


@pytest.fixture
def hidden(alpha, publish):
    """One entry of each kind that visitors may not see, all named by a word that appears nowhere else."""
    tomorrow = utcnow() + timedelta(days=1)
    return {
        "a draft": publish(alpha, "post", "Zanzibar draft", draft=True),
        "a scheduled post": publish(alpha, "post", "Zanzibar scheduled", at=tomorrow),
        "a members' post": publish(alpha, "post", "Zanzibar members", visibility="members"),
        "a draft page": publish(alpha, "page", "Zanzibar page", draft=True),
        "a scheduled page": publish(alpha, "page", "Zanzibar later", at=tomorrow),
        "a members' page": publish(alpha, "page", "Zanzibar within", visibility="members"),
    }


@pytest.fixture
def boats(alpha, inside, hidden, publish):
    """Put them all under one topic and into the menu, where they might be seen."""
    from app.content.models import Entry, MenuItem, Topic
    from app.tenancy import db

    shown = publish(alpha, "post", "Plain to see")
    with inside(alpha):
        topic = Topic.named("Boats")
        for entry_id in (*hidden.values(), shown):
            entry = db.session.get(Entry, entry_id)
            entry.file_under([topic])
            MenuItem.add(entry.title, entry_id=entry_id)


PATHS = [
    "/posts/zanzibar-draft",
    "/posts/zanzibar-scheduled",
    "/posts/zanzibar-members",
    "/zanzibar-page",
    "/zanzibar-later",
    "/zanzibar-within",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("ending", ["", "/"])
def test_a_draft_a_scheduled_and_a_members_entry_are_hidden_from_visitors(alpha, client_for, hidden, path, ending):
    assert client_for(alpha).get(path + ending).status_code == 404


@pytest.mark.parametrize("door", DOORS)
def test_no_list_feed_sitemap_or_menu_names_what_is_hidden(alpha, client_for, boats, door):
    answer = client_for(alpha).get(door)
    assert answer.status_code == 200
    assert "anzibar" not in answer.text


@pytest.mark.parametrize("path", ["/posts/zanzibar-members", "/zanzibar-within"])
def test_a_member_reads_what_is_for_members_and_nobody_keeps_it(alpha, signed_in, boats, path):
    answer = signed_in(alpha).get(path)
    assert answer.status_code == 200
    assert "Zanzibar" in answer.text
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "ETag" not in answer.headers


@pytest.mark.parametrize("path", ["/posts/zanzibar-draft", "/posts/zanzibar-scheduled", "/zanzibar-page"])
def test_a_member_finds_no_draft_on_the_site(alpha, signed_in, boats, path):
    assert signed_in(alpha).get(path).status_code == 404


def test_feed_and_sitemap_are_for_the_public_even_when_a_member_asks(alpha, signed_in, boats):
    browser = signed_in(alpha)
    assert "anzibar" not in browser.get("/feed.xml").text + browser.get("/sitemap.xml").text


def test_a_member_of_one_house_is_a_visitor_in_the_other(alpha, beta, signed_in, client_for, publish):
    for tenant in (alpha, beta):
        publish(tenant, "page", "Within", f"Only for {tenant.name}.", visibility="members")
    member = signed_in(alpha)
    cookie = member.get_cookie("freehold", domain=member.host)
    stranger = client_for(beta)
    assert cookie is not None
    assert stranger.get("/within", headers={"Cookie": f"freehold={cookie.value}"}).status_code == 404


def test_no_304_before_it_is_known_who_asks(alpha, client_for, publish, change):
    entry = publish(alpha, "post", "Soon gone")
    browser = client_for(alpha)
    mark = browser.get("/posts/soon-gone").headers["ETag"]
    assert browser.get("/posts/soon-gone", headers={"If-None-Match": mark}).status_code == 304
    change(alpha, entry, "unpublish")
    assert browser.get("/posts/soon-gone", headers={"If-None-Match": mark}).status_code == 404
    assert browser.get("/posts/soon-gone", headers={"If-None-Match": "*"}).status_code == 404


def test_a_scheduled_post_appears_at_its_time_at_every_door(alpha, client_for, publish):
    publish(alpha, "post", "Regatta", at=utcnow() + timedelta(minutes=10))
    browser = client_for(alpha)
    doors = ["/", "/posts/", "/feed.xml", "/sitemap.xml"]
    before = {door: browser.get(door).headers["ETag"] for door in doors}
    assert browser.get("/posts/regatta").status_code == 404
    with time_machine.travel(utcnow() + timedelta(minutes=11), tick=True):
        assert browser.get("/posts/regatta").status_code == 200
        for door in doors:
            answer = browser.get(door, headers={"If-None-Match": before[door]})
            assert answer.status_code == 200, door
            assert "egatta" in answer.text, door


def test_a_topic_of_hidden_posts_alone_does_not_tell_its_name(alpha, client_for, signed_in, publish, inside):
    entry_id = publish(alpha, "post", "For us", visibility="members")
    with inside(alpha):
        from app.content.models import Entry, Topic
        from app.tenancy import db

        db.session.get(Entry, entry_id).file_under([Topic.named("Secret society")])
    assert client_for(alpha).get("/posts/topics/secret-society").status_code == 404
    assert signed_in(alpha).get("/posts/topics/secret-society").status_code == 200


def test_an_old_address_of_a_hidden_entry_leads_nowhere(alpha, client_for, publish, change):
    entry = publish(alpha, "post", "Before")
    change(alpha, entry, "rename", "after")
    assert client_for(alpha).get("/posts/before").status_code == 301
    change(alpha, entry, "unpublish")
    assert client_for(alpha).get("/posts/before").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_site_answers_get_and_head_alone(alpha, client_for, publish, method):
    publish(alpha, "page", "About")
    assert client_for(alpha).open("/about", method=method).status_code == 405
    assert client_for(alpha).head("/about").status_code == 200


def test_what_is_not_here_and_what_is_for_members_get_the_same_answer_with_a_way_to_sign_in(alpha, client_for, hidden):
    within, nothing = (client_for(alpha).get(path) for path in ("/zanzibar-within", "/zanzibar-nothing"))
    assert within.status_code == nothing.status_code == 404
    assert within.text.replace("zanzibar-within", "") == nothing.text.replace("zanzibar-nothing", "")
    assert "/sign-in?next=/zanzibar-within" in within.text
