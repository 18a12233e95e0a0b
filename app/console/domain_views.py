"""The console's pages of an organisation's domains: which there are, where they lead, which is the main one."""

from __future__ import annotations

from flask import abort, redirect, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from app import ops
from app.accounts import flash, fresh_required
from app.accounts.notices import Kind
from app.console.forms import DomainForm
from app.console.views import blueprint, page
from app.tenancy import ResolvedTenant, db, tenancy
from app.tenancy.errors import InvalidName, QuotaExceeded, Refused


@blueprint.get("/tenants/<slug>/domains/")
def tenant_domains(slug: str) -> Response:
    """List an organisation's domains."""
    return domains_page(resolved(slug), DomainForm(formdata=None))


@blueprint.post("/tenants/<slug>/domains/")
@fresh_required
def add_domain(slug: str) -> Response:
    """Let an organisation answer at one more host."""
    tenant, form, by = resolved(slug), DomainForm(), current_user.email
    if not form.validate():
        return domains_page(tenant, form, 422)
    db.session.commit()
    try:
        host = tenancy.domains.add(tenant, form.host.data, by=by)
    except (InvalidName, QuotaExceeded, Refused) as refusal:
        form.host.errors.append(refusal.advice)
        return domains_page(tenant, form, 422)
    return done(tenant, f"{tenant.name} answers at {host} as soon as that name leads here.")


@blueprint.post("/tenants/<slug>/domains/<host>/look")
def look_at_domain(slug: str, host: str) -> Response:
    """See whether a host leads here."""
    tenant = of(slug, host)
    problem = ops.domains.look(host)
    return done(tenant, problem or f"{host} leads here.", "warning" if problem else "success")


@blueprint.post("/tenants/<slug>/domains/<host>/primary")
@fresh_required
def make_domain_primary(slug: str, host: str) -> Response:
    """Have letters and links of an organisation lead to another of its hosts: to one that leads nowhere only when told twice."""
    by, tenant = current_user.email, of(slug, host)
    is_asked = "anyway" not in request.form and tenant.state == "active"
    if is_asked and (problem := ops.domains.look(host)):
        return page("console/domain_primary.html", 422, tenant=tenant, host=host, problem=problem)
    tenancy.domains.make_primary(host, by=by)
    return done(tenant, f"Letters and links lead to {host} from now on.")


@blueprint.route("/tenants/<slug>/domains/<host>/removal", methods=["GET", "POST"])
@fresh_required
def remove_domain(slug: str, host: str) -> Response:
    """Say what breaks without a host, or answer there no more."""
    by, tenant = current_user.email, of(slug, host)
    if request.method != "POST":
        tenancy.domains.refuse_to_remove(tenant, host)
        return page("console/domain_removal.html", tenant=tenant, host=host)
    tenancy.domains.remove(host, by=by)
    return done(tenant, f"{tenant.name} answers at {host} no more.")


def resolved(slug: str) -> ResolvedTenant:
    """Return the tenant, or answer 404."""
    return tenancy.registry.by_slug(slug) or abort(404)


def of(slug: str, host: str) -> ResolvedTenant:
    """Return the tenant that has the host, or answer 404."""
    tenant = resolved(slug)
    db.session.commit()  # What follows takes the registry's lock itself, or takes long.
    return tenant if host in tenant.hosts else abort(404)


def done(tenant: ResolvedTenant, said: str, kind: Kind = "success") -> Response:
    """Say what came of it, beside the list."""
    flash(kind, said)
    return redirect(url_for("console.tenant_domains", slug=tenant.slug), 303)


def domains_page(tenant: ResolvedTenant, form: DomainForm, status: int = 200) -> Response:
    """Show the domains, with the form for a new one."""
    return page(
        "console/domains.html",
        status,
        tenant=tenant,
        own=tenancy.domains.own(tenant.slug),
        checks=tenancy.domains.checks(tenant.id),
        address=tenancy.config.address,
        form=form,
    )
