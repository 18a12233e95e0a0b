"""Checks that no linter does: every template compiles, and no lock file names a registry's host."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from jinja2 import TemplateSyntaxError

from app import create_app
from app.config import Config

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "package-lock.json")
ADDRESS = re.compile(r"https?://(?!(?:www\.)?(?:opencollective|github|patreon|paypal|buymeacoffee)\.com)[\w.-]+")
NAMES_A_HOST = re.compile(r'"resolved"|--(?:extra-)?index-url|--find-links|--trusted-host|\s@\s')


def main() -> int:
    """Print every fault; returns 1 when there is one."""
    faults = [*broken_templates(), *named_hosts()]
    print("\n".join(faults) or "Templates and lock files are fine.")
    return 1 if faults else 0


def broken_templates() -> list[str]:
    """Return a line for each template that does not compile with the application's own filters and tests."""
    faults = []
    with tempfile.TemporaryDirectory() as home:
        environment = create_app(Config.load({"FREEHOLD_HOME": home})).jinja_env
        for file in sorted(path for path in (ROOT / "templates").rglob("*") if path.is_file()):
            try:
                environment.compile(file.read_text(), file.name, str(file))
            except TemplateSyntaxError as error:
                faults.append(f"{file.relative_to(ROOT)}:{error.lineno}: {error.message}")
    return faults


def named_hosts() -> list[str]:
    """Return a line for each place in a lock file that says where packages come from."""
    faults = []
    for name in LOCKS:
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            is_funding = name == "package-lock.json" and '"url":' in line
            if NAMES_A_HOST.search(line) or (ADDRESS.search(line) and not is_funding):
                faults.append(f"{name}:{number}: names a host: {line.strip()[:90]}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
