"""A preview to look into: a hidden house with the rows and the files that another one has at this moment."""

from __future__ import annotations

import shutil
from contextvars import Context
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from app import Freehold
from app.facilities import storage
from app.tenancy import ResolvedTenant, Tenancy, db, tenancy, tenant_context, utcnow
from app.tenancy.registry import Tenant

LEFT_OUT = ("due", "session")


def preview_of(app: Freehold, tenant: ResolvedTenant, at: datetime | None = None) -> ResolvedTenant:
    """Return a preview of `tenant` as it is now, said to be of the moment `at`, if given."""
    slug = f"{tenant.slug}-preview"
    with app.app_context():
        house: Tenancy = app.extensions["tenancy"]
        made = house.lifecycle.create(slug, tenant.name, hidden=True)
        with house.engines["registry"].begin() as registry:
            past = {"preview_of": tenant.id, "preview_at": at or utcnow()}
            registry.execute(update(Tenant).where(Tenant.id == made.id).values(**past))
    rows = Context().run(_inside, app, tenant, _rows)
    Context().run(_inside, app, made, lambda: _become(tenant, made, rows))
    found = house.registry.by_slug(slug)
    assert found is not None
    return found


def _inside(app: Freehold, tenant: ResolvedTenant, work: Any) -> Any:
    with app.app_context(), tenant_context(tenant):
        found = work()
        db.session.commit()
        return found


def _rows() -> dict[str, list[dict[str, Any]]]:
    return {table.name: [dict(row) for row in _all_of(table)] for table in _tables() if table.name not in LEFT_OUT}


def _all_of(table: Any) -> Any:
    return db.session.execute(select(table), bind_arguments={"clause": table}).mappings()


def _become(tenant: ResolvedTenant, preview: ResolvedTenant, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table in reversed(_tables()):
        db.session.execute(delete(table))
    for file in rows["stored_file"]:
        key = storage._unwrap(tenant.id, file["name"], file["wrapped_key"])
        file["wrapped_key"] = storage._wrap(preview.id, file["name"], key)
    for table in _tables():
        if rows.get(table.name):
            db.session.execute(insert(table), rows[table.name])
    files = tenancy.placements.folder(tenant.id) / "files"
    if files.exists():
        shutil.copytree(files, tenancy.placements.folder(preview.id) / "files", dirs_exist_ok=True)


def _tables() -> list[Any]:
    return list(db.metadatas["tenant"].sorted_tables)
