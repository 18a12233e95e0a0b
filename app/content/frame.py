"""What surrounds every public page: the menu, the latest posts, the footer. Made once per state of the site, then kept.

A frame is kept in this process while the tenant's file has the same version and no scheduled entry has become visible;
the version is read from the file at each request, so another process's change is seen at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from flask import Flask, current_app, render_template
from markupsafe import Markup
from sqlalchemy import Select

from app.branding import current_site
from app.config import CHECKOUT
from app.content.menu import menu
from app.content.models import Entry, href
from app.content.policy import Changes, changes, visible_entries
from app.facilities.cache import Shelf
from app.tenancy import ResolvedTenant, current_tenant, current_version, db, utcnow

KEPT_BYTES = 56 << 20  # room for the frames of ten thousand small sites
ROW_BYTES = 3072  # what a frame weighs besides its two texts
LATEST = 5


class Latest(NamedTuple):
    """A line in the list of the latest posts."""

    title: str
    href: str
    published_at: datetime | None


class Surround(NamedTuple):
    """The two texts around one page."""

    menu_html: Markup
    foot_html: Markup


@dataclass(frozen=True, slots=True)
class Frame:
    """The surroundings of a site's pages, for members or for visitors.

    `edition` differs whenever any page may differ; `until` is when the clock alone will change it.
    """

    tenant: ResolvedTenant
    version: int
    site: Any
    root: str  # the site's own address, with a slash behind it
    edition: str
    until: datetime | None
    menu_html: Markup
    foot_html: Markup

    def around(self, address: str) -> Surround:
        """Return the texts around the page at `address`, whose line in the menu says that one is there."""
        here = f'<a href="{address}"'
        menu = str(self.menu_html).replace(here, f'{here} aria-current="page"', 1)
        return Surround(_printed(menu), self.foot_html)

    def holds(self, tenant: ResolvedTenant, version: int) -> bool:
        """Tell whether it is still what would be made now."""
        same = self.version == version and self.tenant == tenant
        return same and (self.until is None or utcnow() < self.until)


def init_app(app: Flask) -> None:
    """Give `app` a place to keep frames."""
    app.extensions["freehold.frames"] = Shelf[Frame](KEPT_BYTES)
    app.config["FREEHOLD_RELEASE"] = _release()


def _release() -> str:
    """Return a mark of the code and templates in use."""
    mark = hashlib.sha256()
    for folder in ("app", "templates", "static"):
        for path in sorted((CHECKOUT / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                mark.update(path.read_bytes())
    return mark.hexdigest()


def current_frame(member: bool) -> Frame:
    """Return the frame of the current tenant's site, for members or for visitors."""
    tenant, version = current_tenant(), current_version()
    frames: Shelf[Frame] = current_app.extensions["freehold.frames"]
    frame = frames.get((tenant.id, member))
    if frame is None or not frame.holds(tenant, version):
        frame = _make(tenant, version, member)
        size = len(frame.menu_html) + len(frame.foot_html) + ROW_BYTES
        frames.put((tenant.id, member), frame, size, seconds=3600)
    return frame


def _make(tenant: ResolvedTenant, version: int, member: bool) -> Frame:
    site, lines, recent, clock = current_site(), menu(member), _recent(member), changes()
    shown = {"site": site, "frame": {"menu": lines, "recent": recent}}
    return Frame(
        tenant=tenant,
        version=version,
        site=site,
        root=current_app.config["FREEHOLD"].address(tenant.primary_host) + "/",
        edition=_edition(tenant, version, member, clock),
        until=clock.next,
        menu_html=_printed(render_template("content/site/_frame_menu.html", **shown)),
        foot_html=_printed(render_template("content/site/_frame_foot.html", **shown)),
    )


def _printed(html: str) -> Markup:
    """Mark what our own templates have printed, and so escaped."""
    return Markup(html)  # noqa: S704


def _recent(member: bool) -> tuple[Latest, ...]:
    found = db.session.execute(_latest(member))
    return tuple(Latest(title or "Untitled", quote(href("post", path)), at) for title, path, at in found)


@cache
def _latest(member: bool) -> Select[str, str, datetime | None]:
    posts = visible_entries("post", member).order_by(Entry.published_at.desc(), Entry.id.desc()).limit(LATEST)
    return posts.with_only_columns(Entry.title, Entry.path, Entry.published_at)


def _edition(tenant: ResolvedTenant, version: int, member: bool, clock: Changes) -> str:
    # The generation tells a restored file from the one whose version it repeats; the release, new templates from old.
    facts = (current_app.config["FREEHOLD_RELEASE"], tenant, version, member, clock.last)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
