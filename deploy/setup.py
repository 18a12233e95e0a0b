"""Make everything a checkout needs to run: virtual environment, locked dependencies, the command, front-end assets.

`python3 deploy/setup.py [--dev] [--browser]`, with nothing but Python 3.11 and its venv module. Safe to repeat: each step is
skipped while what it was made from is unchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
DONE = VENV / "set-up.json"  # fingerprints of what each step was made from
LEAST_PYTHON = (3, 11)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class CannotSetUp(Exception):
    """This machine lacks something; the message says what, and how to get it."""


def main() -> int:
    """Run the steps that are due; returns 1 when one is not possible here."""
    parser = argparse.ArgumentParser(description="Set up this checkout.")
    parser.add_argument("--dev", action="store_true", help="also what the tests and checks need")
    parser.add_argument("--browser", action="store_true", help="also Chromium, where it may be installed")
    options = parser.parse_args()
    try:
        make_environment()
        install_dependencies(dev=options.dev)
        install_command()
        make_assets()
        if options.browser:
            install_browser()
    except CannotSetUp as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    return 0


def make_environment() -> None:
    """Make the virtual environment, or make it anew when its Python is gone."""
    if sys.version_info < LEAST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise CannotSetUp(f"Freehold needs Python 3.11 or newer, and this is {found}. Try `make PYTHON=python3.12`.")
    if (BIN / "python").exists() and (BIN / "pip").exists():
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise CannotSetUp("Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv")
    say("Making the virtual environment in .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(VENV)], "The virtual environment could not be made; see above.")


def install_dependencies(*, dev: bool) -> None:
    """Install one lock file, every package checked against its hash. What tests need includes what running needs."""
    locks = {name: fingerprint(ROOT / name) for name in ("requirements.lock", "requirements-dev.lock")}
    wanted = "requirements-dev.lock" if dev else "requirements.lock"
    if done("dependencies") in ({locks[wanted]} if dev else set(locks.values())):
        return
    say(f"Installing the packages of {wanted}; the first time this takes a minute or two")
    run(
        [
            str(BIN / "pip"),
            "install",
            "-qq",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            str(ROOT / wanted),
        ],
        "The packages could not be installed. The first set-up needs a package index: check the connection, then run it again.",
    )
    note("dependencies", locks[wanted])


def install_command() -> None:
    """Put `freehold` into the environment; it runs this checkout as it is."""
    packages = next((VENV / "lib").glob("python3*/site-packages"))
    (packages / "freehold.pth").write_text(f"{ROOT}\n")
    command = BIN / "freehold"
    command.write_text(f'#!/bin/sh\nexec "{BIN / "python"}" -P -m app.cli "$@"\n')
    command.chmod(0o755)


def make_assets() -> None:
    """Fetch the front-end packages of the npm lock and put what pages use into static/vendor."""
    sources = [ROOT / "package-lock.json", ROOT / "deploy" / "assets.py", *sorted((ROOT / "templates").rglob("*.html"))]
    wanted = fingerprint(*sources)
    if done("assets") == wanted and (ROOT / "static" / "vendor" / "icons.svg").exists():
        return
    packages = fingerprint(ROOT / "package-lock.json")
    if done("npm") != packages or not (ROOT / "node_modules").is_dir():
        say("Fetching the front-end packages")
        npm = shutil.which("npm") or str(BIN / "npm")
        path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
        run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
            "The front-end packages could not be fetched. The first set-up needs an npm registry: check the connection.",
            environment={**os.environ, "PATH": path},
        )
        note("npm", packages)
    run([str(BIN / "python"), str(ROOT / "deploy" / "assets.py")], "The front-end assets could not be made; see above.")
    note("assets", wanted)


def install_browser() -> None:
    """Install Chromium with apt-get when this user may; else say what the tests will skip."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        say("Installing Chromium for the browser tests")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", "chromium"]):
            subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if not any(shutil.which(name) for name in BROWSERS):
        say("There is no Chromium here, so the tests marked `browser` are skipped. On Debian: apt-get install chromium")


def run(command: Sequence[str], advice: str, environment: dict[str, str] | None = None) -> None:
    """Run `command` in the checkout; raises `CannotSetUp` with `advice` when it fails."""
    if subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode:
        raise CannotSetUp(advice)


def fingerprint(*files: Path) -> str:
    """Return a hash over the files' names and contents."""
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        if file.exists():
            digest.update(str(file).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def done(step: str) -> str | None:
    """Return the fingerprint with which `step` was last done."""
    return json.loads(DONE.read_text()).get(step) if DONE.exists() else None


def note(step: str, made_from: str) -> None:
    """Remember that `step` is done."""
    known = json.loads(DONE.read_text()) if DONE.exists() else {}
    DONE.write_text(json.dumps({**known, step: made_from}, indent=2) + "\n")


def say(line: str) -> None:
    """Print one line at once, so that long steps are announced before they begin."""
    print(f"· {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
