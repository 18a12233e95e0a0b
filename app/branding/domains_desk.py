"""The desk's page of the addresses at which an organisation answers. Operators change them, so that there is nothing to send."""

from __future__ import annotations

from flask import Blueprint, Flask, render_template

from app.accounts import needs
from app.facilities import limits
from app.tenancy import current_tenant, tenancy
from app.tenancy.domains import LABEL, METER

blueprint = Blueprint("domains_desk", __name__)


def init_app(app: Flask) -> None:
    """Open the page, and have domains counted among what a plan allows."""
    app.register_blueprint(blueprint)
    limits.meter(METER, unit="domains", label=LABEL, used=brought)


@blueprint.get("/desk/settings/domains/")
@needs("settings.manage")
def show() -> str:
    """List the addresses, the main one first, and where each leads."""
    tenant = current_tenant()
    return render_template(
        "branding/desk/domains.html",
        tenant=tenant,
        has_brought=bool(brought()),
        checks=tenancy.domains.checks(tenant.id),
        address=tenancy.config.address,
    )


def brought() -> int:
    """Return how many domains the current tenant has besides the address that came with its short name."""
    return len(tenancy.domains.brought(current_tenant()))
