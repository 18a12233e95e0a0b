"""From one brand colour to every colour that a page needs, light and dark, readable by calculation.

Shades are derived in OKLCH (https://bottosson.github.io/posts/oklab/). Contrast is that of WCAG 2.2: 4.5 for
text, 3 for the focus ring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app.tenancy.errors import Refused

if TYPE_CHECKING:
    from coloraide import Color

EDITION = 1  # of the derivation; raise it to have browsers fetch the colours anew
TEXT, RING = 4.5, 3.0

# The grounds of static/tokens.css: page, card, well; a test holds the two together.
GROUNDS = {
    "light": ("oklch(98.4% 0.008 85)", "oklch(99.8% 0.002 85)", "oklch(95.6% 0.012 85)"),
    "dark": ("oklch(18.5% 0.01 70)", "oklch(22.5% 0.012 70)", "oklch(26% 0.013 70)"),
}
HEX = re.compile(r"#[0-9a-f]{6}")
STEP = 0.004  # of lightness, from 0 to 1


@dataclass(frozen=True)
class Adjustment:
    """A pair that the given colour could not serve: what it is, the contrast it had, and the one it got."""

    pair: str
    scheme: str
    before: float
    after: float


@dataclass(frozen=True)
class Palette:
    """Names of tokens to "#rrggbb", for both schemes, and what had to be moved."""

    light: dict[str, str]
    dark: dict[str, str]
    adjusted: tuple[Adjustment, ...]


@lru_cache(maxsize=256)
def palette(brand: str, accent: str) -> Palette:
    """Derive all colours from two, each written as "#rrggbb"; raises `Refused` for anything else."""
    brand, accent = parsed(brand), parsed(accent)
    light, dark = _light(_oklch(brand), _oklch(accent)), _dark(_oklch(brand), _oklch(accent))
    return Palette(light, dark, (*_adjusted(brand, light, "light"), *_adjusted(brand, dark, "dark")))


def parsed(text: str) -> str:
    """Return a colour as "#rrggbb" in small letters; raises `Refused` for anything else, alpha included."""
    colour = text.strip().lower()
    if not HEX.fullmatch(colour):
        raise Refused(f"{text.strip()[:40]!r} cannot be used as a colour. Write it as #rrggbb, such as #1f6f5c.")
    return colour


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 (none) to 21."""
    return _colour(one).contrast(_colour(other), method="wcag21")


def _colour(*given: Any) -> Color:
    from coloraide import Color  # here: loading it takes a while, and few processes need colours

    return Color(*given)


def _light(brand: Color, accent: Color) -> dict[str, str]:
    hue, chroma = brand["hue"], brand["chroma"]
    on_brand = _text_on(brand, hue)
    button = _moved(brand, [on_brand], TEXT, away=on_brand)
    hover = _lighter(button, -0.07 if _is_light(on_brand) else 0.05)
    tint = _shade(0.95, min(chroma * 0.25, 0.022), hue)
    grounds = [*GROUNDS["light"], tint]
    return {
        "brand": button,
        "brand-strong": _moved(hover, [on_brand], TEXT, away=on_brand),
        "on-brand": on_brand,
        "band": button,
        "on-band": on_brand,
        "link": _moved(brand, grounds, TEXT),
        "tint": tint,
        "on-tint": _moved(_shade(0.35, min(chroma, 0.09), hue), [tint], TEXT),
        "focus": _moved(brand, grounds, RING),
        "accent": _hex(accent),
    }


def _dark(brand: Color, accent: Color) -> dict[str, str]:
    hue, chroma = brand["hue"], brand["chroma"]
    button = _shade(max(brand["lightness"], 0.74), min(chroma, 0.13), hue)
    on_brand = _shade(0.2, min(chroma, 0.03), hue)
    band = _shade(min(brand["lightness"], 0.29), min(chroma, 0.055), hue)
    tint = _shade(0.285, min(chroma * 0.3, 0.028), hue)
    grounds = [*GROUNDS["dark"], tint]
    return {
        "brand": button,
        "brand-strong": _lighter(button, 0.06),
        "on-brand": _moved(on_brand, [button], TEXT),
        "band": band,
        "on-band": _moved(_shade(0.95, min(chroma, 0.02), hue), [band], TEXT),
        "link": _moved(button, grounds, TEXT),
        "tint": tint,
        "on-tint": _moved(_shade(0.9, min(chroma, 0.05), hue), [tint], TEXT),
        "focus": _moved(button, grounds, RING),
        "accent": _shade(max(accent["lightness"], 0.72), min(accent["chroma"], 0.14), accent["hue"]),
    }


def _adjusted(brand: str, made: dict[str, str], scheme: str) -> Iterable[Adjustment]:
    page = GROUNDS[scheme][0]
    pairs = (
        ("links on the page", made["link"], page, TEXT),
        ("the focus ring on the page", made["focus"], page, RING),
    )
    for pair, colour, ground, wanted in pairs:
        before = contrast(brand, ground)
        if before < wanted:
            yield Adjustment(pair, scheme, round(before, 2), round(contrast(colour, ground), 2))
    if scheme == "light" and made["brand"] != brand:
        before, after = contrast(made["on-brand"], brand), contrast(made["on-brand"], made["brand"])
        yield Adjustment("text on buttons", scheme, round(before, 2), round(after, 2))


def _text_on(ground: Color, hue: float) -> str:
    """Return near-white where it can be read, else near-black, both with a breath of the hue."""
    white, black = _shade(0.99, 0.008, hue), _shade(0.19, 0.02, hue)
    on_white, on_black = (contrast(text, _hex(ground)) for text in (white, black))
    return white if on_white >= TEXT or on_white > on_black else black


def _moved(colour: Color | str, grounds: Iterable[str], wanted: float, away: str = "") -> str:
    """Return the nearest lightness at which `colour` has the `wanted` contrast to every one of `grounds`.

    It moves away from the grounds' own lightness, as far as black or white.
    """
    grounds = list(grounds)
    step = -STEP if _is_light(away or grounds[0]) else STEP
    moved = _oklch(colour)
    while min(contrast(_hex(moved), ground) for ground in grounds) < wanted:
        lightness = moved["lightness"] + step
        if not 0 <= lightness <= 1:
            return "#000000" if step < 0 else "#ffffff"
        moved["lightness"] = lightness
    return _hex(moved)


def _oklch(colour: Color | str) -> Color:
    return _colour(colour).convert("oklch")


def _is_light(colour: str) -> bool:
    return _oklch(colour)["lightness"] > 0.55


def _lighter(colour: str, by: float) -> str:
    moved = _oklch(colour)
    moved["lightness"] = min(max(moved["lightness"] + by, 0.0), 1.0)
    return _hex(moved)


def _shade(lightness: float, chroma: float, hue: float) -> str:
    return _hex(_colour("oklch", [lightness, chroma, hue]))


def _hex(colour: Color) -> str:
    """Write a colour as "#rrggbb", its chroma lowered until a screen can show it."""
    fitted = colour.convert("oklch").fit("srgb", method="oklch-chroma")
    return fitted.convert("srgb").clip().to_string(hex=True)
