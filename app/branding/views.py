"""The colours and the logo of the current site, as files with their version in the address."""

from __future__ import annotations

from flask import Blueprint, Response

from app.branding.logo import monogram
from app.branding.models import Look, current_site
from app.facilities import storage

blueprint = Blueprint("branding", __name__)

SCHEMES = {"auto": "light dark", "light": "light", "dark": "dark"}


@blueprint.get("/_theme/<version>.css")
def theme(version: str) -> Response:
    look = current_site()
    return _kept(Response(stylesheet(look), mimetype="text/css"), version == look.version)


@blueprint.get("/_theme/logo-<version>")
@blueprint.get("/_theme/logo-<version>.svg", endpoint="monogram")
def logo(version: str) -> Response:
    look = current_site()
    return _kept(_picture(look), version == look.version)


def stylesheet(look: Look) -> str:
    """Say the site's colours in the layer of the tokens, over what static/tokens.css says there."""
    light, dark = look.palette.light, look.palette.dark
    pairs = "".join(f"--{name}:light-dark({light[name]},{dark[name]});" for name in light)
    return f"@layer tokens{{:root{{color-scheme:{SCHEMES[look.scheme]};{pairs}}}}}\n"


def _picture(look: Look) -> Response:
    if look.logo_name is None:
        return Response(monogram(look), mimetype="image/svg+xml")
    return Response(storage.read(look.logo_name), mimetype="image/png")


def _kept(response: Response, is_current: bool) -> Response:
    # A page printed before a change asks by the old version; what it gets now must not be kept for that.
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-store"
    return response
