"""Content: what an organisation publishes, the site that shows it, and the desk where it is written."""

from __future__ import annotations

from functools import partial

from flask import Flask

from app.backups.returns import register
from app.content import contact, desk, files, frame, home, imports_desk, jobs, keeping, menu_desk, returns, site
from app.content.home import Card, tells_news
from app.content.models import Entry, Submission, find_submission
from app.content.planting import plant
from app.facilities import storage
from app.tenancy.lifecycle import counts, plants

__all__ = [
    "Card",
    "Submission",
    "contact",
    "find_submission",
    "imports_desk",
    "init_app",
    "jobs",
    "menu_desk",
    "plant",
    "tells_news",
]


def init_app(app: Flask) -> None:
    """Open the site and the desk."""
    frame.init_app(app)
    keeping.init_app(app)
    files.init_app(app)
    app.register_blueprint(home.blueprint)
    app.register_blueprint(desk.blueprint)
    app.register_blueprint(site.blueprint)
    plants(plant)
    register(returns.PAGE)
    counts.update(
        pages=partial(Entry.count, "page"),
        posts=partial(Entry.count, "post"),
        files=storage.count,
        bytes=storage.used_bytes,
    )
