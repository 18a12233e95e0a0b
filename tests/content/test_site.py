"""What visitors read."""

from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from app.content.models import Entry, MenuItem, Redirect, Topic
from app.tenancy import db

ATOM = "{http://www.w3.org/2005/Atom}"


def test_a_new_organisation_has_a_front_page_that_says_how_to_begin(alpha, client_for):
    page = client_for(alpha).get("/").text
    assert "Alpha Allotments" in page
    assert "/desk/" in page


def test_a_page_and_a_post_are_read_at_their_addresses(alpha, client_for, publish):
    parent = publish(alpha, "page", "About us", "We **grow** things.")
    publish(alpha, "page", "Our history", under=parent)
    publish(alpha, "post", "First frost")
    browser = client_for(alpha)
    assert "<strong>grow</strong>" in browser.get("/about-us").text
    below = browser.get("/about-us/our-history").text
    assert 'href="/about-us"' in below
    assert "First frost" in browser.get("/posts/first-frost").text


def test_the_same_ids_and_paths_in_two_houses_are_two_sites(alpha, beta, client_for, publish):
    ids = {publish(tenant, "page", "About", f"This is {tenant.name}.") for tenant in (alpha, beta)}
    assert len(ids) == 1
    for tenant, other in ((alpha, beta), (beta, alpha)):
        page = client_for(tenant).get("/about").text
        assert f"This is {tenant.name}." in page
        assert other.name not in page


def test_what_is_only_in_the_other_house_is_not_here(alpha, beta, client_for, publish):
    publish(beta, "page", "Only in beta")
    publish(beta, "post", "Only in beta")
    for path in ("/only-in-beta", "/posts/only-in-beta", "/only-in-beta/"):
        assert client_for(alpha).get(path).status_code == 404
        assert client_for(beta).get(path, follow_redirects=True).status_code == 200


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [
        ("/about/", "/about"),
        ("/About", "/about"),
        ("/posts/first-frost/", "/posts/first-frost"),
        ("/posts/First-Frost", "/posts/first-frost"),
        ("/%C3%9Cber-uns", "/%C3%BCber-uns"),
        ("/u%CC%88ber-uns", "/%C3%BCber-uns"),
        ("/welcome", "/"),
    ],
)
def test_an_address_written_differently_leads_to_the_one_there_is(alpha, client_for, publish, asked, canonical):
    publish(alpha, "page", "About")
    publish(alpha, "page", "Über uns")
    publish(alpha, "post", "First frost")
    answer = client_for(alpha).get(asked)
    assert (answer.status_code, answer.headers.get("Location")) == (301, canonical)
    assert client_for(alpha).get(canonical).status_code == 200


@pytest.mark.parametrize("path", ["/posts", "/desk"])
def test_a_list_without_its_slash_leads_to_it(alpha, client_for, path):
    answer = client_for(alpha).get(path)
    assert answer.status_code == 308
    assert answer.headers["Location"].endswith(path + "/")


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example", "/\\evil.example/", "/evil.example//"])
def test_no_address_leads_to_another_site(alpha, client_for, path):
    answer = client_for(alpha).get("/", environ_overrides={"PATH_INFO": path})
    assert answer.status_code in (301, 308, 404)
    assert urlsplit(answer.headers.get("Location", "")).netloc in ("", "alpha.localhost")


def test_a_renamed_page_is_found_at_its_old_address_and_so_are_those_below(alpha, client_for, publish, change):
    parent = publish(alpha, "page", "Club")
    publish(alpha, "page", "History", under=parent)
    change(alpha, parent, "rename", "society")
    change(alpha, parent, "rename", "association")
    browser = client_for(alpha)
    for old, new in {
        "/club": "/association",
        "/society": "/association",
        "/club/history": "/association/history",
        "/society/history/": "/association/history",
    }.items():
        assert browser.get(old).headers["Location"] == new


def test_addresses_of_another_system_lead_to_what_came_from_them(alpha, beta, client_for, publish, inside):
    entry_id = publish(alpha, "post", "Hello world")
    with inside(alpha):
        topic = Topic.named("News")
        db.session.get(Entry, entry_id).file_under([topic])
        db.session.add(Redirect(path="?p=12", entry_id=entry_id))
        db.session.add(Redirect(path="2008/09/05/hello-world", entry_id=entry_id))
        db.session.add(Redirect(path="?cat=3", topic_id=topic.id))
    browser = client_for(alpha)
    for old in ("/?p=12", "/2008/09/05/hello-world/", "/2008/09/05/hello-world"):
        assert browser.get(old).headers["Location"] == "/posts/hello-world"
    assert browser.get("/?cat=3").headers["Location"] == "/posts/topics/news"
    assert browser.get("/?p=13").status_code == 404
    assert client_for(beta).get("/?p=12").status_code == 404


def test_a_new_page_takes_over_an_old_address(alpha, client_for, publish, change):
    old = publish(alpha, "page", "Prices")
    change(alpha, old, "rename", "fees")
    publish(alpha, "page", "Prices", "The new ones.")
    assert "The new ones." in client_for(alpha).get("/prices").text


def test_the_archive_is_paged_and_a_page_that_is_not_there_is_not_found(alpha, client_for, publish):
    for number in range(31):
        publish(alpha, "post", f"Post {number:02}", at=datetime(2025, 1, 1 + number % 28, number % 24, tzinfo=UTC))
    browser = client_for(alpha)
    assert "page=2" in browser.get("/posts/").text
    assert browser.get("/posts/?page=2").status_code == 200
    assert browser.get("/posts/?page=3").status_code == 404
    assert browser.get("/posts/?page=0").status_code == 404
    assert browser.get("/posts/?page=-1").status_code == 404
    assert browser.get("/posts/?page=99999999999999999999").status_code == 404


def test_pinned_posts_come_first_in_the_archive_and_not_in_the_feed(alpha, client_for, publish):
    publish(alpha, "post", "Pinned", at=datetime(2020, 1, 1, tzinfo=UTC), is_sticky=True)
    publish(alpha, "post", "Recent")
    home = client_for(alpha).get("/").text.split("<main")[1]
    assert home.index("Pinned") < home.index("Recent")
    titles = [title.text for title in feed_of(client_for(alpha)).iterfind(f"{ATOM}entry/{ATOM}title")]
    assert titles == ["Recent", "Pinned"]


def test_the_feed_is_atom_with_whole_texts_and_absolute_addresses(alpha, client_for, publish):
    publish(alpha, "post", "Größe & <Wert>", "A [page](/about) with *words*.")
    feed = feed_of(client_for(alpha))
    entry = feed.find(f"{ATOM}entry")
    assert entry.find(f"{ATOM}title").text == "Größe & <Wert>"
    assert "<em>words</em>" in entry.find(f"{ATOM}content").text
    assert entry.find(f"{ATOM}link").get("href").startswith("http://alpha.localhost:8000/posts/gr%C3%B6sse")
    assert feed.find(f"{ATOM}id").text
    assert feed.get("{http://www.w3.org/XML/1998/namespace}base") == "http://alpha.localhost:8000/"


def test_control_characters_in_a_text_do_not_break_the_feed(alpha, client_for, publish):
    publish(alpha, "post", "Bell \x07 and \x0b tab", "Null \x00 and \x1b escape \ufffe.")
    assert feed_of(client_for(alpha)).find(f"{ATOM}entry/{ATOM}title").text == "Bell and tab"


def test_sitemap_and_robots_name_the_primary_host(alpha, client_for, publish):
    publish(alpha, "page", "About")
    browser = client_for(alpha)
    tree = ElementTree.fromstring(browser.get("/sitemap.xml").data)
    places = [loc.text for loc in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert sorted(places) == ["http://alpha.localhost:8000/", "http://alpha.localhost:8000/about"]
    assert "Sitemap: http://alpha.localhost:8000/sitemap.xml" in browser.get("/robots.txt").text


def test_every_page_says_its_canonical_address(alpha, client_for, publish):
    publish(alpha, "post", "First frost")
    page = client_for(alpha).get("/posts/first-frost?utm_source=x").text
    assert '<link rel="canonical" href="http://alpha.localhost:8000/posts/first-frost">' in page


def test_the_menu_shows_two_levels_and_leads_nowhere_dangerous(alpha, client_for, publish, inside):
    about, team = publish(alpha, "page", "About"), publish(alpha, "page", "Team")
    with inside(alpha):
        line = MenuItem.add("Who we are", entry_id=about)
        MenuItem.add("The team", entry_id=team).put_under(line)
        MenuItem.add("Danger", url="javascript:alert(1)")
        MenuItem.add("Sly", url="//evil.example")
    page = client_for(alpha).get("/team").text
    assert 'href="/about">Who we are</a>' in page
    assert '<a href="/team" aria-current="page">The team</a>' in page
    assert "javascript:" not in page
    assert "evil.example" not in page


def test_a_post_names_its_topics_in_one_look_at_the_database(alpha, client_for, publish, inside):
    entry_id = publish(alpha, "post", "Launch")
    with inside(alpha):
        db.session.get(Entry, entry_id).file_under([Topic.named("Boats"), Topic.named("Åre & co.")])
    page = client_for(alpha).get("/posts/launch").text
    assert 'href="/posts/topics/boats"' in page
    assert "Åre &amp; co." in page


def test_a_text_cannot_run_scripts(alpha, client_for, publish):
    publish(alpha, "page", "<script>alert(1)</script>", "<script>alert(2)</script> [x](javascript:alert(3))")
    page = client_for(alpha).get("/script-alert-1-script").text
    assert "<script>alert" not in page
    assert 'href="javascript' not in page


def feed_of(browser) -> ElementTree.Element:
    answer = browser.get("/feed.xml")
    assert answer.mimetype == "application/atom+xml"
    return ElementTree.fromstring(answer.data)
