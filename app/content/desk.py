"""The desk where members write: the list of pages and posts, the editor, publication and the trash."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy import Select, func, select
from sqlalchemy.orm import load_only
from werkzeug.wrappers import Response

from app.accounts import current_user, flash, needs
from app.content.editor import Draft, fill, take_over
from app.content.forms import SOURCE_LENGTH, EntryForm
from app.content.frame import current_frame
from app.content.models import Entry
from app.facilities import clock
from app.facilities.html import clean, render_markdown
from app.facilities.pagination import paginate
from app.facilities.reader import current_reader
from app.tenancy import db, utcnow

blueprint = Blueprint("content_desk", __name__, url_prefix="/desk/content")

KINDS = {"page": "Pages", "post": "Posts"}
STATES = {
    "": "All",
    "published": "Published",
    "scheduled": "Scheduled",
    "draft": "Drafts",
    "trashed": "Trash",
}
LISTED = (Entry.kind, Entry.title, Entry.path, Entry.state, Entry.state_before, Entry.visibility, Entry.is_front)
PER_PAGE = 30


@blueprint.get("/")
@needs("content.edit")
def entries() -> str:
    """List pages or posts."""
    kind, state = request.args.get("kind", "page"), request.args.get("state", "")
    if kind not in KINDS or state not in STATES:
        abort(404)
    wanted = request.args.get("q", "").strip()
    pagination = paginate(_listed(kind, state, wanted), request.args.get("page", 1, type=int), PER_PAGE)
    shown = {"kind": kind, "state": state, "q": wanted, "kinds": KINDS, "states": STATES}
    return render_template("content/desk/entries.html", pagination=pagination, counts=_counts(), undo=_undo(), **shown)


@blueprint.route("/entries/new", methods=["GET", "POST"])
@needs("content.edit")
def new_entry() -> Response | str:
    """Write a new page or post."""
    kind = request.args.get("kind", "page")
    if kind not in KINDS:
        abort(404)
    form = fill(EntryForm(), kind, None)
    if not form.validate_on_submit():
        return _editor(form, kind, None)
    entry = Entry.write(kind, form.title.data, author_id=current_user.id, author_name=current_user.name)
    return _save(form, entry)


@blueprint.route("/entries/<int:entry_id>", methods=["GET", "POST"])
@needs("content.edit")
def entry(entry_id: int) -> Response | str:
    """Change a page or post."""
    entry = find(entry_id)
    form = fill(EntryForm(obj=Draft.of(entry)), entry.kind, entry)
    if not form.validate_on_submit():
        return _editor(form, entry.kind, entry)
    if Draft.of(entry).conflicts_with(form):
        return _conflict(form, entry)
    return _save(form, entry)


@blueprint.post("/preview")
@needs("content.edit")
def preview() -> str:
    """Show the text in the editor as visitors would see it; nothing is saved."""
    form = EntryForm()
    source = (form.source.data or "")[:SOURCE_LENGTH]
    html = (clean if form.source_format.data == "html" else render_markdown)(source)
    shown = {"title": form.title.data, "html": Markup(html), "frame": current_frame(member=True)}  # noqa: S704
    return render_template("content/desk/preview.html", **shown)


@blueprint.post("/entries/<int:entry_id>/publication")
@needs("content.edit")
def publish(entry_id: int) -> Response:
    """Show it to visitors now."""
    entry = find(entry_id)
    entry.publish()
    return _done(f"“{entry.title}” is published.", entry)


@blueprint.post("/entries/<int:entry_id>/publication/end")
@needs("content.edit")
def unpublish(entry_id: int) -> Response:
    """Make it a draft again."""
    entry = find(entry_id)
    entry.unpublish()
    return _done(f"“{entry.title}” is a draft again; visitors do not see it.", entry)


@blueprint.post("/entries/<int:entry_id>/trash")
@needs("content.edit")
def trash(entry_id: int) -> Response:
    """Take it away; the page that follows offers to undo it."""
    entry = find(entry_id)
    entry.trash()
    db.session.commit()
    return redirect(url_for(".entries", kind=entry.kind, undo=entry.id), 303)


@blueprint.post("/entries/<int:entry_id>/restore")
@needs("content.edit")
def restore(entry_id: int) -> Response:
    """Bring it back out of the trash."""
    entry = find(entry_id)
    entry.restore()
    return _done(f"“{entry.title}” is back.", entry)


def find(entry_id: int) -> Entry:
    """Return the entry, trashed ones too; whoever edits may see them all."""
    return db.session.get(Entry, entry_id) or abort(404)


def _listed(kind: str, state: str, wanted: str) -> Select[Any]:
    listed = select(Entry).options(load_only(*LISTED, Entry.published_at, Entry.updated_at)).where(Entry.kind == kind)
    if wanted:
        listed = listed.where(Entry.title.icontains(wanted, autoescape=True))
    order = (Entry.path,) if kind == "page" else (func.coalesce(Entry.published_at, Entry.updated_at).desc(),)
    return listed.where(*_in_state(state)).order_by(*order, Entry.id)


def _in_state(state: str) -> tuple[Any, ...]:
    if state == "scheduled":
        return Entry.state == "published", Entry.published_at > utcnow()
    if state == "published":
        return Entry.state == "published", Entry.published_at <= utcnow()
    return (Entry.state == state,) if state else (Entry.state != "trashed",)


def _undo() -> Entry | None:
    """Return what has just been trashed."""
    number = request.args.get("undo", "")
    entry = db.session.get(Entry, int(number)) if number.isdecimal() and len(number) < 19 else None
    return entry if entry and entry.state == "trashed" else None


def _counts() -> dict[str, int]:
    rows = db.session.execute(select(Entry.kind, func.count()).where(Entry.state != "trashed").group_by(Entry.kind))
    return dict(rows.tuples().all())


def _editor(form: EntryForm, kind: str, entry: Entry | None, theirs: Draft | None = None) -> Response:
    status = 409 if theirs else 422 if form.errors else 200
    shown = {"form": form, "kind": kind, "entry": entry, "theirs": theirs, "zone": current_reader().time_zone}
    return make_response(render_template("content/desk/editor.html", **shown), status)


def _conflict(form: EntryForm, entry: Entry) -> Response:
    """Show both texts; sending the form again is then a choice made with open eyes."""
    theirs = Draft.of(entry)
    form.token.data = theirs.token
    return _editor(form, entry.kind, entry, theirs)


def _save(form: EntryForm, entry: Entry) -> Response:
    take_over(form, entry)
    act = form.act.data
    if act == "publish":
        entry.publish()
    elif act == "schedule" and form.at.data:
        entry.publish(at=clock.from_local(form.at.data, current_reader().time_zone))
    db.session.commit()
    flash("success", f"“{entry.title}” is {'saved' if act == 'save' else entry.status}.")
    return redirect(url_for(".entry", entry_id=entry.id), 303)


def _done(said: str, entry: Entry) -> Response:
    db.session.commit()
    flash("success", said)
    return redirect(url_for(".entry", entry_id=entry.id), 303)
