"""Where owners go back in time: what is kept, a look at a past moment, single things brought back, or all of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from flask import Blueprint, Flask, abort, make_response, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from app import backups
from app.accounts import (
    LookLink,
    Session,
    User,
    current_user,
    flash,
    fresh_required,
    greets,
    is_preview,
    may,
    needs,
    permission,
)
from app.backups import around, returns, timeline
from app.backups.forms import ReplaceForm, TimeForm
from app.backups.models import Order
from app.backups.shelf import Moment, Shelf
from app.backups.standing import Return, last_return, standing
from app.backups.target import TargetDown
from app.facilities import clock, events
from app.facilities.pagination import Pagination
from app.facilities.reader import current_reader
from app.tenancy import ResolvedTenant, current_tenant, db, utcnow
from app.tenancy.errors import FreeholdError, Refused

permission("backups.restore", "See the past, bring things back out of it, go back to it", place="Settings")

blueprint = Blueprint("backups_desk", __name__, url_prefix="/desk/settings/backups")
preview_blueprint = Blueprint("backups_preview", __name__)

PER_PAGE = 25
THINGS = 50
OUT_OF_REACH = (
    "The place where the copies are kept cannot be reached at the moment. Your site goes on; the copies wait."
)
BUSY = "Something else is being done for the organisation first. Please ask once more when it is finished."


def init_app(app: Flask) -> None:
    """Open the pages, and tell people who sign in that their organisation was brought back."""
    app.register_blueprint(blueprint)
    app.register_blueprint(preview_blueprint)
    app.jinja_env.globals["brought_back"] = brought_back
    greets(tell_of_return)


@blueprint.before_request
def only_today() -> None:
    """Offer nothing of this inside a preview: there is no past of the past."""
    if is_preview():
        abort(404)


@blueprint.get("/")
@needs("backups.restore")
def show() -> Response:
    """Show what is kept, drawn and listed, and what is going on."""
    tenant = current_tenant()
    shelf = backups.shelf_of(tenant.id)
    moments = whole(shelf)
    form, back = TimeForm.asked(), last_return(tenant.id)
    found = listed(shelf, moments, request.args.get("page", 1, type=int))
    return page(
        "backups/desk/show.html",
        form=form,
        asked=asked(form),
        remembered=remembered(shelf, moments, asked(form)),
        listed=found,
        days=groupby(found.items, lambda scene: current_reader().weekday(scene.at)),
        oldest=moments[-1] if moments else None,
        picture=timeline.drawn((moment.at for moment in moments), utcnow()),
        standing=standing(tenant.id),
        order=latest_open(tenant),
        preview_tenant=backups.preview_of(tenant.id),
        back=back,
        undo=before_it(back),
        now=utcnow(),
    )


@blueprint.post("/moments/<int:seq>/preview")
@needs("backups.restore")
@fresh_required
def look_at(seq: int) -> Response:
    """Ask for a preview of a moment."""
    return ask("preview", moment(seq).seq)


@blueprint.route("/moments/<int:seq>/replacement", methods=["GET", "POST"])
@needs("backups.restore")
@fresh_required
def replace(seq: int) -> Response:
    """Say what going back undoes, and do it once the organisation's name was typed."""
    tenant, chosen = current_tenant(), moment(seq)
    form = ReplaceForm(tenant.name)
    if form.validate_on_submit():
        return ask("replace", chosen.seq)
    preview = backups.preview_of(tenant.id)
    shown = {
        "chosen": chosen,
        "undone": around.undone_by(backups.shelf_of(tenant.id), chosen),
        "is_old": chosen.at < utcnow() - events.KEPT,
        "is_shown": preview is not None and preview.preview_at == chosen.at,
    }
    return page("backups/desk/replace.html", 422 if form.errors else 200, form=form, **shown)


@blueprint.get("/order")
@needs("backups.restore")
def order() -> Response:
    """Show how far the work that was asked for has come, or what came of it."""
    tenant = current_tenant()
    latest, preview = backups.latest_order(tenant.id), backups.preview_of(tenant.id)
    if latest is None and preview is None:
        return redirect(url_for(".show"), 303)
    back = last_return(tenant.id)
    shown = {
        "preview_tenant": preview,
        "shown": kept_at(tenant.id, preview.preview_at) if preview else None,
        "back": back,
        "undo": before_it(back),
    }
    return page("backups/desk/order.html", order=latest, **shown)


@blueprint.get("/preview/open")
@needs("backups.restore")
@fresh_required
def open_preview() -> Response:
    """Lead into the preview by a link that holds for five minutes and works once; nothing is written until it is used."""
    return redirect(LookLink.for_owner(the_preview(), me()), 303)


@blueprint.post("/preview/discard")
@needs("backups.restore")
def discard() -> Response:
    """Throw the preview away."""
    the_preview()
    return ask("discard")


@blueprint.get("/preview/things")
@needs("backups.restore")
def things() -> Response:
    """List what the preview holds, with what is missing or was changed here marked."""
    preview, kinds = the_preview(), returns.kinds()
    kind = returns.find(request.args.get("kind", kinds[0].name if kinds else "")) or abort(404)
    wanted = request.args.get("q", "").strip()[:100]
    found = returns.items(preview, kind.name, wanted, THINGS, user=me())
    shown = {"kind": kind, "kinds": kinds, "q": wanted, "items": found, "most": THINGS}
    return page("backups/desk/things.html", preview_tenant=preview, **shown)


@blueprint.post("/preview/things/<name>/<int:item_id>")
@needs("backups.restore")
def bring_back(name: str, item_id: int) -> Response:
    """Bring one thing back, and show it where it stands now."""
    preview, kind, by = the_preview(), returns.find(name) or abort(404), me()
    try:
        path = returns.bring_back(preview, kind.name, item_id, by)
        db.session.commit()
    except returns.AlreadyHere as refusal:
        db.session.rollback()
        flash("info", refusal.advice)
        return redirect(refusal.path, 303)
    except FreeholdError as refusal:
        db.session.rollback()
        flash("danger", refusal.advice)
        return redirect(url_for(".things", kind=kind.name), 303)
    flash("success", told(kind, spoken(preview.preview_at)))
    return redirect(path, 303)


def told(kind: returns.Returnable, moment: str) -> str:
    """Say that a thing is back, and how."""
    how = f" {kind.comes_as}" if kind.comes_as else ""
    return f"This {kind.label} is back{how}, as it was on {moment}. {kind.then}".strip()


@preview_blueprint.post("/look/end")
@needs("backups.restore")
def end_preview() -> Response:
    """Throw the preview away from inside it."""
    living, by = current_tenant().preview_of or abort(404), me().email
    db.session.commit()
    backups.ask("discard", living, by)
    db.session.commit()
    return page("backups/discarded.html")


def ask(kind: str, seq: int | None = None) -> Response:
    """Order something of the archivist and show how it goes; while it does something else, that is shown."""
    by = me().email
    db.session.commit()  # what the request wrote to the organisation's own file; an order is a row of another
    order = backups.ask(kind, current_tenant().id, by, seq)
    db.session.commit()
    if (order.kind, order.seq) != (kind, seq):
        flash("warning", BUSY)
    return redirect(url_for(".order"), 303)


def whole(shelf: Shelf) -> list[Moment]:
    """Return the moments that can be brought back, newest first; none, and a line that says so, while they cannot be had."""
    try:
        return [moment for moment in shelf.moments() if moment.is_whole]
    except TargetDown:
        flash("danger", OUT_OF_REACH)
        return []


def moment(seq: int) -> Moment:
    """Return a moment of the current tenant, or answer 404."""
    try:
        return backups.shelf_of(current_tenant().id).moment(seq)
    except (Refused, TargetDown):
        abort(404)


def asked(form: TimeForm) -> datetime | None:
    """Return the time that somebody remembers, by their clocks; None when nothing sound was asked."""
    return clock.from_local(form.wall, current_reader().time_zone) if form.wall else None


def remembered(shelf: Shelf, moments: list[Moment], until: datetime | None) -> around.Scene | None:
    """Return the newest moment not after that time."""
    if until is None:
        return None
    place = next((place for place, moment in enumerate(moments) if moment.at <= until), None)
    return None if place is None else around.scenes(shelf, *_cut(moments, place, 1))[0]


def listed(shelf: Shelf, moments: list[Moment], number: int) -> Pagination:
    """Return a page of the list of moments, with what happened around each."""
    pages = max(1, -(-len(moments) // PER_PAGE))
    if not 1 <= number <= pages:
        abort(404)
    scenes = around.scenes(shelf, *_cut(moments, (number - 1) * PER_PAGE, PER_PAGE))
    return Pagination(scenes, number, pages, len(moments))


def _cut(moments: list[Moment], place: int, count: int) -> tuple[list[Moment], Moment | None]:
    """Return `count` moments from a place in the list, and the one before them in time."""
    end = place + count
    return moments[place:end], moments[end] if end < len(moments) else None


def latest_open(tenant: ResolvedTenant) -> Order | None:
    """Return what the archivist was asked for and has not finished."""
    latest = backups.latest_order(tenant.id)
    return latest if latest and latest.is_open else None


def the_preview() -> ResolvedTenant:
    """Return the current tenant's preview, or answer 404."""
    return backups.preview_of(current_tenant().id) or abort(404)


def before_it(back: Return | None) -> Moment | None:
    """Return the moment kept right before the organisation was brought back, so that it can be undone."""
    return kept_at(current_tenant().id, back.before) if back else None


def kept_at(tenant_id: str, at: datetime | None) -> Moment | None:
    """Return the moment of a tenant that was made at exactly that time, None when it is not kept any more."""
    return next((moment for moment in whole(backups.shelf_of(tenant_id)) if moment.at == at), None)


def brought_back() -> Return | None:
    """Return what was put in the place of the current organisation's state within a day, for the sign-in page."""
    return last_return(current_tenant().id, timedelta(days=1))


def tell_of_return(user: User) -> None:
    """Tell a person who signs in for the first time since that the organisation was brought back."""
    back = None if is_preview() else last_return(current_tenant().id)
    if back is None or has_been_here(user, back.since) or leads_here():
        return
    if back.before is None:
        flash("info", f"The organisation was brought back from a copy of {spoken(back.at)}, on {spoken(back.since)}.")
        return
    undo = " An owner can undo this under Settings, Go back in time." if may("backups.restore", user) else ""
    flash("info", f"The organisation stands as of {spoken(back.at)}, brought back on {spoken(back.since)}.{undo}")


def leads_here() -> bool:
    """Tell whether signing in leads to a page that says itself that the organisation was brought back."""
    return request.form.get("next", "") in (url_for("backups_desk.show"), url_for("backups_desk.order"))


def has_been_here(user: User, since: datetime) -> bool:
    """Tell whether a person has signed in since then."""
    return (
        db.session.scalar(select(Session.id).where(Session.user_id == user.id, Session.created_at > since)) is not None
    )


def me() -> User:
    """Return the person who asks."""
    return current_user._get_current_object()


def spoken(at: datetime | None) -> str:
    """Return a time as the reader's clocks show it, such as "7 March 2026, 14:05:09"."""
    return current_reader().date_time(at, seconds=True) if at else ""


def page(template: str, status: int = 200, /, **values: Any) -> Response:
    """Render a page."""
    return make_response(render_template(template, **values), status)
