"""The floor's files: the same words as the seeded tenants have, in plain SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from app.branding import PRESETS, Look
from bench.floor import path_of
from bench.seed import rendered
from bench.village import ZONE, Organisation

SCHEMA = """
CREATE TABLE site (name TEXT, tagline TEXT, language TEXT, time_zone TEXT, theme_url TEXT, logo_url TEXT);
CREATE TABLE menu_item (position INTEGER, label TEXT, href TEXT);
CREATE TABLE entry (
  id INTEGER PRIMARY KEY, kind TEXT, path TEXT, title TEXT, summary TEXT, html TEXT, author_name TEXT,
  published_at INTEGER, state TEXT, UNIQUE (kind, path));
CREATE INDEX entry_stream ON entry (kind, state, published_at);
"""


def fill(folder: Path, base_domain: str, organisations: Iterable[Organisation]) -> None:
    """Make the files that are missing, each under a temporary name until it is whole."""
    for organisation in organisations:
        path = path_of(folder, f"{organisation.slug}.{base_domain}")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path.with_suffix(".new"), organisation).rename(path)


def write(path: Path, organisation: Organisation) -> Path:
    """Write one organisation's file."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA synchronous = OFF; BEGIN; {SCHEMA}")
    connection.execute("INSERT INTO site VALUES (?, ?, ?, ?, ?, ?)", site_row(organisation))
    connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'published')", entry_rows(organisation))
    connection.executemany("INSERT INTO menu_item VALUES (?, ?, ?)", menu_rows(organisation))
    connection.commit()
    connection.close()
    return path


def site_row(organisation: Organisation) -> tuple[str, ...]:
    """Give the one row that says who this is."""
    colours = PRESETS["river"]
    look = Look(
        organisation.name,
        organisation.tagline,
        "en",
        ZONE,
        colours.brand,
        colours.accent,
        "auto",
        None,
        "",
        None,
    )
    return (look.name, look.tagline, look.language, look.time_zone, look.theme_url, look.logo_url)


def entry_rows(organisation: Organisation) -> list[tuple[object, ...]]:
    """Give the rows of all pages and posts; times in microseconds since 1970."""
    author = f"The committee of {organisation.name}"
    return [
        (
            number, piece.kind, piece.path, piece.title, piece.summary,
            organisation.fill(rendered(piece.markdown)), author,
            int(piece.published_at.timestamp()) * 1_000_000,
        )
        for number, piece in enumerate(organisation.pieces, 1)
    ]  # fmt: skip


def menu_rows(organisation: Organisation) -> list[tuple[object, ...]]:
    """Give a menu line for each page; the front page is the site itself."""
    pages = [piece for piece in organisation.pieces if piece.kind == "page"]
    return [(page.position, page.title, "/" if page.path == "welcome" else f"/{page.path}") for page in pages]
