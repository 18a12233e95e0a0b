"""The public site: what visitors read, and the addresses that machines read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from flask import Blueprint, abort, make_response, redirect, render_template, request
from markupsafe import Markup
from sqlalchemy import Select, and_, bindparam, func, select
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from app.content.addresses import tidy
from app.content.frame import Frame
from app.content.keeping import kept
from app.content.models import Entry, EntryTopic, Redirect, Topic, href
from app.content.policy import is_member, visible, visible_entries
from app.facilities.pagination import Pagination, paginate
from app.tenancy import db

blueprint = Blueprint("content_site", __name__)

POSTS_PER_PAGE = 30
POSTS_AT_HOME = 7
POSTS_IN_FEED = 20
URLS_IN_SITEMAP = 50_000  # https://www.sitemaps.org/protocol.html
OLD_QUERIES = ("p", "page_id", "cat", "tag", "attachment_id")
PAIR, LIST = "\x1f", "\x1e"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TopicName(NamedTuple):
    """A topic as an article names it."""

    name: str
    slug: str


class Article(NamedTuple):
    """An entry as its reader sees it."""

    id: int
    kind: str
    slug: str
    path: str
    title: str
    summary: str
    html: Markup
    visibility: str
    is_front: bool
    author_name: str
    published_at: datetime
    updated_at: datetime
    topics: list[TopicName]


def read(rule: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Answer GET and HEAD at `rule`, from memory where nothing has changed."""
    return lambda view: blueprint.get(rule, provide_automatic_options=False)(kept(view))


@read("/")
def home(frame: Frame) -> Response | str:
    """Show the front page with the latest posts, or lead on from another system's "/?p=12"."""
    query = next((f"?{name}={request.args[name]}" for name in OLD_QUERIES if name in request.args), None)
    if query:
        return lead_on(query)
    return page(frame, "content/site/home.html", entry=find_front(), entries=latest(POSTS_AT_HOME), address="/")


@read("/posts/")
def posts(frame: Frame) -> str:
    """List all posts, the pinned ones first."""
    pagination = list_posts()
    return page(frame, "content/site/archive.html", entries=pagination.items, pagination=pagination)


@read("/posts/<slug>")
def post(frame: Frame, slug: str) -> Response | str:
    """Show a post."""
    entry = find("post", slug)
    return page(frame, "content/site/post.html", entry=entry) if entry else lead_on(f"posts/{slug}")


@read("/posts/topics/<slug>")
def topic(frame: Frame, slug: str) -> Response | str:
    """List the posts on a topic, if there are any that this visitor may see."""
    found = db.session.scalar(select(Topic).where(Topic.slug == slug))
    pagination = list_posts(found) if found else None
    if not found or not pagination or not pagination.total:
        return lead_on(f"posts/topics/{slug}")
    return page(frame, "content/site/topic.html", topic=found, entries=pagination.items, pagination=pagination)


@read("/feed.xml")
def feed(frame: Frame) -> Response:
    """Give the latest posts as an Atom feed (RFC 4287)."""
    entries = latest(POSTS_IN_FEED, member=False, pinned_first=False)
    updated = max((entry.updated_at for entry in entries), default=EPOCH)
    shown = {
        "site": frame.site,
        "tenant": frame.tenant,
        "root": frame.root,
        "entries": entries,
        "updated": updated,
    }
    return typed(render_template("content/site/feed.xml", **shown), "application/atom+xml")


@read("/sitemap.xml")
def sitemap(frame: Frame) -> Response:
    """Give the addresses that search engines may keep."""
    found = visible_entries(member=False).order_by(Entry.kind, Entry.path).limit(URLS_IN_SITEMAP)
    rows = db.session.execute(found.with_only_columns(Entry.kind, Entry.path, Entry.is_front, Entry.updated_at))
    places = [(quote(href(kind, path, front)[1:]), changed) for kind, path, front, changed in rows]
    return typed(render_template("content/site/sitemap.xml", root=frame.root, places=places), "application/xml")


@read("/robots.txt")
def robots(frame: Frame) -> Response:
    """Tell search engines where to look."""
    return typed(f"User-agent: *\nDisallow: /desk/\nSitemap: {frame.root}sitemap.xml\n", "text/plain")


@read("/<path:path>")
def any_page(frame: Frame, path: str) -> Response | str:
    """Show a page, or lead on to where an old address has gone."""
    entry = find("page", path)
    if entry is None or entry.is_front:
        return lead_on(path)
    above = breadcrumb(path)
    return page(frame, "content/site/page.html", entry=entry, breadcrumb=above, children=below(entry.id))


def page(frame: Frame, template: str, *, entry: Article | None = None, address: str = "", **shown: Any) -> str:
    """Print a page inside its frame."""
    address = quote(address or request.path)
    canonical = frame.root + address[1:]
    around = frame.around(address)
    return render_template(template, frame=around, site=frame.site, entry=entry, canonical=canonical, **shown)


def typed(body: str, mimetype: str) -> Response:
    """Answer with something other than a page."""
    response = make_response(body)
    response.mimetype = mimetype
    return response


def find(kind: str, path: str) -> Article | None:
    """Return the entry at `path` if whoever asks may see it."""
    row = db.session.execute(_article(is_member()), {"kind": kind, "path": path}).first()
    return _read(row) if row else None


def find_front() -> Article | None:
    """Return the page that answers at "/" if there is one and whoever asks may see it."""
    front = visible_entries("page").where(Entry.is_front)
    path = db.session.scalar(front.with_only_columns(Entry.path))
    return find("page", path) if path else None


@cache
def _article(member: bool) -> Select[Any]:
    """Build the statement once: the whole article, topics included, in one row."""
    pairs = func.aggregate_strings(Topic.name + PAIR + Topic.slug, LIST)
    topics = (
        select(pairs)
        .join(EntryTopic, EntryTopic.topic_id == Topic.id)
        .where(EntryTopic.entry_id == Entry.id)
        .scalar_subquery()
    )
    columns = [getattr(Entry, name) for name in Article._fields[:-1]]
    asked = and_(Entry.kind == bindparam("kind"), Entry.path == bindparam("path"))
    return select(*columns, topics.label("topics")).where(asked, visible(member))


def _read(row: Any) -> Article:
    *columns, topics = row
    named = sorted(TopicName(*pair.split(PAIR)) for pair in topics.split(LIST)) if topics else []
    return Article(*columns, topics=named)


def latest(count: int, member: bool | None = None, pinned_first: bool = True) -> list[Entry]:
    """Return the newest posts, with their topics."""
    return list(db.session.scalars(_stream(member, pinned_first).options(selectinload(Entry.topics)).limit(count)))


def list_posts(about: Topic | None = None) -> Pagination:
    """Return the page of posts that the request asks for, all or those on a topic."""
    listed = _stream(None, pinned_first=about is None)
    if about:
        listed = listed.join(EntryTopic, EntryTopic.entry_id == Entry.id).where(EntryTopic.topic_id == about.id)
    return paginate(listed, request.args.get("page", 1, type=int), POSTS_PER_PAGE)


def _stream(member: bool | None, pinned_first: bool) -> Select[Any]:
    newest = (Entry.published_at.desc(), Entry.id.desc())
    return visible_entries("post", member).order_by(*((Entry.is_sticky.desc(),) if pinned_first else ()), *newest)


def breadcrumb(path: str) -> list[tuple[str, str]]:
    """Return title and address of the visible pages above `path`, the root first."""
    parts = path.split("/")[:-1]
    if not parts:
        return []
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    found = visible_entries("page").where(Entry.path.in_(above)).order_by(func.length(Entry.path))
    rows = db.session.execute(found.with_only_columns(Entry.title, Entry.path, Entry.is_front))
    return [(title, quote(href("page", path, front))) for title, path, front in rows]


def below(entry_id: int) -> list[Any]:
    """Return path, title and summary of the visible pages right under one."""
    found = visible_entries("page").where(Entry.parent_id == entry_id).order_by(Entry.position, Entry.title)
    return list(db.session.execute(found.with_only_columns(Entry.path, Entry.title, Entry.summary)))


def lead_on(path: str) -> Response:
    """Redirect to what `path` stands for, if whoever asks may see that; else there is nothing here."""
    bare = path.strip("/")
    target = _canonical(tidy(bare)) or _moved({path, bare, bare + "/", tidy(bare)})
    if target is None or target == f"/{path}":
        abort(404)
    return redirect(quote(target), 301)


def _canonical(path: str) -> str | None:
    """Return the address of what is here under a path written differently, such as with a slash behind it."""
    kind, name = ("post", path.removeprefix("posts/")) if path.startswith("posts/") else ("page", path)
    found = visible_entries(kind).where(Entry.path == name)
    row = db.session.execute(found.with_only_columns(Entry.kind, Entry.path, Entry.is_front)).first()
    return href(*row) if row else None


def _moved(paths: set[str]) -> str | None:
    old = select(Redirect).where(Redirect.path.in_(paths)).subquery()
    found = visible_entries().join(old, old.c.entry_id == Entry.id)
    row = db.session.execute(found.with_only_columns(Entry.kind, Entry.path, Entry.is_front)).first()
    if row:
        return href(*row)
    about = db.session.scalar(select(Topic).join(old, old.c.topic_id == Topic.id))
    return about.href if about else None
