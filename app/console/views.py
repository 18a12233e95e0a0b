"""The console: the operators' pages, on the platform's own host. Nobody but they gets past its door."""

from __future__ import annotations

from contextvars import Context
from typing import Any

from flask import Blueprint, abort, current_app, make_response, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import select
from werkzeug.wrappers import Response

from app import ops
from app.accounts import ask_to_sign_in, cookies, create_owner, flash, fresh_required, is_local, throttle
from app.accounts.forms import Form, SignInForm
from app.accounts.views import UNKNOWN, too_many
from app.accounts.visits import server_session
from app.console import backups, caps, factors, operators, tenants, trail
from app.console.forms import CapForm, SettingsForm, SuspensionForm, TenantForm, TierForm, VisitForm
from app.facilities import settings
from app.facilities.pagination import paginate
from app.tenancy import ResolvedTenant, db, tenancy
from app.tenancy.errors import FreeholdError, InvalidName, QuotaExceeded, Refused
from app.tenancy.registry import STATES, Tenant, Tier

blueprint = Blueprint("console", __name__, subdomain="platform")

PAGE = 50  # tenants


@blueprint.before_request
def operators_only() -> Response | None:
    """Let visitors no further than the sign-in page."""
    if request.endpoint in ("console.sign_in", "console.signing_in") or current_user.is_authenticated:
        return None
    return ask_to_sign_in()


@blueprint.after_request
def keep_out_of_caches(response: Response) -> Response:
    """Keep the console out of every cache."""
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """Show the form, or the console to those who are in already."""
    target = request.args.get("next", "")
    if current_user.is_authenticated:
        return redirect(target if is_local(target) else "/")
    return page("accounts/sign_in.html", form=SignInForm(formdata=None, next=target if is_local(target) else ""))


@blueprint.post("/sign-in")
def signing_in() -> Response:
    """Open a session for the right password. What is wrong stays the visitor's guess."""
    form = SignInForm()
    if not form.validate():
        return page("accounts/sign_in.html", 422, form=form)
    try:
        throttle.count_try(cookies.PLATFORM, form.email.data)
        operator = operators.authenticate(form.email.data, form.password.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal)
    if operator is None:
        trail.note_failure(form.email.data)
        form.form_errors.append(UNKNOWN)
        return page("accounts/sign_in.html", 422, form=form)
    throttle.forgive(cookies.PLATFORM, form.email.data)
    return factors.door.admit(operator, form.next.data or "")


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """End this browser's session."""
    server_session().end()
    db.session.commit()
    factors.note("signed_out", current_user)
    response = redirect("/sign-in", 303)
    cookies.take_back(response)
    return response


@blueprint.get("/")
def overview() -> Response:
    """What needs a look, then how many there are and who came last."""
    return page(
        "console/overview.html",
        problems=[*tenants.met(), *tenants.problems(), *backups.problems()][: tenants.MOST_PROBLEMS],
        counts=tenants.counts(),
        newest=tenants.newest(5),
        has_kit=backups.recovery_kit() is not None,
    )


@blueprint.get("/tenants/")
def tenants_list() -> Response:
    """All organisations, a page at a time."""
    search, state = request.args.get("q", "").strip()[:100], request.args.get("state", "")
    found = paginate(tenants.listed(search, state), request.args.get("page", 1, type=int), PAGE)
    return page("console/tenants.html", found=found, search=search, state=state, states=STATES)


@blueprint.route("/tenants/new", methods=["GET", "POST"])
def new_tenant() -> Response:
    """Make an organisation, and show its owner's set-up link, once."""
    form = TenantForm(tier=settings.text("default_tier"))
    form.tier.choices = [(tier.name, tier.label) for tier in tiers()]
    if not form.is_submitted() or not form.validate():
        return page("console/new_tenant.html", 422 if form.errors else 200, form=form)
    db.session.commit()
    try:
        tenant, token = create(form)
    except (InvalidName, QuotaExceeded, Refused) as refusal:
        field = form.slug if isinstance(refusal, InvalidName) and form.slug.data else form
        (form.form_errors if field is form else field.errors).append(refusal.advice)
        return page("console/new_tenant.html", 422, form=form)
    return page(
        "console/tenant_made.html",
        201,
        tenant=tenant,
        link=f"{address(tenant.primary_host)}/set-up/{token}",
        owner=form.owner.data,
    )


@blueprint.get("/tenants/<slug>")
def tenant(slug: str) -> Response:
    """One organisation."""
    if request.args.get("visit") == "ended":
        flash("success", "The visit has ended.")
    return tenant_page(found(slug), SuspensionForm(formdata=None))


@blueprint.post("/tenants/<slug>/suspension")
@fresh_required
def suspend(slug: str) -> Response:
    """Stop serving an organisation, with a reason."""
    form = SuspensionForm()
    row = found(slug)
    if not form.validate():
        return tenant_page(row, form, 422)
    return moved(
        row, f"{row.name} is suspended from now on.", lambda: tenancy.lifecycle.suspend(slug, form.reason.data)
    )


@blueprint.post("/tenants/<slug>/suspension/end")
@fresh_required
def resume(slug: str) -> Response:
    """Serve an organisation again."""
    row = found(slug)
    return moved(row, f"{row.name} is active again.", lambda: tenancy.lifecycle.resume(slug))


@blueprint.post("/tenants/<slug>/archive")
@fresh_required
def archive(slug: str) -> Response:
    """Close an organisation, its data kept."""
    row = found(slug)
    return moved(row, f"{row.name} is archived. Its data is kept.", lambda: tenancy.lifecycle.archive(slug))


@blueprint.post("/tenants/<slug>/set-aside/retry")
def retry(slug: str) -> Response:
    """Let an organisation's work that was set aside try again."""
    row = found(slug)
    if row.state != "active":
        flash("warning", "Its work is tried again once it is active.")
        return redirect(url_for("console.tenant", slug=slug), 303)
    count = tenants.retry_set_aside(row)
    flash(
        "success",
        f"{count} {'job' if count == 1 else 'jobs'} will be tried again." if count else "Nothing was set aside.",
    )
    return redirect(url_for("console.tenant", slug=slug), 303)


@blueprint.get("/activity/")
def activity() -> Response:
    """Show what is going on: work that waits, work that failed, open pages."""
    return page("console/activity.html", now=ops.current_activity(), trouble=ops.trouble(), trail=trail)


@blueprint.route("/settings/", methods=["GET", "POST"])
@fresh_required
def platform_settings() -> Response:
    """What holds for the whole platform."""
    plans = tiers()
    form = SettingsForm(**settings.every())
    form.default_tier.choices = [(tier.name, tier.label) for tier in plans]
    quotas = [(tier, TierForm.of(tier)) for tier in plans]
    if not form.is_submitted():
        return page("console/settings.html", form=form, quotas=quotas)
    # All are asked, so that every mistake is shown at once.
    if not all([form.validate(), *(quota.validate() for _, quota in quotas)]):
        return page("console/settings.html", 422, form=form, quotas=quotas)
    settings.put({name: str(form[name].data if form[name].data is not None else "") for name in settings.DEFAULTS})
    for tier, quota in quotas:
        quota.apply(tier)
    db.session.commit()
    tenancy.ledger.record("platform_settings_changed", actor=current_user.email)
    flash("success", "Saved. It holds from now on, everywhere.")
    return redirect(url_for("console.platform_settings"), 303)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page of the console."""
    return make_response(render_template(template, **values), status)


def tenant_page(
    row: Tenant,
    form: Form,
    status: int = 200,
    cap_form: CapForm | None = None,
    visit_form: VisitForm | None = None,
) -> Response:
    """Show one organisation."""
    return page(
        "console/tenant.html",
        status,
        tenant=row,
        history=tenants.history(row),
        trail=trail,
        waits=tenants.waits(row),
        form=form,
        uses=caps.lines(row),
        cap_form=cap_form or CapForm(formdata=None),
        visit_form=visit_form or VisitForm(formdata=None),
        visits=tenants.visits(row),
        visits_may_change=tenants.visits_may_change(row),
        address=address(main_host(row)),
        **backups.panel(row),
    )


def main_host(row: Tenant) -> str:
    """Return the host that a tenant's site is known by."""
    return next((domain.host for domain in row.domains if domain.is_primary), "")


def found(slug: str) -> Tenant:
    """Return the tenant, or answer 404."""
    return tenants.by_slug(slug) or abort(404)


def tiers() -> list[Tier]:
    """Return the plans in their order."""
    return list(db.session.scalars(select(Tier).order_by(Tier.position, Tier.name)))


def moved(row: Tenant, said: str, move: Any) -> Response:
    """Change a tenant's state and show it. The registry's lock is given back first: the move takes it."""
    db.session.commit()
    try:
        move()
        flash("success", said)
    except FreeholdError as refusal:
        flash("danger", refusal.advice)
    return redirect(url_for("console.tenant", slug=row.slug), 303)


def create(form: TenantForm) -> tuple[ResolvedTenant, str | None]:
    """Make the tenant and its owner; return it with the token of the owner's set-up link.

    The platform is current in this request and no scope may hold another, so this has a context of its own.
    """
    app, tokens = current_app._get_current_object(), []  # type: ignore[attr-defined]
    domains = (form.domain.data,) if form.domain.data else ()

    def make() -> ResolvedTenant:
        with app.app_context():
            return tenancy.lifecycle.create(
                form.slug.data or tenants.suggested_slug(form.name.data),
                form.name.data,
                domains=domains,
                tier=form.tier.data,
                furnish=lambda: tokens.append(create_owner(form.owner.data)),
            )

    return Context().run(make), tokens[0]


def address(host: str) -> str:
    """Return where a host answers, as its visitors would type it."""
    return current_app.config["FREEHOLD"].address(host)
