"""The desk's settings: how the organisation presents itself, and what its plan holds."""

from __future__ import annotations

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    make_response,
    redirect,
    render_template,
    request,
)
from werkzeug.wrappers import Response as AnyResponse

from app.accounts import flash, is_preview, may, needs, permission
from app.backups.standing import standing
from app.branding.example import drawn
from app.branding.forms import SettingsForm
from app.branding.logo import prepared
from app.branding.models import Site, current_site
from app.branding.presets import PRESETS
from app.facilities import limits, settings, storage
from app.tenancy import current_tenant, db
from app.tenancy.errors import Refused
from app.tenancy.lifecycle import plants
from app.tenancy.registry import Tenant, Tier

permission("settings.manage", "Change the name, the look and the settings", roles=("admin",))

blueprint = Blueprint("settings", __name__, url_prefix="/desk/settings")


def init_app(app: Flask) -> None:
    """Open the settings, and give new organisations what the operator set for them."""
    app.register_blueprint(blueprint)
    plants(plant)


def plant(name: str) -> None:
    """Give a new tenant called `name` the platform's language and time zone; the caller commits."""
    site = Site.mine()
    site.name = name
    site.speak(settings.text("default_language"), settings.text("default_time_zone"))


@blueprint.get("/")
@needs("settings.manage")
def show() -> Response:
    """Show what holds now."""
    return settings_page(SettingsForm(current_site()))


@blueprint.post("/")
@needs("settings.manage")
def save() -> AnyResponse:
    """Take what was changed, all of it or nothing."""
    form = SettingsForm(current_site())
    if not form.validate():
        return settings_page(form, 422)
    # A picture takes long to read, so the lock that looking up the session took is given back first.
    db.session.commit()
    try:
        picture = prepared(form.logo.data.stream) if form.logo.data else None
        apply(form, picture)
    except Refused as refusal:
        db.session.rollback()
        form.form_errors.append(refusal.advice)
        return settings_page(form, 422)
    db.session.commit()
    tell_registry()
    flash("success", "Saved. Your site shows it from now on.")
    return redirect("/desk/settings/", 303)


@blueprint.get("/use")
@needs("settings.manage")
def use() -> str:
    """Show what the plan allows, and how much of it is used."""
    tenant = current_tenant()
    tier = db.session.get(Tier, tenant.tier)
    plan = tier.label if tier else tenant.tier
    return render_template("branding/desk/use.html", plan=plan, uses=limits.uses())


@blueprint.get("/example.svg")
@needs("settings.manage")
def example() -> Response:
    """Draw a small page in two colours, so that they can be judged before they are taken."""
    try:
        picture = drawn(request.args.get("brand", ""), request.args.get("accent", ""))
    except Refused:
        abort(404)
    return Response(picture, mimetype="image/svg+xml")


def apply(form: SettingsForm, picture: bytes | None) -> None:
    """Put what the form holds into the site's row."""
    site = Site.mine()
    site.rename(form.name.data, form.tagline.data)
    site.speak(form.language.data, form.time_zone.data)
    site.recolour(*form.colours, form.scheme.data)
    site.sign_off(form.footer.data)
    if picture:
        site.set_logo(storage.put(picture))
    elif form.remove_logo.data:
        site.set_logo(None)


def tell_registry() -> None:
    """Carry the name to the registry, in a transaction of its own; the next save mends what was cut short."""
    name = current_site().name
    if current_tenant().name != name:
        tenant = db.session.get(Tenant, current_tenant().id) or abort(404)
        tenant.name = name
        db.session.commit()


def settings_page(form: SettingsForm, status: int = 200) -> Response:
    """Show the form, how safe the data is, and what grows tight."""
    site = db.session.get(Site, 1)
    if not form.is_submitted():
        form.footer.data = site.footer if site else ""
    page = render_template(
        "branding/desk/settings.html",
        form=form,
        presets=PRESETS,
        uses=limits.nearing(),
        standing=standing(current_tenant().id) if may("backups.restore") and not is_preview() else None,
    )
    return make_response(page, status)
