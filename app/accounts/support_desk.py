"""The two doors of visits inside an organisation: where operators come in, and where owners see and end what goes on."""

from __future__ import annotations

from flask import Blueprint, abort, current_app, make_response, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import cookies
from app.accounts.freshness import fresh_required
from app.accounts.models import SupportRule, SupportVisit, User
from app.accounts.notices import flash
from app.accounts.policy import needs
from app.accounts.previews import is_preview
from app.facilities.pagination import paginate
from app.tenancy import current_tenant, db, tenancy, utcnow

blueprint = Blueprint("support", __name__)

PER_PAGE = 50


@blueprint.before_request
def only_today() -> None:
    """Let no visit into a preview, which has a door of its own."""
    if is_preview():
        abort(404)


@blueprint.after_request
def keep_private(response: Response) -> Response:
    """Keep these pages out of every cache."""
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.route("/sign-in/visit/<token>", methods=["GET", "POST"])
def enter(token: str) -> Response:
    """Let the operator in whose one-time link this is. Reading the page spends nothing, so that no program does."""
    leave = SupportVisit.invited(token)
    if leave is None:
        return make_response(render_template("accounts/visit_gone.html"), 404)
    if request.method != "POST":
        may_change = SupportRule.current().may_change
        return make_response(render_template("accounts/visit.html", leave=leave, may_change=may_change))
    visit = SupportVisit.begin(leave)
    db.session.commit()
    told = {"reason": leave.reason, "visit": leave.id}
    tenancy.ledger.record("support_visit_began", current_tenant().id, actor=leave.email, **told)
    response = redirect("/desk/", 303)
    cookies.give(response, "freehold", str(visit), leave.expires_at - utcnow())
    return response


@blueprint.get("/desk/settings/visits")
@needs("security.manage")
def visits() -> Response:
    """List who was here, newest first, and what visits may do."""
    newest = select(SupportVisit).order_by(SupportVisit.id.desc())
    found = paginate(newest, request.args.get("page", 1, type=int), PER_PAGE)
    return make_response(render_template("accounts/desk/visits.html", found=found, rule=SupportRule.current()))


@blueprint.post("/desk/settings/visits")
@needs("security.manage")
@fresh_required
def choose_rule() -> Response:
    """Let visits change things, or only look; it holds at once, for one that goes on too."""
    SupportRule.current().choose("may_change" in request.form, by=current_user)
    db.session.commit()
    flash("success", "Saved. It holds at once.")
    return redirect(url_for(".visits"), 303)


@blueprint.post("/desk/settings/visits/<int:visit_id>/end")
@needs("security.manage")
def end(visit_id: int) -> Response:
    """End a visit that goes on."""
    visit = db.session.get(SupportVisit, visit_id) or abort(404)
    if visit.is_open:
        finish(visit, by=current_user)
    flash("success", "The visit is over.")
    return redirect(url_for(".visits"), 303)


def leave(visit: SupportVisit) -> Response:
    """End a visit for its operator, and lead them back to the console. A form may not do that by itself: that is another host."""
    finish(visit)
    config, slug = current_app.config["FREEHOLD"], current_tenant().slug
    console = f"{config.address(config.platform_host)}/tenants/{slug}?visit=ended"
    response = make_response(render_template("accounts/visit_over.html", console=console))
    response.headers["Refresh"] = f"0; url={console}"
    cookies.take_back(response)
    return response


def finish(visit: SupportVisit, by: User | None = None) -> None:
    """End a visit, by default in its operator's name, and let the console know."""
    visit.end(by=by)
    db.session.commit()
    told = {"of": visit.email, "visit": visit.mark}
    tenancy.ledger.record("support_visit_ended", current_tenant().id, actor=visit.ended_by, **told)
