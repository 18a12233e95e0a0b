"""How each organisation presents itself, and the pages' knowledge of it."""

from __future__ import annotations

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.local import LocalProxy

from app.branding import dates, desk, domains_desk
from app.branding.logo import prepared
from app.branding.models import Look, Site, current_site
from app.branding.palette import Palette, palette
from app.branding.presets import PRESETS
from app.branding.views import blueprint
from app.facilities.reader import lives_by
from app.tenancy import current_scope
from app.tenancy.errors import FreeholdError

__all__ = ["PRESETS", "Look", "Palette", "Site", "current_site", "init_app", "palette", "prepared"]


def init_app(app: Flask) -> None:
    """Serve colours and logo, and let every template say `site`, which is None where no tenant is known."""
    app.register_blueprint(blueprint)
    desk.init_app(app)
    domains_desk.init_app(app)
    lives_by(lambda: site.time_zone if (site := site_if_known()) else "UTC")
    app.jinja_env.globals["site"] = LocalProxy(site_if_known)
    app.jinja_env.filters.update(dates.FILTERS)


def site_if_known() -> Look | None:
    """Return the current site's look, None on the platform's side and where the tenant's file cannot be read.

    Pages that say why a file cannot be read are printed through this too.
    """
    scope = current_scope()
    if scope is None or scope.tenant is None:
        return None
    try:
        return current_site()
    except (FreeholdError, SQLAlchemyError):
        return None
