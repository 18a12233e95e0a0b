"""The desk where members arrange the menu: plain forms, so that it works with a keyboard and without scripts."""

from __future__ import annotations

from typing import Any

from flask import abort, make_response, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import flash, needs
from app.content.desk import blueprint
from app.content.forms import LineForm
from app.content.models import Entry, MenuItem, Topic
from app.tenancy import db

MOVES = {
    "up": lambda line: line.move(-1),
    "down": lambda line: line.move(+1),
    "in": lambda line: line.nest(),
    "out": lambda line: line.unnest(),
}


@blueprint.get("/menu")
@needs("content.edit")
def menu() -> Response:
    """Show the menu and the form for a new line."""
    return _page(_with_targets(LineForm()))


@blueprint.post("/menu/lines")
@needs("content.edit")
def add_line() -> Response:
    """Add a line at the end."""
    form = _with_targets(LineForm())
    if not form.validate():
        return _page(form, 422)
    kind, _, number = form.target.data.partition(":")
    leads_to: dict[str, Any] = {f"{kind}_id": int(number)} if number else {"url": form.url.data.strip()}
    line = MenuItem.add(form.label.data or dict(form.target.choices).get(form.target.data, ""), **leads_to)
    return _done(f"“{line.label}” is in the menu.")


@blueprint.post("/menu/lines/<int:line_id>")
@needs("content.edit")
def rename_line(line_id: int) -> Response:
    """Give a line another label."""
    line = find(line_id)
    line.rename(request.form.get("label", ""))
    return _done(f"The line is now called “{line.label}”.")


@blueprint.post("/menu/lines/<int:line_id>/place")
@needs("content.edit")
def move_line(line_id: int) -> Response:
    """Move a line up or down, or under the line above and out again."""
    line, move = find(line_id), MOVES.get(request.form.get("to", "")) or abort(422)
    move(line)
    return _done(f"“{line.label}” was moved.")


@blueprint.post("/menu/lines/<int:line_id>/removal")
@needs("content.edit")
def remove_line(line_id: int) -> Response:
    """Take a line out, and those under it; the pages stay."""
    line = find(line_id)
    line.remove()
    return _done(f"“{line.label}” is no longer in the menu. What it led to is still there.")


def find(line_id: int) -> MenuItem:
    """Return the line of the menu."""
    return db.session.get(MenuItem, line_id) or abort(404)


def _page(form: LineForm, status: int = 200) -> Response:
    lines = db.session.execute(
        select(MenuItem, Entry, Topic)
        .outerjoin(Entry, Entry.id == MenuItem.entry_id)
        .outerjoin(Topic, Topic.id == MenuItem.topic_id)
        .order_by(MenuItem.position, MenuItem.id)
    ).all()
    return make_response(render_template("content/desk/menu.html", form=form, lines=lines), status)


def _with_targets(form: LineForm) -> LineForm:
    entries = (
        select(Entry.id, Entry.kind, Entry.title).where(Entry.state != "trashed").order_by(Entry.kind, Entry.title)
    )
    topics = select(Topic.id, Topic.name).order_by(Topic.name)
    form.target.choices = [
        ("", "An address, given below"),
        *((f"entry:{id_}", title or "Untitled") for id_, kind, title in db.session.execute(entries)),
        *((f"topic:{id_}", f"Posts on {name}") for id_, name in db.session.execute(topics)),
    ]
    return form


def _done(said: str) -> Response:
    db.session.commit()
    flash("success", said)
    return redirect(url_for(".menu"), 303)
