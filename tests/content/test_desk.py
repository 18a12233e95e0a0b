"""Writing, publishing and throwing away, through the forms of the desk."""

import re

import pytest
from sqlalchemy import select

from app.branding import Site
from app.content.models import Entry
from app.tenancy import db
from tests.printed import filled_in


def save(browser, path, **changes):
    """Fill in the editor at `path` as a browser would, and send it."""
    page = browser.get(path).text
    return browser.post(path, data=filled_in(page, "title", **changes))


def entry_of(inside, tenant, title) -> Entry:
    with inside(tenant):
        return db.session.scalars(select(Entry).where(Entry.title == title)).one()


@pytest.mark.parametrize(
    "path",
    [
        "/desk/content/",
        "/desk/content/entries/new",
        "/desk/content/entries/1",
        "/desk/content/menu",
        "/desk/content/imports/",
    ],
)
def test_visitors_are_asked_to_sign_in(alpha, client_for, path):
    answer = client_for(alpha).get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize("path", ["publication", "publication/end", "trash", "restore"])
def test_visitors_change_nothing(alpha, client_for, publish, inside, path):
    entry_id = publish(alpha, "post", "Frost")
    assert client_for(alpha).post(f"/desk/content/entries/{entry_id}/{path}").status_code in (302, 403)
    assert entry_of(inside, alpha, "Frost").status == "published"


def test_a_draft_is_saved_then_published(alpha, signed_in, client_for, inside):
    browser = signed_in(alpha)
    answer = save(browser, "/desk/content/entries/new?kind=post", title="First frost", source="**Cold**", act="save")
    assert answer.status_code == 303
    assert client_for(alpha).get("/posts/first-frost").status_code == 404
    save(browser, answer.headers["Location"], act="publish")
    page = client_for(alpha).get("/posts/first-frost").text
    assert "<strong>Cold</strong>" in page
    assert "by Olive of Alpha Allotments" in page


def test_an_empty_title_is_refused_and_the_text_comes_back(alpha, signed_in):
    answer = save(signed_in(alpha), "/desk/content/entries/new?kind=page", title="", source="Many words")
    assert answer.status_code == 422
    assert "Many words" in answer.text
    assert "Please give it a title." in answer.text


def test_publication_by_the_clock_of_the_organisation(alpha, signed_in, inside):
    with inside(alpha):
        Site.mine().speak("en", "Pacific/Auckland")
    browser = signed_in(alpha)
    fields = {"title": "Later", "source": "x", "at": "2099-01-15T09:00", "act": "schedule"}
    answer = save(browser, "/desk/content/entries/new?kind=post", **fields)
    entry = entry_of(inside, alpha, "Later")
    assert entry.published_at.isoformat() == "2099-01-14T20:00:00+00:00"
    assert entry.status == "scheduled"
    page = browser.get(answer.headers["Location"]).text
    assert 'value="2099-01-15T09:00"' in page
    assert "Pacific/Auckland" in page


def test_another_day_has_to_be_named(alpha, signed_in):
    fields = {"title": "Later", "source": "x", "at": "", "act": "schedule"}
    answer = save(signed_in(alpha), "/desk/content/entries/new?kind=post", **fields)
    assert answer.status_code == 422
    assert "Choose a day and an hour first." in answer.text
    assert "datetime" not in answer.text.replace("datetime-local", "")


def test_a_summary_made_from_the_text_follows_it_even_after_a_conflict(alpha, signed_in, publish, inside):
    path = f"/desk/content/entries/{publish(alpha, 'page', 'Plans', 'The beginning.')}"
    browser = signed_in(alpha)
    page = browser.get(path).text
    browser.post(path, data=filled_in(page, "title", source="What I wrote."))
    conflict = browser.post(path, data=filled_in(page, "title", source="What you wrote.", visibility="members"))
    assert "Everybody</dd>" in conflict.text
    browser.post(path, data=filled_in(conflict.text, "title"))
    assert entry_of(inside, alpha, "Plans").summary == "What you wrote."


def test_topics_a_parent_and_the_front_page_are_set_in_the_editor(alpha, signed_in, client_for, publish):
    browser, parent = signed_in(alpha), publish(alpha, "page", "Club")
    fields = {"title": "Frost", "source": "x", "topics": "Weather, Plots , weather,", "act": "publish"}
    save(browser, "/desk/content/entries/new?kind=post", **fields)
    page = client_for(alpha).get("/posts/frost").text
    assert page.count('rel="tag"') == 2
    save(browser, "/desk/content/entries/new?kind=page", title="House", parent=str(parent), source="x", act="publish")
    assert client_for(alpha).get("/club/house").status_code == 200
    save(browser, f"/desk/content/entries/{parent}", is_front="y", source="Our front.", act="save")
    assert "Our front." in client_for(alpha).get("/").text


def test_a_page_cannot_be_put_below_itself(alpha, signed_in, publish, inside):
    page = publish(alpha, "page", "Club")
    below = publish(alpha, "page", "House", under=page)
    answer = save(signed_in(alpha), f"/desk/content/entries/{page}", parent=str(below))
    assert answer.status_code == 422
    assert entry_of(inside, alpha, "House").path == "club/house"


def test_two_writers_lose_nothing(alpha, signed_in, publish, inside):
    path = f"/desk/content/entries/{publish(alpha, 'page', 'Plans', 'The beginning.')}"
    first, second = signed_in(alpha), signed_in(alpha)
    first_page, second_page = first.get(path).text, second.get(path).text
    assert first.post(path, data=filled_in(first_page, "title", source="What I wrote.")).status_code == 303
    answer = second.post(path, data=filled_in(second_page, "title", source="What you wrote."))
    assert answer.status_code == 409
    assert "What I wrote." in answer.text
    assert "What you wrote." in answer.text
    assert entry_of(inside, alpha, "Plans").source == "What I wrote."
    again = second.post(path, data=filled_in(answer.text, "title"))
    assert again.status_code == 303
    assert entry_of(inside, alpha, "Plans").source == "What you wrote."


def test_publishing_elsewhere_is_no_conflict(alpha, signed_in, publish, inside, change):
    entry = publish(alpha, "page", "Plans", "One.\n\nTwo.", draft=True)
    path = f"/desk/content/entries/{entry}"
    browser = signed_in(alpha)
    page = browser.get(path).text
    change(alpha, entry, "publish")
    assert browser.post(path, data=filled_in(page, "title", summary="Short.")).status_code == 303
    assert entry_of(inside, alpha, "Plans").summary == "Short."


def test_the_preview_is_what_visitors_would_see_and_saves_nothing(alpha, signed_in, inside):
    browser = signed_in(alpha)
    form = filled_in(browser.get("/desk/content/entries/new?kind=page").text, "title")
    answer = browser.post(
        "/desk/content/preview", data=form | {"title": "Plans", "source": "*Soon* <script>x</script>"}
    )
    assert "<em>Soon</em>" in answer.text
    assert "<script>x" not in answer.text
    with inside(alpha):
        assert db.session.scalar(select(Entry).where(Entry.title == "Plans")) is None


def test_trash_can_be_undone(alpha, signed_in, client_for, publish, send):
    entry = publish(alpha, "post", "Frost")
    browser = signed_in(alpha)
    answer = send(browser, f"/desk/content/entries/{entry}/trash")
    assert client_for(alpha).get("/posts/frost").status_code == 404
    page = browser.get(answer.headers["Location"]).text
    assert "Undo" in page
    send(browser, f"/desk/content/entries/{entry}/restore")
    assert client_for(alpha).get("/posts/frost").status_code == 200


def test_publication_begins_and_ends(alpha, signed_in, client_for, publish, send):
    entry = publish(alpha, "post", "Frost", draft=True)
    browser = signed_in(alpha)
    assert send(browser, f"/desk/content/entries/{entry}/publication").status_code == 303
    assert client_for(alpha).get("/posts/frost").status_code == 200
    send(browser, f"/desk/content/entries/{entry}/publication/end")
    assert client_for(alpha).get("/posts/frost").status_code == 404


def test_another_houses_entry_is_not_found(alpha, beta, signed_in, publish, send, inside):
    for number in range(3):
        entry = publish(beta, "post", f"Theirs {number}")
    browser = signed_in(alpha)
    assert browser.get(f"/desk/content/entries/{entry}").status_code == 404
    assert send(browser, f"/desk/content/entries/{entry}/trash").status_code == 404
    assert "Theirs" not in browser.get("/desk/content/?kind=post").text
    assert entry_of(inside, beta, "Theirs 2").status == "published"


def test_the_list_is_found_by_title_and_state(alpha, signed_in, publish, change):
    publish(alpha, "post", "100% frost")
    publish(alpha, "post", "Thaw", draft=True)
    change(alpha, publish(alpha, "post", "Old"), "trash")
    browser = signed_in(alpha)
    listed = browser.get("/desk/content/?kind=post").text
    assert "100% frost" in listed
    assert ">Old<" not in listed
    assert "Thaw" not in browser.get("/desk/content/?kind=post&q=100%25").text
    assert "100% frost" not in browser.get("/desk/content/?kind=post&state=draft").text
    trash = browser.get("/desk/content/?kind=post&state=trashed").text
    assert ">Old<" in trash
    assert "was published" in trash
    was = browser.get(re.search(r'/desk/content/entries/\d+(?=">Old<)', trash).group()).text
    assert "This post is in the trash" in was
    assert "Publish now" not in was
    assert "Nothing like that here" in browser.get("/desk/content/?kind=post&q=nowhere").text
    assert browser.get("/desk/content/?kind=nonsense").status_code == 404


def test_imported_html_is_offered_as_markdown_and_stays_html_until_saved(alpha, signed_in, publish, inside):
    html = "<p>Some <strong>bold</strong> words</p>"
    entry = publish(alpha, "page", "Imported", html, source_format="html")
    browser = signed_in(alpha)
    path = f"/desk/content/entries/{entry}"
    assert "Some **bold** words" in browser.get(path).text
    assert entry_of(inside, alpha, "Imported").source_format == "html"
    save(browser, path)
    saved = entry_of(inside, alpha, "Imported")
    assert (saved.source_format, saved.source) == ("markdown", "Some **bold** words")


def test_html_that_markdown_cannot_say_stays_html_and_is_checked(alpha, signed_in, publish, inside):
    html = "<table><tr><td colspan=2>Wide</td></tr><tr><td>a</td><td>b</td></tr></table>"
    entry = publish(alpha, "page", "Imported", html, source_format="html")
    browser = signed_in(alpha)
    save(browser, f"/desk/content/entries/{entry}", source=html + "<script>alert(1)</script>")
    saved = entry_of(inside, alpha, "Imported")
    assert saved.source_format == "html"
    assert 'colspan="2"' in saved.html
    assert "<script" not in saved.html


def test_the_desk_is_kept_by_nobody(alpha, signed_in):
    for path in ("/desk/content/", "/desk/content/menu", "/desk/content/imports/"):
        assert signed_in(alpha).get(path).headers["Cache-Control"] == "private, no-store"
