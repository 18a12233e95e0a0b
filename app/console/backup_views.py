"""The console's pages of backups: how all stand, and what can be done for one organisation."""

from __future__ import annotations

from flask import abort, redirect, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from app import backups
from app.accounts import LookLink, flash, fresh_required
from app.backups.desk import BUSY
from app.backups.forms import ReplaceForm
from app.backups.shelf import Moment
from app.backups.target import TargetDown
from app.console import backups as reading
from app.console.views import blueprint, found, page
from app.facilities.pagination import Pagination
from app.tenancy import ResolvedTenant, db
from app.tenancy.registry import Tenant

PAGE = 50  # organisations, or moments


@blueprint.get("/backups/")
def backups_list() -> Response:
    """How the backups of all organisations stand, those that need a look first."""
    lines = reading.lines()
    return page(
        "console/backups.html",
        numbers=reading.numbers(lines),
        listed=reading.page_of(lines, request.args.get("page", 1, type=int), PAGE),
        central=reading.central(),
        room=reading.room(),
        kit=reading.recovery_kit(),
    )


@blueprint.get("/tenants/<slug>/backups/")
def tenant_backups(slug: str) -> Response:
    """The moments that one organisation can be brought back to."""
    row = found(slug)
    moments, problem = kept_moments(row)
    number = request.args.get("page", 1, type=int)
    pages = max(1, -(-len(moments) // PAGE))
    if not 1 <= number <= pages:
        abort(404)
    listed = Pagination(moments[(number - 1) * PAGE : number * PAGE], number, pages, len(moments))
    return page("console/tenant_backups.html", tenant=row, listed=listed, problem=problem, **reading.panel(row))


@blueprint.post("/tenants/<slug>/backups/copy")
def copy_now(slug: str) -> Response:
    """Have an organisation copied now."""
    return ask(found(slug), "tick")


@blueprint.post("/tenants/<slug>/backups/proof")
def prove_now(slug: str) -> Response:
    """Have a restore of an organisation done now, to prove that it can be."""
    return ask(found(slug), "drill")


@blueprint.post("/tenants/<slug>/backups/moments/<int:seq>/preview")
@fresh_required
def look_at_moment(slug: str, seq: int) -> Response:
    """Ask for a preview of one of an organisation's moments."""
    row = found(slug)
    return ask(row, "preview", moment(row, seq).seq)


@blueprint.route("/tenants/<slug>/backups/moments/<int:seq>/replacement", methods=["GET", "POST"])
@fresh_required
def go_back(slug: str, seq: int) -> Response:
    """Put a moment in the place of an organisation's living state, once its name was typed."""
    row = found(slug)
    chosen, form = moment(row, seq), ReplaceForm(row.name)
    if form.validate_on_submit():
        return ask(row, "replace", chosen.seq)
    return page("console/go_back.html", 422 if form.errors else 200, tenant=row, chosen=chosen, form=form)


@blueprint.get("/tenants/<slug>/backups/order")
def backup_order(slug: str) -> Response:
    """How far the work that was asked for has come, or what came of it."""
    row = found(slug)
    return page("console/backup_order.html", tenant=row, order=backups.latest_order(row.id), **reading.panel(row))


@blueprint.get("/tenants/<slug>/backups/preview/open")
@fresh_required
def open_preview(slug: str) -> Response:
    """Lead into a preview by a link that holds for five minutes and works once."""
    return redirect(LookLink.for_operator(the_preview(found(slug)), current_user.email), 303)


@blueprint.post("/tenants/<slug>/backups/preview/discard")
def discard_preview(slug: str) -> Response:
    """Throw a preview away."""
    row = found(slug)
    the_preview(row)
    return ask(row, "discard")


def ask(row: Tenant, kind: str, seq: int | None = None) -> Response:
    """Order something of the archivist and show how it goes; while it does something else, that is shown."""
    tenant_id, by = row.id, current_user.email
    db.session.commit()
    order = backups.ask(kind, tenant_id, by, seq)
    db.session.commit()
    if (order.kind, order.seq) != (kind, seq):
        flash("warning", BUSY)
    return redirect(url_for("console.backup_order", slug=row.slug), 303)


def kept_moments(row: Tenant) -> tuple[list[Moment], str]:
    """Return the whole moments of an organisation, newest first, or none and why they cannot be listed."""
    try:
        return [moment for moment in backups.shelf_of(row.id).moments() if moment.is_whole], ""
    except TargetDown as problem:
        return [], str(problem)


def moment(row: Tenant, seq: int) -> Moment:
    """Return one of an organisation's moments, or answer 404."""
    return next((one for one in kept_moments(row)[0] if one.seq == seq), None) or abort(404)


def the_preview(row: Tenant) -> ResolvedTenant:
    """Return an organisation's preview, or answer 404."""
    return backups.preview_of(row.id) or abort(404)
