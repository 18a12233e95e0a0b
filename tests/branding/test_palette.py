"""Whatever colour an organisation gives, what is written in it or on it can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.branding.palette import GROUNDS, Palette, contrast, palette
from app.branding.presets import PRESETS
from app.tenancy.errors import Refused

TOKENS = Path(__file__).resolve().parents[2] / "static" / "tokens.css"
HARD = (
    "#000000",
    "#ffffff",
    "#ffff00",
    "#00ff00",
    "#0000ff",
    "#ff0000",
    "#777777",
    "#747474",
    "#e58fb1",
    "#00ffff",
)
ACCENT = "#e0a83e"


def weakest(made: Palette, scheme: str) -> dict[str, float]:
    """Return the least contrast of each kind of text, and of the focus ring."""
    colours = getattr(made, scheme)
    grounds = (*GROUNDS[scheme], colours["tint"])
    return {
        "button": contrast(colours["on-brand"], colours["brand"]),
        "button under the pointer": contrast(colours["on-brand"], colours["brand-strong"]),
        "band": contrast(colours["on-band"], colours["band"]),
        "tint": contrast(colours["on-tint"], colours["tint"]),
        "link": min(contrast(colours["link"], ground) for ground in grounds),
        "focus": min(contrast(colours["focus"], ground) for ground in grounds) * 1.5,
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("brand", [*(preset.brand for preset in PRESETS.values()), *HARD])
def test_every_text_on_every_ground_can_be_read(brand, scheme):
    assert min(weakest(palette(brand, ACCENT), scheme).values()) >= 4.5


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)))
def test_any_colour_gives_a_readable_site(rgb):
    made = palette("#{:02x}{:02x}{:02x}".format(*rgb), ACCENT)
    assert min(*weakest(made, "light").values(), *weakest(made, "dark").values()) >= 4.5


def test_a_colour_that_can_be_read_stays_as_it_was_given():
    for preset in PRESETS.values():
        made = palette(preset.brand, preset.accent)
        assert made.light["brand"] == made.light["link"] == preset.brand
        assert not [moved for moved in made.adjusted if moved.scheme == "light"]


def test_what_was_moved_is_named_with_its_contrast_before_and_after():
    moved = {(one.pair, one.scheme): one for one in palette("#ffff00", ACCENT).adjusted}
    links = moved["links on the page", "light"]
    assert links.before < 1.1
    assert links.after >= 4.5
    assert ("links on the page", "dark") not in moved


@pytest.mark.parametrize(
    "text", ["red", "#fff", "#12345678", "#12345g", "", "#123456;}body{display:none", "rgb(0 0 0)"]
)
def test_anything_but_six_hex_digits_is_refused(text):
    with pytest.raises(Refused, match="cannot be used as a colour"):
        palette(text, ACCENT)


def test_the_grounds_that_are_measured_are_those_of_the_stylesheet():
    tokens = TOKENS.read_text()
    for name, light, dark in zip(("paper", "surface", "sunken"), GROUNDS["light"], GROUNDS["dark"], strict=True):
        assert f"--{name}: light-dark({light}, {dark});" in tokens


def test_every_colour_that_is_derived_is_a_token_of_the_stylesheet():
    tokens = TOKENS.read_text()
    for name in palette("#1d4f73", ACCENT).light:
        assert f"--{name}: light-dark(" in tokens
