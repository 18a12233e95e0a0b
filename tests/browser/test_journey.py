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

from tests.conftest import second_factor
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

    home: Path
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
        village = Village(home, port, dict(re.findall(r"(\S+@\S+)\s+(\S+)", printed)))
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
    page.wait_for_url(re.compile(r"/(desk/|sign-in/(app|second))?$"))
    if "/sign-in/" in page.url:
        page.locator("input[name=code]").fill(second_factor(email, page.content()))
        page.locator("form:has([name=code]) button[type=submit]").click()
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
    ("riverside", "owner@riverside.test", "/desk/settings/use"),
    ("riverside", "owner@riverside.test", "/desk/settings/domains/"),
    ("riverside", "owner@riverside.test", "/desk/settings/letters"),
    ("riverside", "owner@riverside.test", "/desk/settings/letters?state=refused"),
    ("platform", "", "/sign-in"),
    ("platform", "operator@platform.test", "/"),
    ("platform", "operator@platform.test", "/tenants/"),
    ("platform", "operator@platform.test", "/tenants/new"),
    ("platform", "operator@platform.test", "/tenants/riverside"),
    ("platform", "operator@platform.test", "/tenants/riverside/domains/"),
    ("platform", "operator@platform.test", "/settings/"),
    ("riverside", "owner@riverside.test", "/desk/inbox/"),
    ("riverside", "owner@riverside.test", "/desk/inbox/1"),
    ("riverside", "owner@riverside.test", "/desk/chat/rooms/1"),
    ("riverside", "owner@riverside.test", "/desk/chat/rooms/new"),
    ("platform", "operator@platform.test", "/activity/"),
    ("riverside", "owner@riverside.test", "/desk/settings/backups/"),
    ("riverside", "owner@riverside.test", "/desk/settings/audit/"),
    ("riverside", "owner@riverside.test", "/desk/settings/audit/?day=2020-01-01"),
    ("riverside", "owner@riverside.test", "/desk/people/"),
    ("riverside", "owner@riverside.test", "/desk/people/1"),
    ("riverside", "owner@riverside.test", "/desk/people/2"),
    ("riverside", "owner@riverside.test", "/desk/people/2/removal"),
    ("riverside", "owner@riverside.test", "/desk/people/invitations/new"),
    ("riverside", "owner@riverside.test", "/desk/people/roles/"),
    ("riverside", "owner@riverside.test", "/desk/people/roles/new"),
    ("riverside", "owner@riverside.test", "/desk/people/roles/1"),
    ("riverside", "margaret@riverside.test", "/desk/"),
    ("riverside", "owner@riverside.test", "/desk/profile/"),
    ("riverside", "owner@riverside.test", "/desk/profile/leaving"),
    ("riverside", "owner@riverside.test", "/desk/profile/security/"),
    ("riverside", "owner@riverside.test", "/desk/profile/security/passkeys/new"),
    ("riverside", "owner@riverside.test", "/desk/settings/security/"),
    ("riverside", "owner@riverside.test", "/sign-in/again"),
    ("platform", "operator@platform.test", "/sign-in/again"),
    ("riverside", "", "/sign-in/help"),
    ("riverside", "", "/sign-in/help/sent"),
    ("riverside", "", "/invitation/x"),
    ("riverside", "owner@riverside.test", "/desk/settings/backups/moments/1/replacement"),
    ("platform", "operator@platform.test", "/backups/"),
    ("platform", "operator@platform.test", "/tenants/riverside/backups/"),
    ("platform", "operator@platform.test", "/tenants/riverside/backups/moments/1/replacement"),
    ("riverside", "owner@riverside.test", "/desk/profile/tokens/"),
    ("riverside", "owner@riverside.test", "/desk/settings/tokens/"),
    ("riverside", "", "/api/docs"),
    ("platform", "operator@platform.test", "/operators/"),
    ("platform", "operator@platform.test", "/you/"),
    ("platform", "operator@platform.test", "/you/security/"),
    ("platform", "operator@platform.test", "/you/security/passkeys/new"),
    ("platform", "", "/organisations"),
    ("platform", "", "/organisations/sent"),
    ("riverside", "owner@riverside.test", "/desk/settings/visits"),
    ("riverside", "owner@riverside.test", "/desk/settings/joining"),
    ("riverside", "", "/sign-in/visit/x"),
    ("riverside", "", "/contact"),
    ("riverside", "", "/contact/thanks"),
]


WIDTHS, SCHEMES = (360, 1280), ("dark", "light")
PEOPLE = list(dict.fromkeys((host, email) for host, email, _ in PAGES))


@pytest.mark.parametrize("in_all_lights", [False, pytest.param(True, marks=pytest.mark.prove)], ids=["", "all"])
@pytest.mark.parametrize(("host", "email"), PEOPLE, ids=[f"{host} {email}".strip() for host, email in PEOPLE])
def test_every_page_fits_is_accessible_and_asks_nobody_else(
    village: Village, person: Any, host: str, email: str, in_all_lights: bool
):
    """Each page is loaded at each width: the narrow one is looked at by night and the wide one by day, or each by both."""
    window = person()
    if email:
        sign_in(window, village, host, email)
    views = [
        View(tab, width, SCHEMES if in_all_lights else (scheme,))
        for tab, width, scheme in zip((window, window.context.new_page()), WIDTHS, SCHEMES, strict=True)
    ]
    troubles: list[str] = []
    for path in [path for *who, path in PAGES if who == [host, email]]:
        for view in views:
            view.open(village.at(host, path))
        for view in views:
            troubles += [f"{host}{path} at {view.width} px {trouble}" for trouble in view.troubles(village.at(host))]
    assert not troubles, "\n".join(troubles)


class View:
    """A tab of a certain width, which notes what it asks for and complains of."""

    def __init__(self, tab: Any, width: int, schemes: tuple[str, ...]) -> None:
        self.tab, self.width, self.schemes = tab, width, schemes
        self.asked: list[str] = []
        self.said: list[str] = []
        tab.set_viewport_size({"width": width, "height": 800})
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)

    def open(self, address: str) -> None:
        self.asked.clear(), self.said.clear()
        self.tab.goto(address)

    def troubles(self, own: str) -> list[str]:
        """Return what is wrong with the page that is open, to which everything of `own` belongs."""
        self.tab.wait_for_load_state("networkidle")
        found = []
        for scheme in self.schemes:
            self.tab.emulate_media(color_scheme=scheme)
            self.tab.evaluate(AT_REST)
            wider = self.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            found += [f"is {wider} px too wide, {scheme}"] if wider > 0 else []
            found += [f"{scheme}: {trouble}" for trouble in axe(self.tab)]
        found += [f"asks {url}" for url in self.asked if not url.startswith((own, "data:"))]
        return found + [f"says {text}" for text in self.said if "404" not in text]


# Colours are told as they will be, not as they are on the way there.
AT_REST = """document.getAnimations().filter((each) => each.effect.getTiming().iterations !== Infinity)
  .forEach((each) => each.finish())"""
AXE_RUNS = """async () => (await axe.run(
  {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
).violations"""


def axe(page: Any) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA. What it finds in order stays in the page: most of the time went there."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    return [f"{rule['id']} {node['target']}" for rule in page.evaluate(AXE_RUNS) for node in rule["nodes"]]
