"""Visits of operators: what is open to them inside an organisation. Whatever stands in no list here is shut.

A visit is asked for on the console, with a reason and an end. It has no place among the people, so it can speak as nobody:
what people write to one another, their own pages, keys, tokens, copies and the live stream stay out of its reach.
"""

from __future__ import annotations

from flask import Flask, abort, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

from app.accounts import support_desk, visits
from app.accounts.csrf import kept
from app.accounts.models import SupportVisit
from app.accounts.visits import UNSAFE, server_session
from app.facilities import audit
from app.tenancy.errors import FreeholdError

LOOK_ONLY = "You are on a visit that only looks."

SHOWN = frozenset(
    {
        "static",
        "ops.healthz",
        "ops.readyz",
        "branding.theme",
        "branding.monogram",
        "branding.logo",
        "content_site.home",
        "content_site.posts",
        "content_site.post",
        "content_site.topic",
        "content_site.any_page",
        "content_site.file",
        "content_site.feed",
        "content_site.sitemap",
        "content_site.robots",
        "content_site.contact",
        "content_site.contact_with_slash",
        "desk.home",
        "content_desk.entries",
        "content_desk.new_entry",
        "content_desk.entry",
        "content_desk.imports",
        "content_desk.show_import",
        "content_desk.menu",
        "settings.show",
        "settings.example",
        "settings.use",
        "domains_desk.show",
        "people.people",
        "audit_desk.show",
    }
)
CHANGED = frozenset(
    {
        "content_desk.new_entry",
        "content_desk.entry",
        "content_desk.preview",
        "content_desk.publish",
        "content_desk.unpublish",
        "content_desk.trash",
        "content_desk.restore",
        "content_desk.add_line",
        "content_desk.rename_line",
        "content_desk.move_line",
        "content_desk.remove_line",
        "settings.save",
    }
)


def init_app(app: Flask) -> None:
    """Know visits by their cookie, keep them to what is open to them, and let every page say that one goes on.

    Must come after `visits` and `csrf`.
    """
    find_person = visits.finders["tenant"]
    visits.finders["tenant"] = lambda token_hash: find_person(token_hash) or SupportVisit.find(token_hash)
    app.register_blueprint(support_desk.blueprint)
    app.before_request(keep_to_visit)
    app.jinja_env.globals["support_visit"] = LocalProxy(current_visit)
    app.jinja_env.globals["shown_to_visits"] = SHOWN


def keep_to_visit() -> Response | None:
    """Let a visit look at what is shown to it and, where the owners allow it, change that; each change is noted."""
    visit, door = server_session(), request.endpoint
    if not isinstance(visit, SupportVisit) or door is None:
        return None
    if door == "accounts.sign_out":
        return support_desk.leave(visit)
    if request.method not in UNSAFE:
        return None if door in SHOWN else abort(404)
    if door not in CHANGED:
        abort(404)
    if not visit.may_change:
        return kept(LOOK_ONLY, "Nothing was changed")
    audit.note("support_visit_changed", actor=visit.email, subject=visit.email, where=request.path)
    return None


def current_visit() -> SupportVisit | None:
    """Return the visit in whose name a page is asked for, None for everybody else; so do pages that say why a file is shut."""
    try:
        session = server_session()
    except (FreeholdError, SQLAlchemyError):
        return None
    return session if isinstance(session, SupportVisit) else None
