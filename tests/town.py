"""A town under test: `freehold serve` as it is, the two tenants, people without scripts at its front, a door into its files."""

from __future__ import annotations

import http.client
import shutil
import signal
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import kill
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

from app import Freehold, create_app
from app.accounts import User, hash_password
from app.chat import Room
from app.config import Config
from app.serve.processes import PROCESSES
from app.tenancy import db, tenant_context
from tests.conftest import PASSWORD
from tests.printed import filled_in
from tests.running import alive, children, descendants, free_port, until
from tests.serve.running import serving

SLUGS = ("alpha", "beta")
MEMBERS = ("ann", "ben")
WEB_WORKERS, WORKERS = 2, 2
# By what a process is known in its command line.
MARKS = {
    "ask": "asking.py",
    "valkey": "valkey-server",
    "web": "wsgi:app",
    "live": "app.serve.streaming",
    "worker": "app.serve.working",
    "archivist": "app.serve.archiving",
    "front": "Caddyfile",
}
CHILDREN = {"web": WEB_WORKERS, "worker": WORKERS, "live": 1}


class Answer(NamedTuple):
    """What came back, with no redirect followed."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Caller:
    """Somebody whose browser runs no scripts: one host, its cookie, and an address of their own."""

    def __init__(self, port: int, host: str, address: str = "127.0.0.1", cookie: str = "") -> None:
        self.port, self.host, self.address, self.cookie = port, host, address, cookie

    def call(self, method: str, path: str, body: str = "", timeout: float = 20, **headers: str) -> Any:
        """Return the connection and the answer of which only the head is read; the caller closes the first."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout, source_address=(self.address, 0))
        headers |= {"Host": self.host, **({"Cookie": self.cookie} if self.cookie else {})}
        try:
            line.request(method, path, body or None, headers)
            return line, line.getresponse()
        except BaseException:
            line.close()
            raise

    def get(self, path: str) -> Answer:
        return self._ask("GET", path)

    def post(self, path: str, form: dict[str, Any]) -> Answer:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, urllib.parse.urlencode(form), **kind)

    def _ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        line, answer = self.call(method, path, body, **headers)
        try:
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            line.close()

    def sign_in(self, email: str) -> None:
        form = filled_in(self.get("/sign-in").text, "email", email=email, password=PASSWORD)
        answer = self.post("/sign-in", form)
        assert answer.status == 303, answer.text
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]


@dataclass
class Town:
    """The installation, its running processes, and a second look at its files from this process."""

    config: Config
    app: Freehold
    servers: list[Any] = field(default_factory=list)
    endings: list[Callable[[], object]] = field(default_factory=list)

    @property
    def server(self) -> Popen[str]:
        return self.servers[-1]

    def at(self, slug: str, path: str = "/") -> str:
        return f"http://{slug}.localhost:{self.config.port}{path}"

    def caller(self, slug: str, name: str = "", address: str = "127.0.0.1") -> Caller:
        """Return a visitor of a tenant or, with a name, somebody who has signed in."""
        caller = Caller(self.config.port, f"{slug}.localhost", address)
        if name:
            caller.sign_in(f"{name}@{slug}.test")
        return caller

    @contextmanager
    def inside(self, slug: str, writes: bool = False) -> Iterator[None]:
        """Enter a tenant's file beside the processes; with `writes`, commit at the end."""
        tenant = self.app.extensions["tenancy"].registry.by_slug(slug)
        with self.app.app_context(), tenant_context(tenant, writes=writes):
            yield
            if writes:
                db.session.commit()

    def general(self, slug: str) -> int:
        """Return the id of the room in which everybody is."""
        with self.inside(slug):
            return Room.named("general").id

    def letters(self) -> list[Path]:
        """Return what lies in the outbox."""
        return sorted((self.config.instance / "outbox").glob("*.eml"))

    def start(self) -> None:
        """Begin to serve, and wait until all is up."""
        running = serving(self.config)
        self.servers.append(running.__enter__())
        self.endings.append(lambda: running.__exit__(None, None, None))
        until(self.is_up, seconds=60)

    def process(self, name: str) -> int:
        """Return the process of that name; raises `LookupError` while there is none."""
        for pid in children(self.server.pid):
            with suppress(OSError):
                if MARKS[name] in Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
        raise LookupError(name)

    def is_up(self) -> bool:
        """Tell whether every process runs, with all that it starts, and the whole says that it is ready."""
        try:
            crews = {name: len(children(self.process(name))) for name in MARKS}
            ready = all(process.is_ready(self.config) for process in PROCESSES)
            whole = all(crews[name] >= number for name, number in CHILDREN.items())
            hears = self.caller("alpha").get("/live").status == 401
            return ready and whole and hears and self.caller("alpha").get("/readyz").status == 200
        except (LookupError, OSError, http.client.HTTPException):
            return False

    def end(self) -> None:
        """End all processes, and close the files."""
        left = [pid for server in self.servers for pid in (server.pid, *descendants(server.pid))]
        self.server.send_signal(signal.SIGTERM)
        with suppress(AssertionError):
            until(lambda: not alive(left), seconds=15)
        for pid in alive(left):
            kill(pid, signal.SIGKILL)
        for ending in self.endings:
            ending()
        (self.config.instance / "told").write_text("".join(line for server in self.servers for line in server.told))
        self.app.extensions["tenancy"].close()


@contextmanager
def town_at(home: Path) -> Iterator[Town]:
    """Serve the installation at `home`, where two members of each tenant come to their owner."""
    settings = {"PORT": str(free_port()), "FREEHOLD_WEB_WORKERS": str(WEB_WORKERS), "FREEHOLD_WORKERS": str(WORKERS)}
    config = Config.load({"FREEHOLD_HOME": str(home), **settings})
    town = Town(config, create_app(config))
    hashed = hash_password(PASSWORD)
    for slug in SLUGS:
        with town.inside(slug, writes=True):
            for name in MEMBERS:
                User.join(f"{name}@{slug}.test", name.capitalize(), role="agent", hashed=hashed)
    try:
        town.start()
        yield town
    finally:
        town.end()


def copied(furnished: Path, folder: Path) -> Path:
    """Return a copy of an installation."""
    shutil.copytree(furnished, folder / "home")
    return folder / "home"


def seconds_until(condition: Callable[[], object], most: float, what: Callable[[], object] = lambda: "") -> float:
    """Return how long it took until `condition` held; raises `AssertionError` saying `what` after `most` seconds."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < most, f"not after {waited:.1f} s: {what()}"
        time.sleep(0.05)
    return time.monotonic() - began
