"""The floor: the least a Flask application over one SQLite file per organisation can be, with the same page.

No sign-in, no checks, no encryption, no headers of its own: the host names a file, four queries read it, the
product's own templates print the page. Whatever Freehold does besides is paid above this.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from flask import Flask, abort, g, render_template, request
from markupsafe import Markup

from app.facilities.clock import zone
from app.pages import asset

ROOT = Path(__file__).resolve().parent.parent
OPEN_FILES = 256

SITE = "SELECT name, tagline, language, time_zone, theme_url, logo_url FROM site"
MENU = "SELECT label, href FROM menu_item ORDER BY position"
POST = """
SELECT title, summary, html, author_name, published_at FROM entry
WHERE kind = 'post' AND path = ? AND state = 'published' AND published_at <= ?
"""
RECENT = """
SELECT title, path, published_at FROM entry
WHERE kind = 'post' AND state = 'published' AND published_at <= ? ORDER BY published_at DESC, id DESC LIMIT 5
"""


class Site(NamedTuple):
    """What the templates ask of an organisation."""

    name: str
    tagline: str
    language: str
    time_zone: str
    theme_url: str
    logo_url: str
    direction: str = "ltr"
    footer_html: str = ""


class Line(NamedTuple):
    """A line of the menu."""

    label: str
    href: str
    children: tuple[()] = ()


class Post(NamedTuple):
    """What the template asks of a post."""

    title: str
    summary: str
    html: str
    author_name: str
    published_at: datetime
    visibility: str = "public"
    topics: tuple[()] = ()


class Latest(NamedTuple):
    """A line in the list of the latest posts."""

    title: str
    href: str
    published_at: datetime


@dataclass
class Frame:
    """What stands around the article."""

    menu: list[Line]
    recent: list[Latest]
    menu_html: str = ""
    foot_html: str = ""


class OpenFiles:
    """At most `limit` open SQLite files, the least recently used closed first."""

    def __init__(self, folder: Path, limit: int = OPEN_FILES) -> None:
        self.folder = folder
        self.limit = limit
        self.lock = threading.Lock()
        self.idle: OrderedDict[str, sqlite3.Connection] = OrderedDict()

    @contextmanager
    def lease(self, host: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection to the file of a host."""
        with self.lock:
            connection = self.idle.pop(host, None)
        if connection is None:
            connection = open_file(path_of(self.folder, host))
        try:
            yield connection
        finally:
            self.put_back(host, connection)

    def put_back(self, host: str, connection: sqlite3.Connection) -> None:
        """Keep a connection for the next visit; close one too many."""
        with self.lock:
            crowded_out = self.idle.pop(host, None)
            self.idle[host] = connection
            if len(self.idle) > self.limit:
                _, crowded_out = self.idle.popitem(last=False)
        if crowded_out is not None:
            crowded_out.close()


def path_of(folder: Path, host: str) -> Path:
    """Say where the file of a host lies."""
    return folder / host[:2] / f"{host}.sqlite3"


def open_file(path: Path) -> sqlite3.Connection:
    """Open an existing file."""
    return sqlite3.connect(f"file:{path}?mode=rw", uri=True, check_same_thread=False)


def create_app(folder: Path) -> Flask:
    """Make the application over the files in a folder."""
    app = Flask("floor", template_folder=str(ROOT / "templates"), static_folder=None)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["asset"] = asset
    app.jinja_env.filters["site_day"] = site_day
    files = OpenFiles(folder)

    @app.get("/posts/<slug>")
    def post(slug: str) -> str:
        with files.lease(request.host) as connection:
            g.site = site = Site(*connection.execute(SITE).fetchone())
            menu = [Line(*row) for row in connection.execute(MENU)]
            found = connection.execute(POST, (slug, microseconds())).fetchone()
            recent = [latest(*row) for row in connection.execute(RECENT, (microseconds(),))]
        if found is None:
            abort(404)
        frame = Frame(menu, recent)
        frame.menu_html = part("content/site/_frame_menu.html", site, frame)
        frame.foot_html = part("content/site/_frame_foot.html", site, frame)
        *texts, published_at = found
        entry = Post(*texts, published_at=moment(published_at))
        canonical = f"http://{request.host}:8000{request.path}"
        return render_template("content/site/post.html", site=site, frame=frame, entry=entry, canonical=canonical)

    def part(template: str, site: Site, frame: Frame) -> Markup:
        return Markup(app.jinja_env.get_template(template).render(site=site, frame=frame))

    return app


def latest(title: str, path: str, published_at: int) -> Latest:
    return Latest(title, f"/posts/{path}", moment(published_at))


def moment(since_1970: int) -> datetime:
    """Turn microseconds into a time."""
    return datetime.fromtimestamp(since_1970 / 1e6, UTC)


def microseconds() -> int:
    """Give the present as microseconds since 1970."""
    return time.time_ns() // 1000


def site_day(value: datetime) -> str:
    """Print a day by the site's clocks."""
    return f"{value.astimezone(zone(g.site.time_zone)):%-d %B %Y}"


def application() -> Flask:
    """Make the application that gunicorn serves."""
    return create_app(Path(os.environ["FREEHOLD_HOME"]) / "floor")
