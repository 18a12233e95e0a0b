"""A drawing of a small page in given colours, by day and by night."""

from __future__ import annotations

from markupsafe import Markup

from app.branding.palette import GROUNDS, palette

HALF = Markup(
    '<g transform="translate({x} 0)">'
    '<rect width="160" height="150" fill="{page}"/><rect width="160" height="46" fill="{band}"/>'
    '<rect x="14" y="14" width="74" height="8" rx="4" fill="{on_band}"/>'
    '<rect x="14" y="28" width="48" height="5" rx="2.5" fill="{on_band}" opacity=".7"/>'
    '<rect x="14" y="62" width="132" height="6" rx="3" fill="{ink}" opacity=".75"/>'
    '<rect x="14" y="75" width="112" height="6" rx="3" fill="{ink}" opacity=".75"/>'
    '<rect x="14" y="88" width="52" height="6" rx="3" fill="{link}"/>'
    '<rect x="14" y="108" width="62" height="24" rx="8" fill="{brand}"/>'
    '<rect x="26" y="117" width="38" height="6" rx="3" fill="{on_brand}"/>'
    '<circle cx="130" cy="120" r="12" fill="{accent}"/></g>'
)
PAGE = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 150" width="320" height="150">{day}{night}</svg>'
)
INK = {"light": "#2b2620", "dark": "#f1ece4"}


def drawn(brand: str, accent: str) -> str:
    """Return the drawing as SVG; raises `Refused` for anything but "#rrggbb"."""
    colours = palette(brand, accent)
    return PAGE.format(day=_half(0, "light", colours.light), night=_half(160, "dark", colours.dark))


def _half(x: int, scheme: str, colours: dict[str, str]) -> Markup:
    named = {name.replace("-", "_"): colour for name, colour in colours.items()}
    return HALF.format(x=x, page=GROUNDS[scheme][0], ink=INK[scheme], **named)
