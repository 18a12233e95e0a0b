"""The first page of the desk: what is new, and the next thing to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, Flask, render_template
from flask_login import current_user
from sqlalchemy import Select, select

from app.accounts import may, member_required
from app.content.models import Entry
from app.facilities import clock, limits, settings
from app.facilities.reader import current_reader
from app.tenancy import current_tenant, db

blueprint = Blueprint("desk", __name__)

FEW = 5  # lines of a list


@dataclass(frozen=True)
class Card:
    """A place of the desk, and in one sentence what waits there."""

    href: str
    picture: str
    label: str
    text: str


_news: dict[Callable[[], Card], str] = {}


def tells_news(card: Callable[[], Card], permission: str) -> None:
    """Have the first page show the card that `card()` makes for whoever asks and holds the permission."""
    _news[card] = permission


def init_app(app: Flask) -> None:
    """Open the first page of the desk."""
    app.register_blueprint(blueprint)


@blueprint.get("/desk/")
@member_required
def home() -> str:
    """Greet whoever is signed in, and show what is new of that which they may see."""
    is_editor = may("content.edit")
    return render_template(
        "content/desk/home.html",
        greeting=greeting(current_reader().time_zone),
        person=current_user,
        notice_text=settings.text("desk_notice"),
        nearing=limits.nearing() if may("settings.manage") else [],
        news=[card() for card, permission in _news.items() if may(permission)],
        is_editor=is_editor,
        drafts=newest(select(Entry).where(Entry.state == "draft")) if is_editor else [],
        recent=newest(select(Entry).where(Entry.state == "published")) if is_editor else [],
        host=current_tenant().primary_host,
    )


def greeting(zone: str) -> str:
    """Return the words for the time of day in that zone."""
    hour = clock.local(clock.now(), zone).hour
    return "Good morning" if 4 <= hour < 12 else "Good afternoon" if 12 <= hour < 18 else "Good evening"


def newest(entries: Select[tuple[Entry]]) -> list[Entry]:
    """Return the few that were changed last."""
    return list(db.session.scalars(entries.order_by(Entry.updated_at.desc(), Entry.id.desc()).limit(FEW)))
