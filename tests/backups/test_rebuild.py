"""The machine is gone: a copied folder and the recovery kit make the whole installation again, or say what they cannot."""

from __future__ import annotations

import functools
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.cli import ScriptInfo
from PIL import Image
from sqlalchemy import insert, update

from app import Freehold, create_app
from app.accounts import create_owner
from app.backups import packs, previews, raw
from app.backups.keeper import CENTRAL, Keeper
from app.backups.models import Order
from app.backups.restore import restore_replacing
from app.cli import main
from app.config import CHECKOUT, Config
from app.content.models import Entry, Media
from app.facilities import storage
from app.tenancy import db, recovery_kit, rotation, tenant_context, utcnow
from app.tenancy.due import Due
from app.tenancy.ledger import TenantBackup
from app.tenancy.registry import OperatorSession, Tenant
from tests.conftest import PASSWORD, Browser, sign_in

SLUGS = ("alpha", "beta", "gamma")
PASSPHRASE = "four words and a fifth"
NEW_LIFE = ("audit", "stamp", "session", "due")  # these tables a return changes


@dataclass
class Kept:
    """A copied folder with its kit, and what the installation was that is gone."""

    folder: Path
    kit: Path
    key: Path
    ids: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # the address of a picture

    def copy(self, to: Path) -> Kept:
        """Return the same with a folder of its own, to be spoilt."""
        shutil.copytree(self.folder, to / "copies")
        return Kept(to / "copies", self.kit, self.key, self.ids, self.rows, self.files)

    def packs(self, slug: str) -> list[Path]:
        """Return the packs of an owner, oldest first."""
        return sorted((self.shelf(slug) / "packs").iterdir())

    def shelf(self, slug: str) -> Path:
        owner = self.ids.get(slug, slug)
        return self.folder / (f"{owner[:2]}/{owner}" if len(owner) == 32 else f"central/{owner}")


def picture(colour: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue() + os.urandom(200_000)  # more than one sealed piece


def rows_of(app: Freehold, tenant_id: str) -> dict[str, list[Any]]:
    """Return every row of a tenant's file, of the tables that a return leaves as they are."""
    tables = [table.name for table in db.metadatas["tenant"].sorted_tables if table.name not in NEW_LIFE]
    with closing(app.extensions["tenancy"].placements.open_file(tenant_id)) as file:
        return {name: file.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall() for name in tables}


def inside(app: Freehold, slug: str, work: Callable[[], Any]) -> Any:
    with app.app_context(), tenant_context(app.extensions["tenancy"].registry.by_slug(slug)):
        found = work()
        db.session.commit()
        return found


def furnish(slug: str) -> str:
    stored = storage.put(picture("teal" if slug == "alpha" else "navy"))
    db.session.add(Media(name="plot.png", mime=stored.mime, stored_name=stored.name))
    address = f"/files/{stored.name}/plot.png"
    Entry.write("page", "Plots", f"The plots of {slug}. ![Ours]({address})").publish()
    db.session.add(Due(job="tests.once", arguments={}))
    return address


@pytest.fixture(scope="module")
def kept(furnished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Make an installation with three tenants, a preview, pictures; copy it twice, write its kit, and lose it."""
    place = tmp_path_factory.mktemp("gone")
    home = place / "home"
    shutil.copytree(furnished_home, home)
    app = create_app(Config.load({"FREEHOLD_HOME": str(home)}))
    core = app.extensions["tenancy"]
    found = Kept(place / "copies", place / "kit.txt", place / "key")
    with app.app_context():
        owner = functools.partial(create_owner, "owner@gamma.test", "Olive of Gamma", PASSWORD)
        core.lifecycle.create("gamma", "Gamma Gardens", furnish=lambda: owner())
    for slug in SLUGS:
        found.files[slug] = inside(app, slug, functools.partial(furnish, slug))
    keeper = Keeper(core)
    with app.app_context(), closing(keeper.raw_side):
        found.ids = {slug: core.registry.by_slug(slug).id for slug in SLUGS}
        for owner in found.ids.values():
            keeper.copy(owner)
        tenant = core.registry.by_slug("alpha")
        previews.open_preview(core, tenant, keeper.shelf(tenant.id).newest())
        rotation.rotate(core, core.registry.by_slug("gamma"))
        with core.engines["registry"].begin() as registry:
            registry.execute(update(Tenant).where(Tenant.slug == "beta").values(placement="sealed"))
            session = {"token_hash": "x", "operator_id": 1, "csrf": "x", "expires_at": utcnow()}
            registry.exec_driver_sql(
                "INSERT INTO operator (id, email, name, password_hash, created_at) VALUES (1, 'o@x.test', '', '', 0)"
            )
            registry.execute(insert(OperatorSession).values(session))
            registry.exec_driver_sql("INSERT INTO operator_recovery_code (hash, person_id) VALUES ('x', 1)")
        with core.engines["ledger"].begin() as ledger:
            ledger.execute(
                insert(Order).values(tenant_id=found.ids["alpha"], kind="replace", seq=1, asked_by="o", state="running")
            )
    for slug in ("alpha", "gamma"):
        inside(app, slug, lambda: Entry.write("page", "Newest", "Written last.").publish())
    with app.app_context(), closing(keeper.raw_side):
        for slug in ("alpha", "gamma"):
            copied = keeper.copy(found.ids[slug])
            with core.engines["ledger"].begin() as ledger:
                reach = {"epoch": copied.header.epoch, "event_id": copied.header.event_id}
                ledger.execute(insert(TenantBackup).values(tenant_id=found.ids[slug], seq=2, at=utcnow(), **reach))
        for owner in CENTRAL:
            keeper.copy(owner)
    for slug in SLUGS:
        found.rows[slug] = rows_of(app, found.ids[slug])
    recovery_kit.write(core.keys.master, found.kit, PASSPHRASE, installation="platform.localhost", made=utcnow())
    found.key.write_bytes(core.keys.master)
    app.extensions["freehold.live"].end()
    core.close()
    (home / "backups").rename(found.folder)
    shutil.rmtree(home)
    return found


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a home on which nothing has started yet."""
    return tmp_path / "new" / "home"


def environment(home: Path, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD") and name != "PORT"}
    return {**ours, "FREEHOLD_HOME": str(home), **more}


def freehold(home: Path, *arguments: object, said: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the real command, on a home of its own."""
    command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment(home, **more), input=said, capture_output=True, text=True, timeout=200
    )


@dataclass(frozen=True)
class Done:
    """How a command went that ran in this process."""

    returncode: int
    stdout: str
    stderr: str


def rebuild(home: Path, kept: Kept, *arguments: object, **more: str) -> Done:
    """Run `freehold backups rebuild` in this process, with the bare key, which asks for no passphrase."""
    made: list[Freehold] = []

    def start() -> Freehold:
        made.append(create_app(Config.load(environment(home, **more))))
        return made[-1]

    command = ["backups", "rebuild", kept.folder, "--master-key-file", kept.key, "--yes", *arguments]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FREEHOLD_HOME": str(home), **more}.items():
            patch.setenv(name, value)
        runner = CliRunner()
        found = Context().run(runner.invoke, main, list(map(str, command)), obj=ScriptInfo(create_app=start))
    for app in made:
        app.extensions["freehold.live"].end()
        app.extensions["tenancy"].close()
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Done(found.exit_code, found.stdout, found.stderr)


@contextmanager
def served(home: Path) -> Iterator[Freehold]:
    app = create_app(Config.load({"FREEHOLD_HOME": str(home)}))
    app.testing = True
    try:
        yield app
    finally:
        app.extensions["freehold.live"].end()
        app.extensions["tenancy"].close()


def browser(app: Freehold, slug: str) -> Browser:
    app.test_client_class = Browser
    client = app.test_client()
    client.host = f"{slug}.localhost"
    return client


def everything_is_back(home: Path, kept: Kept, slugs: tuple[str, ...] = SLUGS) -> None:
    with served(home) as app:
        for slug in slugs:
            assert rows_of(app, kept.ids[slug]) == kept.rows[slug], slug
            visitor = browser(app, slug)
            assert f"The plots of {slug}" in visitor.get("/plots").text
            assert len(visitor.get(kept.files[slug]).data) > 200_000
            sign_in(visitor, f"owner@{slug}.test")
            assert visitor.get("/desk/").status_code == 200


def test_the_folder_and_the_kit_bring_everything_back(bare: Path, kept: Kept):
    done = freehold(
        bare,
        "backups",
        "rebuild",
        kept.folder,
        "--kit",
        kept.kit,
        "--passphrase-stdin",
        "--yes",
        said=f"{PASSPHRASE}\n",
    )
    assert done.returncode == 0, done.stderr
    assert "3 organisations can be brought back" in done.stdout
    assert "3 organisations are back" in done.stdout
    assert f"FREEHOLD_BACKUPS={kept.folder}" in done.stdout
    last = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")][-1]
    assert (last["task"], last["done"], last["total"]) == ("Bringing back", 3, 3)
    assert not (bare / "instance" / "rebuilding").exists()
    assert (bare / "instance" / "master.key").stat().st_mode & 0o777 == 0o600
    assert list((bare / "tenants_data").rglob("*restored*")) == []
    everything_is_back(bare, kept)


def test_what_must_not_live_on_does_not(bare: Path, kept: Kept):
    assert rebuild(bare, kept).returncode == 0
    with served(bare) as app:
        core = app.extensions["tenancy"]
        assert [tenant.slug for tenant in core.registry.tenants()] == list(SLUGS)
        assert not core.registry.sealed()
        with core.engines["registry"].connect() as registry:
            assert registry.exec_driver_sql("SELECT count(*) FROM operator_session").scalar() == 0
            assert registry.exec_driver_sql("SELECT count(*) FROM operator_recovery_code").scalar() == 0
        with core.engines["ledger"].connect() as ledger:
            assert ledger.exec_driver_sql("SELECT state FROM backup_order").scalars().all() == ["failed"]
            told = "SELECT kind FROM audit WHERE kind <> 'audit_began_anew' ORDER BY id DESC LIMIT 4"
            kinds = ledger.exec_driver_sql(told).scalars().all()
        assert kinds == ["installation_rebuilt", *["tenant_brought_back"] * 3]
        for tenant_id in kept.ids.values():
            with closing(core.placements.open_file(tenant_id)) as file:
                [(held, why)] = file.execute("SELECT set_aside_at, error FROM due WHERE job = 'tests.once'").fetchall()
                assert held
                assert "brought back" in why
                assert file.execute("SELECT count(*) FROM session").fetchone() == (0,)


def test_a_file_from_before_is_refused_afterwards(bare: Path, kept: Kept, tmp_path: Path):
    """The very file that was copied last has the right key and stamp; only the ledger tells that it is of an older life."""
    assert rebuild(bare, kept).returncode == 0
    with served(bare) as app:
        core = app.extensions["tenancy"]
        for slug in SLUGS:
            file = core.placements.file(kept.ids[slug])
            epoch, _ = core.ledger.archived_up_to(kept.ids[slug])
            with closing(core.placements.open_file(kept.ids[slug], guarded=False)) as connection:
                assert connection.execute("SELECT epoch FROM stamp").fetchone() == (epoch,)
                connection.execute("UPDATE stamp SET epoch = epoch - 1")
            assert browser(app, slug).get("/plots").status_code == 503, file


def test_copies_go_on_where_the_folder_is_in_its_place(bare: Path, kept: Kept, tmp_path: Path):
    mine = kept.copy(tmp_path)
    done = rebuild(bare, mine, FREEHOLD_BACKUPS=str(mine.folder))
    assert done.returncode == 0, done.stderr
    assert "FREEHOLD_BACKUPS" not in done.stdout
    copied = freehold(bare, "backups", "run", FREEHOLD_BACKUPS=str(mine.folder))
    assert copied.returncode == 0, copied.stderr
    listed = freehold(bare, "backups", "list", "alpha", "--json", FREEHOLD_BACKUPS=str(mine.folder))
    assert [moment["seq"] for moment in json.loads(listed.stdout)] == [3, 2, 1]
    older = freehold(
        bare,
        "backups",
        "restore",
        "alpha",
        "--at",
        json.loads(listed.stdout)[2]["at"],
        "--as",
        "was",
        FREEHOLD_BACKUPS=str(mine.folder),
    )
    assert older.returncode == 0, older.stderr


def test_a_look_leaves_nothing_behind(bare: Path, kept: Kept):
    bare.mkdir(parents=True)
    done = rebuild(bare, kept, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["to_bring_back"], facts["already_here"], facts["missing"], facts["odd"]) == (3, 0, {}, [])
    assert facts["bytes"] > 600_000
    assert list(bare.iterdir()) == []


def test_nothing_happens_without_a_yes(bare: Path, kept: Kept):
    done = freehold(bare, "backups", "rebuild", kept.folder, "--master-key-file", kept.key)
    assert done.returncode == 2
    assert "Nothing was changed" in done.stderr
    assert list(bare.iterdir()) == []


def test_a_wrong_passphrase_changes_nothing(bare: Path, kept: Kept):
    done = freehold(
        bare,
        "backups",
        "rebuild",
        kept.folder,
        "--kit",
        kept.kit,
        "--passphrase-stdin",
        "--yes",
        said="another one altogether\n",
    )
    assert done.returncode == 2
    assert "passphrase does not open" in done.stderr
    assert not bare.exists()


def test_another_installations_key_changes_nothing(bare: Path, kept: Kept, tmp_path: Path):
    (tmp_path / "other").write_bytes(bytes(32))
    done = freehold(bare, "backups", "rebuild", kept.folder, "--master-key-file", tmp_path / "other", "--yes")
    assert done.returncode == 2
    assert "opens none of the 1 copies of the keyring" in done.stderr
    assert list(bare.iterdir()) == []


def test_a_folder_that_is_no_copy_is_told(bare: Path, kept: Kept, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    done = freehold(bare, "backups", "rebuild", tmp_path / "empty", "--master-key-file", kept.key, "--yes")
    assert done.returncode == 2
    assert "Give the folder that has `central` in it" in done.stderr


@pytest.mark.parametrize(
    "there", ["instance/keyring.sqlite3", "instance/registry.sqlite3", "tenants_data/aa/main.sqlite3"]
)
def test_a_machine_that_is_not_bare_is_left_alone(bare: Path, kept: Kept, there: str):
    (bare / there).parent.mkdir(parents=True)
    (bare / there).write_text("something")
    done = rebuild(bare, kept)
    assert done.returncode == 2
    assert "is not bare" in done.stderr
    assert (bare / there).read_text() == "something"
    assert not (bare / "instance" / "master.key").exists()


def test_another_master_key_in_its_place_is_not_written_over(bare: Path, kept: Kept):
    (bare / "instance").mkdir(parents=True)
    (bare / "instance" / "master.key").write_bytes(bytes(32))
    done = rebuild(bare, kept)
    assert done.returncode == 2
    assert "Another master key is in" in done.stderr
    assert (bare / "instance" / "master.key").read_bytes() == bytes(32)


def test_a_key_that_is_in_its_place_already_is_enough(bare: Path, kept: Kept, tmp_path: Path):
    """As with a credential of systemd, which nobody may write to."""
    shutil.copy(kept.key, tmp_path / "credential")
    (tmp_path / "credential").chmod(0o400)
    done = freehold(
        bare, "backups", "rebuild", kept.folder, "--yes", FREEHOLD_MASTER_KEY_FILE=str(tmp_path / "credential")
    )
    assert done.returncode == 0, done.stderr
    assert not (bare / "instance" / "master.key").exists()


# Killed

DIES = """
import os, signal, sys
from importlib import import_module
module, name, when, wanted = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
owner = import_module(module)
*way, name = name.split(".")
for part in way:
    owner = getattr(owner, part)
real, calls = getattr(owner, name), 0
def dies(*arguments, **options):
    global calls
    calls += 1
    if (when, calls) == ("before", wanted):
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*arguments, **options)
    if (when, calls) == ("after", wanted):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(owner, name, dies)
from app.cli import main
main(sys.argv[5:], prog_name="freehold")
"""

POINTS = {
    "while it looks": ("app.backups.rebuild", "Rebuild._arrival", "after", 2),
    "after the mark": ("app.tenancy.rebuilding", "begin", "after", 1),
    "after the master key": ("app.backups.rebuild", "write_key", "after", 1),
    "between the central files": ("pathlib", "Path.replace", "after", 2),
    "before anything starts": ("app.backups.rebuild", "_begin_anew", "before", 1),
    "with a preview half gone": ("app.tenancy.lifecycle", "Lifecycle._unmake", "after", 1),
    "in the first, before it is proven": ("app.backups.restore", "verify", "before", 4),
    "in the second, proven": ("app.backups.restore", "verify", "after", 5),
    "with files half brought": ("app.backups.restore", "_bring_files", "after", 2),
    "before the second is in place": ("app.tenancy.placements", "Drained.replace", "before", 2),
    "after the second is in place": ("app.tenancy.placements", "Drained.replace", "after", 2),
    "before the third is known": ("app.backups.rebuild", "_settle", "before", 3),
    "before the mark goes": ("app.tenancy.rebuilding", "end", "before", 1),
}


def killed(home: Path, kept: Kept, point: str) -> None:
    """Run the real command, which is killed at that point."""
    module, name, when, count = POINTS[point]
    arguments = ["backups", "rebuild", str(kept.folder), "--master-key-file", str(kept.key), "--yes"]
    command = [sys.executable, "-c", DIES, module, name, when, str(count), *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(home), capture_output=True, text=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr


# One of each kind in the ordinary suite, all of them in `make prove`.
DEAREST = {"between the central files", "after the second is in place", "before the mark goes"}


@pytest.mark.parametrize(
    "point", [point if point in DEAREST else pytest.param(point, marks=pytest.mark.prove) for point in POINTS]
)
def test_killed_anywhere_it_goes_on(bare: Path, kept: Kept, point: str):
    killed(bare, kept, point)
    assert (bare / "instance" / "rebuilding").exists() == (point != "while it looks")
    again = rebuild(bare, kept)
    assert again.returncode == 0, again.stderr
    assert "3 organisations are back" in again.stdout
    assert [path for path in bare.rglob("*") if path.name.endswith((".restored", ".rebuild", "rebuilding"))] == []
    everything_is_back(bare, kept)
    with served(bare) as app, app.extensions["tenancy"].engines["ledger"].connect() as ledger:
        made = ledger.exec_driver_sql("SELECT count(*) FROM audit WHERE kind = 'tenant_created'").scalar()
    assert made == 3, "the ledger is the one that was copied"


@pytest.mark.parametrize(
    "point", ["after the second is in place", pytest.param("after the mark", marks=pytest.mark.prove)]
)
def test_nothing_starts_on_half_an_installation(bare: Path, kept: Kept, point: str):
    killed(bare, kept, point)
    nothing_starts(bare)


def nothing_starts(home: Path) -> None:
    before = sorted(path for path in home.rglob("*") if path.is_file() and "locks" not in path.parts)
    for command in (("tenants", "list"), ("serve", "--port", "1"), ("run", "web")):
        refused = freehold(home, *command)
        assert refused.returncode == 2, command
        assert "only half brought back" in refused.stderr
    assert sorted(path for path in home.rglob("*") if path.is_file() and "locks" not in path.parts) == before


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(40))
def test_killed_at_any_time_it_goes_on(bare: Path, kept: Kept, seed: int):
    chance = random.Random(seed)
    arguments = ["backups", "rebuild", str(kept.folder), "--master-key-file", str(kept.key), "--yes"]
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments], cwd=CHECKOUT, env=environment(bare), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with_luck = time.monotonic() + chance.uniform(0.8, 3.5)
        while process.poll() is None and time.monotonic() < with_luck:
            time.sleep(0.01)
        process.kill()
        process.wait()
        instance = bare / "instance"
        # The mark goes last, so without it all is done, whether or not there was time to say so.
        if (instance / "keyring.sqlite3").exists() and not (instance / "rebuilding").exists():
            break
    else:
        assert rebuild(bare, kept).returncode == 0
    everything_is_back(bare, kept)


def test_two_rebuilds_do_not_meet(bare: Path, kept: Kept):
    import fcntl

    bare.mkdir(parents=True)
    descriptor = os.open(bare, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = rebuild(bare, kept)
    finally:
        os.close(descriptor)
    assert done.returncode == 2
    assert "Another rebuild" in done.stderr


# Without room


@pytest.fixture
def small(bare: Path) -> Iterator[Path]:
    """Put the tenants' data of the bare home on a file system of 1 MB."""
    data = bare / "tenants_data"
    data.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(data)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    yield data
    subprocess.run(["umount", "--lazy", str(data)], check=True)


def test_without_room_it_says_how_much_is_needed_and_changes_nothing(small: Path, bare: Path, kept: Kept):
    done = rebuild(bare, kept)
    assert done.returncode == 2
    assert re.search(r"[\d,]+ bytes are needed, and [\d,]+ are free", done.stderr)
    assert list(small.iterdir()) == []
    assert not (bare / "instance").exists()


def test_a_disk_that_runs_full_on_the_way_stops_it_and_with_room_it_goes_on(small: Path, bare: Path, kept: Kept):
    blind = "import app.backups.rebuild as it, sys; it._free = lambda path: 1 << 50; "
    blind += "from app.cli import main; main(sys.argv[1:])"
    arguments = ["backups", "rebuild", str(kept.folder), "--master-key-file", str(kept.key), "--yes"]
    command = [sys.executable, "-c", blind, *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(bare), capture_output=True, text=True, timeout=200)
    assert done.returncode == 2, done.stderr
    assert "The disk is full at" in done.stderr
    nothing_starts(bare)
    subprocess.run(["mount", "-o", "remount,size=100m", str(small)], check=True)
    assert rebuild(bare, kept).returncode == 0
    everything_is_back(bare, kept)


# What was copied is not all as it should be


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        found = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([found[0] ^ 0x40]))


@pytest.mark.parametrize("where", ["a page", "the index"])
def test_with_the_newest_moment_damaged_an_older_one_comes_back_and_that_is_said(
    bare: Path, kept: Kept, tmp_path: Path, where: str
):
    mine = kept.copy(tmp_path)
    flip(mine.packs("alpha")[-1], len(raw.MAGIC) + 1000 if where == "a page" else -100)
    done = rebuild(bare, mine)
    assert done.returncode == 0, done.stderr
    assert re.search(r"alpha.* as of \d{4}-\d\d-\d\d", done.stdout + done.stderr)
    everything_is_back(bare, kept, ("beta", "gamma"))
    with served(bare) as app:
        visitor = browser(app, "alpha")
        assert "The plots of alpha" in visitor.get("/plots").text
        assert visitor.get("/newest").status_code == 404


@pytest.mark.parametrize("owner", CENTRAL)
def test_a_central_file_comes_back_older_when_its_newest_copy_is_damaged(
    bare: Path, kept: Kept, tmp_path: Path, owner: str
):
    mine = kept.copy(tmp_path)
    [only] = mine.packs(owner)
    later = only.with_name(f"0000000002-0000000000-{int(only.name[22:38]) + 5_000_000:016}.pack")
    shutil.copy(only, later)  # which carries another's name
    done = rebuild(bare, mine)
    assert done.returncode == 0, done.stderr
    assert f"The {owner} comes back as of" in done.stdout
    assert "carries another pack's name" in done.stdout
    everything_is_back(bare, kept)


def test_without_any_ledger_the_rest_comes_back(bare: Path, kept: Kept, tmp_path: Path):
    mine = kept.copy(tmp_path)
    flip(mine.packs("ledger")[0], 5000)
    done = rebuild(bare, mine)
    assert done.returncode == 0, done.stderr
    assert "The ledger cannot be brought back, and begins anew" in done.stdout
    everything_is_back(bare, kept)


def test_without_any_registry_nothing_is_changed(bare: Path, kept: Kept, tmp_path: Path):
    mine = kept.copy(tmp_path)
    shutil.rmtree(mine.shelf("registry"))
    done = rebuild(bare, mine)
    assert done.returncode == 2
    assert "The registry cannot be brought back" in done.stderr
    assert list(bare.iterdir()) == []


def forge(path: Path, count: int, key: bytes = bytes(32)) -> None:
    """Write a pack that is nearly all hole, says `count` pages, and has the right size for that."""
    text = json.dumps(
        {"owner": path.parts[-3], "seq": 9, "parent": 0, "at": 1, "page_count": count, "key_version": 1}
    ).encode()
    with path.open("wb") as file:
        file.write(raw.MAGIC)
        file.truncate(len(raw.MAGIC) + count * packs.PER_PAGE)
        file.seek(0, os.SEEK_END)
        file.write(text + raw.TRAILER.pack(count, len(text), bytes(32)))


def its_packs_are_anothers(mine: Kept) -> str:
    for pack in mine.packs("alpha"):
        pack.unlink()
    for pack in mine.packs("beta"):
        shutil.copy(pack, mine.shelf("alpha") / "packs" / pack.name)
    return "is a pack of"


def it_is_a_link(mine: Kept) -> str:
    shutil.rmtree(mine.shelf("alpha"))
    mine.shelf("alpha").symlink_to(mine.shelf("beta"))
    return "is a link"


def its_packs_are_a_link(mine: Kept) -> str:
    (mine.shelf("alpha") / "packs").rename(mine.folder / ".elsewhere")
    (mine.shelf("alpha") / "packs").symlink_to(mine.folder / ".elsewhere")
    return "is a link"


def its_files_lead_elsewhere(mine: Kept) -> str:
    [part] = (mine.shelf("alpha") / "files").iterdir()
    part.rename(mine.folder / ".elsewhere")
    part.symlink_to(mine.folder / ".elsewhere")
    return "is a link"


def every_pack_is_a_link(mine: Kept) -> str:
    for pack in mine.packs("alpha"):
        pack.rename(mine.folder / f".{pack.name}")
        pack.symlink_to(mine.folder / f".{pack.name}")
    return "Nothing is kept of it"


def every_pack_is_flipped(mine: Kept) -> str:
    for pack in mine.packs("alpha"):
        flip(pack, len(raw.MAGIC) + 1000)
    return "was changed after it was written"


def every_pack_is_cut(mine: Kept) -> str:
    for pack in mine.packs("alpha"):
        os.truncate(pack, pack.stat().st_size - 1)
    return "cut short"


def it_claims_a_terabyte(mine: Kept) -> str:
    for pack in mine.packs("alpha"):
        pack.unlink()
    forge(mine.shelf("alpha") / "packs" / "0000000009-0000000000-0000000000000001.pack", 60_000_000)
    with (mine.shelf("alpha") / "packs" / "0000000010-0000000000-0000000000000002.pack").open("wb") as file:
        file.write(raw.MAGIC + raw.TRAILER.pack(1 << 40, 100, bytes(32)))
    return "None of its copies can be used"


def its_header_has_no_end(mine: Kept) -> str:
    text = b"[" * 60_000
    for pack in mine.packs("alpha"):
        pack.write_bytes(raw.MAGIC + text + raw.TRAILER.pack(0, len(text), bytes(32)))
    return "cannot be read"


def its_header_lies_about_the_key(mine: Kept) -> str:
    facts = {"owner": mine.ids["alpha"], "seq": 1, "parent": 0, "at": 1, "page_count": 0, "key_version": ["'"]}
    text = json.dumps(facts).encode()
    for pack in mine.packs("alpha"):
        pack.write_bytes(raw.MAGIC + text + raw.TRAILER.pack(0, len(text), bytes(32)))
    return "cannot be read"


def nothing_is_kept_of_it(mine: Kept) -> str:
    shutil.rmtree(mine.shelf("alpha"))
    return "Nothing is kept of it"


SPOILERS = (
    its_packs_are_anothers, it_is_a_link, its_packs_are_a_link, its_files_lead_elsewhere, every_pack_is_a_link,
    every_pack_is_flipped, every_pack_is_cut, it_claims_a_terabyte, its_header_has_no_end, its_header_lies_about_the_key,
    nothing_is_kept_of_it,
)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_trusted_is_named_and_the_others_come_back(
    bare: Path, kept: Kept, tmp_path: Path, spoil: Callable[[Kept], str]
):
    mine = kept.copy(tmp_path)
    why = spoil(mine)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = rebuild(bare, mine)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000, "KiB"
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("alpha: ")]
    assert len(told) == 1
    assert why in told[0]
    assert "2 organisations are back" in done.stdout
    assert not (bare / "tenants_data" / kept.ids["alpha"][:2] / kept.ids["alpha"] / "main.sqlite3").exists()
    everything_is_back(bare, kept, ("beta", "gamma"))
    with served(bare) as app:
        assert browser(app, "alpha").get("/plots").status_code == 503


def test_strange_things_on_the_way_are_named_and_passed_over(bare: Path, kept: Kept, tmp_path: Path):
    mine = kept.copy(tmp_path)
    stranger = "ab" + "0" * 30
    (mine.folder / "ab" / stranger / "packs").mkdir(parents=True)
    (mine.folder / "..%2f..%2fetc").mkdir()
    (mine.shelf("alpha") / "packs" / "..\n.pack").write_text("x")
    os.mkfifo(mine.shelf("beta") / "packs" / "0000000009-0000000000-0000000000000001.pack")
    (mine.shelf("gamma") / "passwd").symlink_to("/etc/passwd")
    done = rebuild(bare, mine, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    assert plan["erased"] == 1
    odd = " ".join(plan["odd"])
    assert "..%2f..%2fetc is none of ours" in odd
    assert "..\\n.pack is none of ours" in odd
    assert "is neither a file nor a folder" in odd
    assert "passwd is a link" in odd
    everything_is_back(bare, kept)


@pytest.mark.parametrize("how", ["flipped", "missing", "a pipe", "a link"])
def test_a_stored_file_that_is_lost_is_named_and_its_organisation_is_there(
    bare: Path, kept: Kept, tmp_path: Path, how: str
):
    mine = kept.copy(tmp_path)
    [file] = (mine.shelf("alpha") / "files").rglob("??/*")
    if how == "flipped":
        flip(file, 70_000)
    else:
        file.unlink()
    if how == "a pipe":
        os.mkfifo(file)
    elif how == "a link":
        file.symlink_to("/etc/passwd")
    done = rebuild(bare, mine)
    assert done.returncode == 1, done.stderr
    assert f"alpha: 1 of its stored files are lost or damaged: {file.name}" in done.stderr
    everything_is_back(bare, kept, ("beta", "gamma"))
    with served(bare) as app:
        assert rows_of(app, kept.ids["alpha"]) == kept.rows["alpha"]
        assert "The plots of alpha" in browser(app, "alpha").get("/plots").text


def test_one_that_was_missing_is_brought_back_from_another_copy_later(bare: Path, kept: Kept, tmp_path: Path):
    mine = kept.copy(tmp_path)
    mine.shelf("alpha").rename(tmp_path / "elsewhere")
    assert rebuild(bare, mine, FREEHOLD_BACKUPS=str(mine.folder)).returncode == 1
    (tmp_path / "elsewhere").rename(mine.shelf("alpha"))
    again = ("backups", "restore", "alpha", "--at", "latest", "--replace", "--yes")
    done = freehold(bare, *again, FREEHOLD_BACKUPS=str(mine.folder))
    assert done.returncode == 0, done.stderr
    everything_is_back(bare, kept)


def test_an_erased_organisation_stays_erased(bare: Path, kept: Kept, tmp_path: Path):
    """The keyring has forgotten its key; its folder may lie there for years."""
    mine = kept.copy(tmp_path)
    first = tmp_path / "first"
    assert rebuild(first, mine, FREEHOLD_BACKUPS=str(mine.folder)).returncode == 0
    with served_at(first, mine.folder) as app:
        core = app.extensions["tenancy"]
        core.keys.destroy(kept.ids["gamma"])
        with closing((keeper := Keeper(core)).raw_side):
            keeper.copy("keyring")
    done = rebuild(bare, mine)
    assert done.returncode == 1
    assert "gamma: Its key is not in the keyring" in done.stderr
    everything_is_back(bare, kept, ("alpha", "beta"))


def test_a_keyring_from_the_middle_of_a_rotation_will_do(bare: Path, kept: Kept, tmp_path: Path):
    mine = kept.copy(tmp_path)
    first = tmp_path / "first"
    assert rebuild(first, mine, FREEHOLD_BACKUPS=str(mine.folder)).returncode == 0
    with served_at(first, mine.folder) as app, app.app_context():
        core, beta = app.extensions["tenancy"], kept.ids["beta"]
        keeper = Keeper(core)
        with closing(keeper.raw_side):
            version = core.keys.make_next(beta)
            keeper.copy("keyring")
            core.keys.activate(beta, version)
            restore_replacing(core, keeper, core.registry.by_id(beta), keeper.shelf(beta).newest())
            keeper.copy(beta)
        mine.rows = {**mine.rows, "beta": rows_of(app, beta)}
    done = rebuild(bare, mine, FREEHOLD_BACKUPS=str(mine.folder))
    assert done.returncode == 0, done.stderr
    assert "cannot be used" not in done.stdout
    with served_at(bare, mine.folder) as app:
        keys = app.extensions["tenancy"].keys
        assert (keys.version(beta), keys.pending(beta)) == (version, None)
    everything_is_back(bare, mine)


@contextmanager
def served_at(home: Path, backups: Path) -> Iterator[Freehold]:
    app = create_app(Config.load({"FREEHOLD_HOME": str(home), "FREEHOLD_BACKUPS": str(backups)}))
    try:
        yield app
    finally:
        app.extensions["freehold.live"].end()
        app.extensions["tenancy"].close()
