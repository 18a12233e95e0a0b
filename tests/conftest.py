"""Two tenants, always, with colliding ids; every test goes in by the front door."""

from __future__ import annotations

import functools
import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import Context
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from lxml.html import fromstring
from sqlalchemy import Engine, select
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule, rules

from app import Freehold, create_app
from app.accounts import create_owner, passwords
from app.config import Config
from app.content import frame
from app.tenancy import ResolvedTenant, Tenancy, db, due, jobs, tenant_context, utcnow
from app.tenancy.database import Dialect
from tests.printed import filled_in

PASSWORD = "a long enough password"
# Files that take longest, the longest first: a file goes to one process as a whole, and none should come last.
LONG = (
    "tests/journeys/test_thread.py",
    "tests/serve/test_live.py",
    "tests/browser/test_live.py",
    "tests/facilities/test_queue_losses.py",
    "tests/browser/test_journey.py",
    "tests/serve/test_supervisor.py",
    "tests/serve/test_front.py",
    "tests/browser/test_thread.py",
    "tests/facilities/test_queue.py",
    "tests/chat/test_in_browsers.py",
    "tests/serve/test_worker.py",
    "tests/journeys/test_demo.py",
    "tests/facilities/test_sweep.py",
    "tests/accounts/test_live.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    rank = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(LONG)))


def pytest_collection_finish() -> None:
    """Leave what all tests share out of every collection, and collect more seldom: a sixth of the time went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


class OneBytecode(BytecodeCache):
    """The templates that Jinja has compiled, for all applications."""

    def __init__(self) -> None:
        self._codes: dict[str, tuple[str, CodeType]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        checksum, code = self._codes.get(bucket.key, ("", None))
        bucket.code = code if checksum == bucket.checksum else None

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._codes[bucket.key] = bucket.checksum, bucket.code


class OneCache:
    """The statements that SQLAlchemy has compiled, for the engines of all applications."""

    cache = LRUCache(2000)

    def __get__(self, engine: Engine | None, owner: type[Engine]) -> LRUCache:
        return self.cache

    def __set__(self, engine: Engine, own: LRUCache) -> None:
        """Leave what an engine would have of its own."""


def kind_of(dialect: object) -> tuple[type, str]:
    return type(dialect), getattr(dialect, "paramstyle", "")


@pytest.fixture(scope="session", autouse=True)
def swift() -> Iterator[None]:
    """Do once what each of a thousand applications would do again, and hash passwords at the least cost there is.

    The cost of a real hash is tested in `tests/accounts/test_passwords.py`; processes of their own have it as well.
    """
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    compile_builder, builders = Rule._compile_builder, {}

    def builder(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (append_unknown, rule.rule, tuple(rule._trace), repr(rule.defaults))
        if key not in builders:
            builders[key] = compile_builder(rule, append_unknown)
        return builders[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", builder)
        patch.setattr(rules, "_part_re", SimpleNamespace(match=functools.cache(rules._part_re.match)))
        patch.setattr(Engine, "_compiled_cache", OneCache(), raising=False)
        patch.setattr(Dialect, "__eq__", lambda one, other: kind_of(one) == kind_of(other))
        patch.setattr(Dialect, "__hash__", lambda one: hash(kind_of(one)))
        patch.setattr(Freehold, "jinja_options", {"bytecode_cache": OneBytecode()})
        patch.setattr(frame, "_release", functools.cache(frame._release))
        patch.setattr(passwords, "_hasher", hasher)
        patch.setattr(passwords, "_nobody", hasher.hash("nobody has this password"))
        yield


@pytest.fixture(scope="session")
def config_of() -> Callable[..., Config]:
    def make(home: Path, **settings: str) -> Config:
        return Config.load({"FREEHOLD_HOME": str(home), **settings})

    return make


@pytest.fixture(scope="session")
def furnished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an installation with both tenants once; tests work on copies of it."""
    home = tmp_path_factory.mktemp("furnished")
    app = create_app(Config.load({"FREEHOLD_HOME": str(home)}))
    with app.app_context():
        for slug, name in (("alpha", "Alpha Allotments"), ("beta", "Beta Brass Band")):
            owner = functools.partial(create_owner, f"owner@{slug}.test", f"Olive of {name}", PASSWORD)
            app.extensions["tenancy"].lifecycle.create(slug, name, furnish=lambda make=owner: make())
    app.extensions["tenancy"].close()
    return home


@pytest.fixture
def home(furnished_home: Path, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shutil.copytree(furnished_home, home)
    return home


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """Put the tenants' data on a file system of 6 MB."""
    data = home / "tenants_data"
    aside = home / "aside"
    data.rename(aside)
    data.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(data)], check=False, capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    shutil.copytree(aside, data, dirs_exist_ok=True)
    yield data
    subprocess.run(["umount", "--lazy", str(data)], check=True)


@pytest.fixture
def config(home: Path, config_of: Callable[..., Config]) -> Config:
    return config_of(home)


@pytest.fixture
def app(config: Config) -> Iterator[Freehold]:
    app = create_app(config)
    app.testing = True
    yield app
    app.extensions["freehold.live"].end()
    app.extensions["tenancy"].close()


@pytest.fixture
def tenancy(app: Freehold) -> Tenancy:
    return app.extensions["tenancy"]


@pytest.fixture
def alpha(tenancy: Tenancy) -> ResolvedTenant:
    return _known(tenancy, "alpha")


@pytest.fixture
def beta(tenancy: Tenancy) -> ResolvedTenant:
    return _known(tenancy, "beta")


@pytest.fixture
def in_tenant(app: Freehold) -> Callable[[ResolvedTenant], AbstractContextManager[object]]:
    return tenant_context


@pytest.fixture
def client_for(app: Freehold) -> Callable[[ResolvedTenant], FlaskClient]:
    def client(tenant: ResolvedTenant) -> FlaskClient:
        return _client(app, tenant.primary_host)

    return client


@pytest.fixture
def platform(app: Freehold) -> FlaskClient:
    return _client(app, "platform.localhost")


@pytest.fixture
def signed_in(app: Freehold) -> Callable[[ResolvedTenant], FlaskClient]:
    """Return a client that has signed in as the tenant's owner."""

    def client(tenant: ResolvedTenant) -> FlaskClient:
        browser = _client(app, tenant.primary_host)
        sign_in(browser, f"owner@{tenant.slug}.test")
        return browser

    return client


@pytest.fixture
def at(app: Freehold) -> Callable[[ResolvedTenant, Callable[[], Any]], Any]:
    """Do something in a tenant's context, in a transaction of its own that is committed."""

    def do(tenant: ResolvedTenant, work: Callable[[], Any]) -> Any:
        def inside() -> Any:
            with app.app_context(), tenant_context(tenant):
                found = work()
                db.session.commit()
                return found

        return Context().run(inside)

    return do


@pytest.fixture
def work(app: Freehold) -> Callable[[ResolvedTenant], int]:
    """Run a tenant's due jobs, and those that they bring about, in this process; returns how many ran."""

    def run(tenant: ResolvedTenant) -> int:
        count = 0
        while envelopes := Context().run(_waiting, app, tenant):
            for envelope in envelopes:
                with app.app_context():
                    count += jobs.perform(envelope)
        return count

    return run


def _waiting(app: Freehold, tenant: ResolvedTenant) -> list[jobs.Envelope]:
    with app.app_context(), tenant_context(tenant):
        ready = (due.Due.run_at <= utcnow(), due.Due.set_aside_at.is_(None))
        rows = db.session.scalars(select(due.Due).where(*ready).order_by(due.Due.id)).all()
        return [jobs.seal(due.Reserved(row.id, row.job, row.attempts)) for row in rows]


@pytest.fixture
def operator(platform: FlaskClient, runner: Callable[..., object]) -> FlaskClient:
    """Return the console's client, signed in."""
    runner("operators", "create", "operator@platform.test", "--password-stdin", input=f"{PASSWORD}\n")
    sign_in(platform, "operator@platform.test")
    return platform


@pytest.fixture
def runner(app: Freehold) -> Callable[..., object]:
    """Run a `freehold` command in this process and return click's result."""
    from flask.cli import ScriptInfo

    from app.cli import main

    def run(*arguments: str, **options: object) -> object:
        return CliRunner().invoke(main, arguments, obj=ScriptInfo(create_app=lambda: app), **options)

    return run


class Browser(FlaskClient):
    """A test client that speaks to one host and keeps that host's cookies."""

    host = "localhost"

    def open(self, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], str):
            kwargs.setdefault("base_url", f"http://{self.host}")
        return super().open(*args, **kwargs)


def _client(app: Freehold, host: str) -> Browser:
    app.test_client_class = Browser
    client = app.test_client()
    client.host = host
    return client


def _known(tenancy: Tenancy, slug: str) -> ResolvedTenant:
    tenant = tenancy.registry.by_slug(slug)
    assert tenant is not None
    return tenant


def sign_in(browser: FlaskClient, email: str, password: str = PASSWORD) -> None:
    """Fill in the sign-in form as a browser would, hidden fields and all, and give a second factor where one is asked for."""
    page = browser.get("/sign-in").text
    answer = browser.post("/sign-in", data=filled_in(page, "email", email=email, password=password))
    if (answer.location or "").startswith("/sign-in/"):
        page = browser.get(answer.location).text
        answer = browser.post(answer.location, data=filled_in(page, "code", code=second_factor(email, page)))
    assert answer.status_code in (302, 303), answer.text


class Authenticator:
    """What somebody keeps of the page on which an authenticator app is set up: its key and the recovery codes."""

    def __init__(self, page: str) -> None:
        shown = fromstring(page)
        self.key = "".join(shown.get_element_by_id("key").text_content().split())
        self.codes = [code.text for code in shown.get_element_by_id("recovery-codes").iter("code")]

    def code(self, steps: int = 0) -> str:
        """Return what the app shows now, or that many steps of half a minute later."""
        return pyotp.TOTP(self.key).at(int(time.time()) + 30 * steps)


# By address, for all tests of this process: setting up again, in another home, takes the place of the one before.
_authenticators: dict[str, Authenticator] = {}


def second_factor(email: str, page: str) -> str:
    """Return the code that a page asks for: the new app's where one is set up, else a recovery code that was not used yet."""
    if 'id="key"' in page:
        _authenticators[email] = Authenticator(page)
        return _authenticators[email].code()
    return _authenticators[email].codes.pop()
