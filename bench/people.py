"""People at the door: what the desk costs beside the floor, and a flood of wrong passwords while other houses are read.

`python -m bench.people` measures this alone.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import urlencode

import click

from app.accounts import throttle
from app.config import CHECKOUT, Config
from bench import load, report, rows
from bench.bench import FEW, Bench
from bench.facts import provisioning
from bench.live import Plan, begin_calls, begin_talk, finish, finish_talk
from bench.load import Outcome
from bench.processes import Installation, serving_whole
from bench.report import Fact
from bench.talk import PASSWORD, address
from bench.village import post_paths

TRIES = 1_000
ATTACKERS = 8  # connections at once
SECONDS = 20.0  # that visitors come for, idle and during each flood
FIRST_PLACE = IPv4Address(
    "127.1.0.0"
)  # the whole of 127.0.0.0/8 is this machine, so each try can have an address of its own
OWNER = address(0, "owner")


@dataclass(frozen=True)
class Attack:
    """Whose passwords are tried: `whose` with the number of an account in it, and how many of the tries may be hashed."""

    name: str
    whose: str
    most: int


ATTACKS = (
    Attack("one account", OWNER, throttle.PERSON.most),
    Attack("1,000 accounts", "person-{}@bench.test", throttle.ORGANISATION.most),
)


@dataclass(frozen=True)
class Wave:
    """What one flood has shown: the answers by status, what visitors of other houses saw, and how the owner came in."""

    statuses: Counter[int]
    busy: Outcome
    owner: int  # status
    waited: float  # seconds


class Browser:
    """A browser with its cookies, at an address of this machine."""

    def __init__(self, port: int, host: str, place: str = "127.0.0.1") -> None:
        self.port, self.host, self.place = port, host, place
        self.cookies: SimpleCookie = SimpleCookie()

    def ask(self, path: str, form: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Fetch a page or send a form, over a connection of its own."""
        known = "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())
        headers = {"Host": self.host, "Cookie": known, "Content-Type": "application/x-www-form-urlencoded"}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(self.place, 0))) as line:
            line.request("POST" if form else "GET", path, urlencode(form) if form else None, headers)
            answer = line.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie", []):
                self.cookies.load(cookie)
            return answer.status, answer.read().decode()

    def token(self) -> str:
        """Return what the sign-in form has to carry."""
        found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', self.ask("/sign-in")[1])
        assert found is not None
        return found[1]

    def sign_in(self, email: str, password: str) -> int:
        """Sign in anew, as what the device's cookie says alone; the status of the answer."""
        for name in [name for name in self.cookies if "device" not in name]:
            del self.cookies[name]
        return self.ask("/sign-in", {"csrf_token": self.token(), "email": email, "password": password})[0]


@contextmanager
def wrong_passwords(port: int, host: str, attack: Attack, tries: int) -> Iterator[Counter[int]]:
    """Send wrong passwords during the block, so many at least; how often each status came is there when it is over."""
    statuses: Counter[int] = Counter()
    token, numbers, over = Browser(port, host).token(), itertools.count(), threading.Event()

    def attacker() -> Counter[int]:
        seen: Counter[int] = Counter()
        while (number := next(numbers)) < tries or not over.is_set():
            form = {"csrf_token": token, "email": attack.whose.format(number % TRIES), "password": f"guess {number}"}
            seen[status_of(Browser(port, host, str(FIRST_PLACE + number)), form)] += 1
        return seen

    with ThreadPoolExecutor(ATTACKERS) as pool:
        attackers = [pool.submit(attacker) for _ in range(ATTACKERS)]
        try:
            yield statuses
        finally:
            over.set()
        for each in attackers:
            statuses.update(each.result())


def status_of(browser: Browser, form: Mapping[str, str]) -> int:
    """Send the sign-in form; the status of the answer, 0 where none came."""
    try:
        return browser.ask("/sign-in", form)[0]
    except (OSError, HTTPException):
        return 0


def flood(plan: Plan, installation: Installation, pages: Path, attack: Attack, host: str, tries: int) -> Wave:
    """Attack a house while visitors come to others, and have its owner sign in halfway."""
    owner = Browser(installation.port, host)
    if owner.sign_in(OWNER, PASSWORD) != 303:
        raise RuntimeError("The owner could not sign in before the flood.")
    calls = begin_calls(installation, pages, plan.seconds)
    with wrong_passwords(installation.port, host, attack, tries) as statuses:
        time.sleep(plan.seconds / 2)
        began = time.perf_counter()
        status = owner.sign_in(OWNER, PASSWORD)
        waited = time.perf_counter() - began
        busy = finish(calls)
    return Wave(statuses, busy, status, waited)


def measure(plan: Plan, folder: Path, tries: int = TRIES) -> tuple[Outcome, list[Wave]]:
    """Serve the installation; what visitors see while nothing else goes on, and what each flood shows."""
    hosts = [line.split()[0] for (line,) in finish_talk(begin_talk(plan, "sign-in", 1, "owner"))]
    random.shuffle(hosts)  # tries count for ten minutes: the next run must find houses that were left alone
    attacked, others = hosts[: len(ATTACKS)], hosts[len(ATTACKS) :]
    pages = folder / "pages"
    pages.write_text("\n".join(load.everyone(others, post_paths(), times=1)) + "\n")
    with serving_whole(plan.config, folder / "people.log") as installation:
        load.tour(installation.port, pages)
        idle = finish(begin_calls(installation, pages, plan.seconds))
        pairs = zip(ATTACKS, attacked, strict=True)
        return idle, [flood(plan, installation, pages, attack, host, tries) for attack, host in pairs]


def facts(attack: Attack, idle: Outcome, wave: Wave) -> list[Fact]:
    """Say what a flood has shown, beside what it should be."""
    counted = ", ".join(f"{count:,} with {status}" for status, count in sorted(wave.statuses.items()))
    hashed = wave.statuses[422]
    return [
        Fact(
            f"wrong passwords for {attack.name}: a public page of others meanwhile, p95, and idle",
            f"{wave.busy.p95:.1f} ms, {idle.p95:.1f} ms",
            "idle + 15 ms",
            wave.busy.p95 <= idle.p95 + 15,
        ),
        Fact(
            f"hashed, of {wave.statuses.total():,} tries",
            f"{hashed:,} (answered: {counted})",
            f"≤ {attack.most}",
            hashed <= attack.most and set(wave.statuses) <= {422, 429, 503},
        ),
        Fact(
            "the owner meanwhile, from a known browser",
            f"{wave.owner} after {wave.waited:.2f} s",
            "303",
            wave.owner == 303,
        ),
    ]


def plan(config: Config, seconds: float = SECONDS) -> Plan:
    """Give what is asked of the installation."""
    return Plan(config, FEW, seconds=seconds)


def measured(plan: Plan, folder: Path) -> list[Fact]:
    """Measure, and say the figures."""
    click.echo(f"  floods of {TRIES:,} wrong passwords", err=True)
    idle, waves = measure(plan, folder)
    return [fact for attack, wave in zip(ATTACKS, waves, strict=True) for fact in facts(attack, idle, wave)]


@click.command()
@click.option(
    "--rounds", default=9, envvar="BENCH_ROUNDS", type=click.IntRange(1), help="Rounds on each side, in turn."
)
@click.option("--seconds", default=2, envvar="BENCH_SECONDS", type=click.IntRange(1), help="Length of a round.")
@click.option("--flood", "length", default=SECONDS, help="Seconds of visits, idle and during each flood.")
def main(rounds: int, seconds: int, length: float) -> None:
    """Measure the desk and the door of the installation under instance/bench/."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers it started end with it
    home = Path(os.environ.get("BENCH_HOME", CHECKOUT / "instance" / "bench"))
    config = Config.load({**os.environ, "FREEHOLD_HOME": str(home), "FREEHOLD_MASTER_KEY_FILE": ""})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(config, FEW, rounds, seconds, Path(folder))
        provisioning(bench)
        compared = rows.signed_in(bench)
        report.show(compared, measured(plan(config, length), bench.folder))


if __name__ == "__main__":
    main()
