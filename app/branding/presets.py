"""Six pairs of colours to begin with, chosen so that in light none has to be moved to be readable."""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """A name, and the two colours as "#rrggbb"."""

    label: str
    brand: str
    accent: str


PRESETS = {
    "river": Preset("River", "#1d4f73", "#e0a83e"),
    "orchard": Preset("Orchard", "#2f6b3c", "#d98f3c"),
    "brick": Preset("Brick", "#9c3d2a", "#d9a441"),
    "heather": Preset("Heather", "#6a4482", "#d88c9a"),
    "harbour": Preset("Harbour", "#0f6268", "#e07a5f"),
    "slate": Preset("Slate", "#414b5a", "#c08b4e"),
}
