"""A real browser in front of real processes: what a visitor, an owner and an operator meet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.running import answers, free_port, until

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@dataclass(frozen=True)
class Village:
    """A running installation with the demo organisations."""

    port: int
    passwords: dict[str, str]

    def at(self, host: str, path: str = "/") -> str:
        return f"http://{host}.localhost:{self.port}{path}"


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Village]:
    home, port = tmp_path_factory.mktemp("village"), free_port()
    settings = {**os.environ, "FREEHOLD_HOME": str(home), "PORT": str(port), "FREEHOLD_MAIL_IN": ""}
    command = [sys.executable, "-m", "app.cli"]
    printed = subprocess.run(
        [*command, "demo"], cwd=ROOT, env=settings, check=True, capture_output=True, text=True
    ).stdout
    serving = subprocess.Popen(
        [*command, "serve"], cwd=ROOT, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        village = Village(port, dict(re.findall(r"(\S+@\S+)\s+(\S+)", printed)))
        until(lambda: answers(f"http://127.0.0.1:{port}/", "riverside.localhost"), seconds=60)
        yield village
    finally:
        serving.terminate()
        serving.wait(20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def person(chromium: Any) -> Iterator[Any]:
    """Return a function that opens a fresh browser window, as one more person would."""
    opened = []

    def window(width: int = 1280, scheme: str = "light", **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
        opened.append(context)
        return context.new_page()

    yield window
    for context in opened:
        context.close()


def sign_in(page: Any, village: Village, host: str, email: str) -> None:
    page.goto(village.at(host, "/sign-in"))
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(village.passwords[email])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(r"/(desk/)?$"))


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_an_owner_writes_and_a_visitor_reads(village: Village, person: Any, scripts: bool):
    title = f"Open day {'with' if scripts else 'without'} scripts"
    owner, visitor, neighbour = person(java_script_enabled=scripts), person(), person()
    sign_in(owner, village, "riverside", "owner@riverside.test")
    owner.goto(village.at("riverside", "/desk/content/entries/new?kind=post"))
    owner.get_by_label("Title").fill(title)
    owner.locator("textarea[name=source]").fill("Everybody is **welcome**.\n\n- tea\n- boats")
    owner.get_by_role("button", name=re.compile("Publish")).first.click()
    owner.wait_for_load_state()

    visitor.goto(village.at("riverside", "/posts/"))
    visitor.get_by_role("link", name=title).first.click()
    assert visitor.locator("h1").inner_text() == title
    assert visitor.locator("strong", has_text="welcome").is_visible()
    neighbour.goto(village.at("foodbank", "/posts/"))
    assert title not in neighbour.content()


def test_an_operator_pauses_a_site_and_resumes_it(village: Village, person: Any):
    operator, visitor = person(), person()
    sign_in(operator, village, "platform", "operator@platform.test")
    operator.goto(village.at("platform", "/tenants/meridian"))
    operator.get_by_label(re.compile("Reason", re.IGNORECASE)).fill("A visit by the browser test")
    operator.get_by_role("button", name=re.compile("Suspend|Pause")).click()
    operator.wait_for_load_state()
    assert visitor.goto(village.at("meridian")).status == 503
    assert visitor.goto(village.at("foodbank")).status == 200
    operator.get_by_role("button", name=re.compile("Resume|Serve", re.IGNORECASE)).click()
    operator.wait_for_load_state()
    assert visitor.goto(village.at("meridian")).status == 200


PAGES = [
    ("riverside", "", "/"),
    ("riverside", "", "/posts/"),
    ("riverside", "", "/about"),
    ("riverside", "", "/no-such-page"),
    ("riverside", "", "/sign-in"),
    ("riverside", "owner@riverside.test", "/desk/"),
    ("riverside", "owner@riverside.test", "/desk/content/"),
    ("riverside", "owner@riverside.test", "/desk/content/entries/2"),
    ("riverside", "owner@riverside.test", "/desk/content/menu"),
    ("riverside", "owner@riverside.test", "/desk/content/imports/"),
    ("riverside", "owner@riverside.test", "/desk/settings/"),
    ("platform", "", "/sign-in"),
    ("platform", "operator@platform.test", "/"),
    ("platform", "operator@platform.test", "/tenants/"),
    ("platform", "operator@platform.test", "/tenants/new"),
    ("platform", "operator@platform.test", "/tenants/riverside"),
    ("platform", "operator@platform.test", "/settings/"),
    ("riverside", "owner@riverside.test", "/desk/inbox/"),
    ("riverside", "owner@riverside.test", "/desk/inbox/1"),
    ("riverside", "owner@riverside.test", "/desk/chat/rooms/1"),
    ("riverside", "owner@riverside.test", "/desk/chat/rooms/new"),
    ("platform", "operator@platform.test", "/activity/"),
    ("riverside", "", "/contact"),
    ("riverside", "", "/contact/thanks"),
]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_is_accessible_and_asks_nobody_else(village: Village, person: Any, width: int, scheme: str):
    windows: dict[tuple[str, str], Any] = {}
    troubles: list[str] = []
    for host, email, path in PAGES:
        if (host, email) not in windows:
            windows[host, email] = person(width, scheme)
            if email:
                sign_in(windows[host, email], village, host, email)
        page = windows[host, email]
        where = f"{host}{path} at {width} px, {scheme}"
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("console", lambda message, said=said: said.append(message.text) if message.type == "error" else None)
        page.goto(village.at(host, path))
        page.wait_for_load_state("networkidle")
        own = village.at(host)
        troubles += [f"{where} asks {url}" for url in asked if not url.startswith((own, "data:"))]
        troubles += [f"{where} says {text}" for text in said if "404" not in text]
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        troubles += [f"{where} is {wider} px too wide"] if wider > 0 else []
        troubles += [f"{where}: {trouble}" for trouble in axe(page)]
    assert not troubles, "\n".join(troubles)


def axe(page: Any) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
    return [f"{rule['id']} {node['target']}" for rule in found["violations"] for node in rule["nodes"]]
