"""A moment to look at: a hidden tenant beside the living one, on a host of its own, that sends nothing and is thrown away."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from app.backups.restore import Progress, quiet, restore_as
from app.backups.shelf import Moment
from app.tenancy import ResolvedTenant, Tenancy, utcnow
from app.tenancy.registry import Tenant

KEPT = timedelta(days=3)
MOST_SLUG = 63
ENDING = "-preview"


def open_preview(
    tenancy: Tenancy, tenant: ResolvedTenant, moment: Moment, progress: Progress = quiet
) -> ResolvedTenant:
    """Make the preview of a moment, in the place of the one there may be; raises as `restore_as` does."""
    discard(tenancy, tenant.id)
    slug = tenant.slug[: MOST_SLUG - len(ENDING)].rstrip("-") + ENDING
    return restore_as(
        tenancy, tenant.id, moment, slug, tenant.name, tier=tenant.tier, preview_of=tenant.id, progress=progress
    )


def preview_of(tenancy: Tenancy, tenant_id: str) -> ResolvedTenant | None:
    """Return the preview of a tenant that can be looked at, None when there is none."""
    return tenancy.registry.preview_of(tenant_id)


def discard(tenancy: Tenancy, tenant_id: str) -> None:
    """Throw away the previews of a tenant, also one that was only half made or half thrown away."""
    with tenancy.engines["registry"].connect() as registry:
        ids = registry.scalars(select(Tenant.id).where(Tenant.preview_of == tenant_id)).all()
    for each in ids:
        preview = tenancy.registry.by_id(each)
        if preview is not None:
            tenancy.lifecycle.discard(preview)


def discard_old(tenancy: Tenancy) -> int:
    """Throw away the previews that nobody has thrown away for three days; returns how many."""
    with tenancy.engines["registry"].connect() as registry:
        old = Tenant.preview_of.is_not(None) & (Tenant.created_at < utcnow() - KEPT)
        ids = registry.scalars(select(Tenant.preview_of).where(old)).all()
    for tenant_id in ids:
        if tenant_id is not None:
            discard(tenancy, tenant_id)
    return len(ids)
