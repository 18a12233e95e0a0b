"""Copy what pages use from node_modules to static/vendor, and make a sprite of the icons that templates name.

Run as `python deploy/assets.py` after `npm ci`. The sprite has every icon whose name is quoted in a template.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "node_modules"
VENDOR = ROOT / "static" / "vendor"

SCRIPTS = {
    "htmx.js": "htmx.org/dist/htmx.min.js",
    "hx-upsert.js": "htmx.org/dist/ext/hx-upsert.min.js",
    "hotkey.js": "@github/hotkey/dist/index.js",
    "markdown-toolbar.js": "@github/markdown-toolbar-element/dist/index.js",
    "relative-time.js": "@github/relative-time-element/dist/bundle.js",
}
QUOTED = re.compile(r"""["']([a-z][a-z0-9-]{0,39})["']""")
NAMED = re.compile(r"""\bicon\(["']([a-z0-9-]+)["']\)|\bicon=["']([a-z0-9-]+)["']""")
DRAWING = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)


def main() -> int:
    """Fill static/vendor; returns 1 when a package or an icon is missing, which it names."""
    if not MODULES.is_dir():
        return complain("node_modules is missing: run `npm ci` first.")
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in SCRIPTS.items():
        shutil.copyfile(MODULES / source, VENDOR / name)
    text = "\n".join(page.read_text() for page in sorted((ROOT / "templates").rglob("*.html")))
    icons = MODULES / "lucide-static" / "icons"
    named = {name for pair in NAMED.findall(text) for name in pair if name}
    unknown = sorted(name for name in named if not (icons / f"{name}.svg").is_file())
    if unknown:
        return complain(f"Templates name icons that lucide does not have: {', '.join(unknown)}.")
    names = sorted({name for name in QUOTED.findall(text) if (icons / f"{name}.svg").is_file()})
    (VENDOR / "icons.svg").write_text(sprite(icons, names))
    return 0


def sprite(icons: Path, names: list[str]) -> str:
    """Return one SVG with a symbol for each name; strokes and fills come from the page's CSS."""
    drawn = ((name, drawing(icons / f"{name}.svg")) for name in names)
    symbols = "\n".join(f'<symbol id="{name}" viewBox="0 0 24 24">{lines}</symbol>' for name, lines in drawn)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{symbols}\n</svg>\n'


def drawing(path: Path) -> str:
    """Return what is inside the svg element of the file."""
    match = DRAWING.search(path.read_text())
    assert match, path
    return " ".join(match.group(1).split())


def complain(text: str) -> int:
    """Say what is wrong on stderr and return the exit code for it."""
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
