"""What somebody meets who has just fetched the code: `make demo`, once and again."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from app import create_app
from tests.conftest import Browser, sign_in
from tests.running import alive, descendants, free_port, until

ROOT = Path(__file__).parents[2]
NAMES = {"riverside": "Riverside Rowing Club", "foodbank": "Oak Street Food Bank", "meridian": "Meridian Housing Co-op"}


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def settings(demo_home):
    return {**os.environ, "FREEHOLD_HOME": str(demo_home), "PORT": str(free_port())}


def make_demo(settings):
    command = [sys.executable, "-m", "app.cli", "demo"]
    return subprocess.run(command, cwd=ROOT, env=settings, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def printed(settings):
    return make_demo(settings)


@pytest.fixture
def demo_app(demo_home, printed, config_of):
    app = create_app(config_of(demo_home))
    yield app
    app.extensions["tenancy"].close()


def browser_at(app, host):
    app.test_client_class = Browser
    client = app.test_client()
    client.host = host
    return client


def test_it_prints_where_everything_is_and_keeps_the_log_ins_to_itself(printed, demo_home):
    file = demo_home / "instance" / "demo-logins.txt"
    assert file.stat().st_mode & 0o777 == 0o600
    for line in file.read_text().splitlines():
        assert all(part in printed for part in line.split())
    for host in (*NAMES, "platform"):
        assert f"http://{host}.localhost:" in printed


def test_each_organisation_shows_its_own_site(demo_app):
    for slug, name in NAMES.items():
        page = browser_at(demo_app, f"{slug}.localhost").get("/").text
        assert name in page
        assert not [other for other in NAMES.values() if other != name and other in page]


def test_owners_and_the_operator_come_in_with_what_was_printed(demo_app, printed):
    for slug in NAMES:
        password = re.search(rf"owner@{slug}\.test\s+(\S+)", printed).group(1)
        owner = browser_at(demo_app, f"{slug}.localhost")
        sign_in(owner, f"owner@{slug}.test", password)
        assert owner.get("/desk/").status_code == 200
    operator = browser_at(demo_app, "platform.localhost")
    sign_in(operator, "operator@platform.test", re.search(r"operator@platform\.test\s+(\S+)", printed).group(1))
    assert operator.get("/tenants/").status_code == 200


def test_members_come_in_too_and_find_their_inbox_and_their_rooms(demo_app, printed):
    for email, password in re.findall(r"((?:tom|amara|ingrid)@\S+)\s+(\S+)", printed):
        member = browser_at(demo_app, f"{email.partition('@')[2].removesuffix('.test')}.localhost")
        sign_in(member, email, password)
        assert "Nobody yet" in member.get("/desk/inbox/").text
        assert "Somebody has written to us." in member.get("/desk/chat/", follow_redirects=True).text


def test_a_home_that_was_made_before_gets_what_has_come_since(settings, printed, demo_home):
    logins, made = (demo_home / "instance" / name for name in ("demo-logins.txt", "demo-made.json"))
    kept = logins.read_text()
    logins.write_text("".join(line for line in kept.splitlines(True) if not line.startswith("tom@")))
    made.write_text('["riverside", "foodbank", "meridian"]')
    again = make_demo(settings)
    assert "Making Riverside Rowing Club" in again
    assert re.search(r"tom@riverside\.test\s+\S+", again)
    logins.write_text(kept)


def test_a_second_run_keeps_everything(settings, printed, demo_home):
    registry = (demo_home / "instance" / "registry.sqlite3").stat().st_mtime_ns
    again = make_demo(settings)
    assert again.strip() in printed
    assert "Making" not in again
    assert (demo_home / "instance" / "registry.sqlite3").stat().st_mtime_ns == registry


def test_a_first_run_that_was_cut_short_is_completed(settings, printed, demo_home):
    (demo_home / "instance" / "demo-made.json").write_text('["riverside"]')
    again = make_demo(settings)
    assert "Making Oak Street Food Bank" in again
    assert again.splitlines()[-5:] == printed.splitlines()[-5:]


@pytest.mark.skipif(not (ROOT / ".venv" / "set-up.json").exists(), reason="this checkout is not set up by make")
def test_make_demo_serves_and_ends_with_make(settings, printed):
    make = subprocess.Popen(
        ["make", "demo"],
        cwd=ROOT,
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        page = urllib.request.Request(f"http://127.0.0.1:{settings['PORT']}/", headers={"Host": "riverside.localhost"})
        until(lambda: answers(page))
        started = descendants(make.pid)
        make.send_signal(signal.SIGTERM)
        until(lambda: not alive(started), seconds=10)
    finally:
        make.kill()
        make.wait()


def answers(page):
    try:
        return urllib.request.urlopen(page, timeout=5).status == 200
    except (OSError, urllib.error.HTTPError):
        time.sleep(0.2)
        return False
