import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from app.config import CHECKOUT, Config
from app.tenancy import Tenancy
from app.tenancy import keys as keys_module
from app.tenancy.database import connect
from app.tenancy.errors import CannotStart, DatabaseUnreadable, Refused
from app.tenancy.keys import UNSETTLED_NS, Keys, derive, load_master_key
from app.tenancy.locks import file_lock


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(bytes(32), tmp_path / "keyring.sqlite3")
    keys.prepare()
    return keys


def test_the_first_start_makes_a_master_key_that_others_cannot_read(tmp_path: Path):
    key = load_master_key(tmp_path / "master.key", first_start=True)
    assert len(key) == 32
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    assert load_master_key(tmp_path / "master.key", first_start=True) == key


def test_a_missing_master_key_stops_the_start_and_is_not_made_anew(home: Path, config: Config):
    (home / "instance" / "master.key").unlink()
    with pytest.raises(CannotStart, match="recovery"):
        Tenancy(config)
    assert not (home / "instance" / "master.key").exists()


def test_a_master_key_readable_by_others_stops_the_start(home: Path, config: Config):
    (home / "instance" / "master.key").chmod(0o644)
    with pytest.raises(CannotStart, match="chmod 600"):
        Tenancy(config)


def test_another_installations_master_key_stops_the_start(home: Path, config: Config):
    (home / "instance" / "master.key").write_bytes(os.urandom(32))
    with pytest.raises(CannotStart, match="does not open"):
        Tenancy(config)


def test_a_short_master_key_stops_the_start(home: Path, config: Config):
    (home / "instance" / "master.key").write_bytes(b"short")
    with pytest.raises(CannotStart, match="must have 32"):
        Tenancy(config)


def test_every_owner_has_a_key_of_its_own(keys: Keys):
    keys.make("a")
    keys.make("b")
    assert keys.database_key("a") != keys.database_key("b")
    keys.make("a")
    assert keys.tenant_subkey("a", "files") != keys.tenant_subkey("a", "jobs") != keys.tenant_subkey("b", "files")


def test_a_wrapped_key_moved_to_another_owner_does_not_unwrap(keys: Keys):
    keys.make("a")
    keys._ring().execute(
        "INSERT INTO wrapped_key SELECT 'b', version, wrapped, state FROM wrapped_key WHERE owner = 'a'"
    )
    with pytest.raises(DatabaseUnreadable, match="made for another owner"):
        keys.database_key("b")


def test_a_destroyed_key_is_gone_in_other_processes_too(keys: Keys, tmp_path: Path):
    keys.make("a")
    other = Keys(bytes(32), tmp_path / "keyring.sqlite3")
    assert other.database_key("a") == keys.database_key("a")
    keys.destroy("a")
    for ring in (keys, other):
        with pytest.raises(DatabaseUnreadable, match="no key"):
            ring.database_key("a")


def test_no_key_lies_in_the_clear(home: Path, tenancy: Tenancy, alpha):
    key = tenancy.keys.database_key(alpha.id)
    tenancy.close()
    for file in home.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert key not in content, file
            assert key.hex().encode() not in content.lower(), file


def test_the_keyring_keeps_no_log_beside_it_and_overwrites_what_it_forgets(keys: Keys, tmp_path: Path):
    keys.make("a")
    ring = keys._ring()
    assert ring.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert ring.execute("PRAGMA secure_delete").fetchone() == (1,)
    assert [file.name for file in tmp_path.glob("keyring*")] == ["keyring.sqlite3"]


# Versions of one owner's key


def test_a_next_key_is_used_by_nothing_before_it_is_made_active(keys: Keys):
    keys.make("a")
    first = keys.database_key("a")
    assert keys.make_next("a") == 2
    assert (keys.version("a"), keys.versions("a"), keys.pending("a")) == (1, [1], 2)
    assert keys.database_key("a") == first
    second = keys.database_key("a", 2)
    keys.activate("a", 2)
    assert (keys.version("a"), keys.versions("a"), keys.pending("a")) == (2, [1, 2], None)
    assert keys.database_key("a") == second != first == keys.database_key("a", 1)
    assert (
        keys.tenant_subkey("a", "files") == keys.tenant_subkey("a", "files", 2) != keys.tenant_subkey("a", "files", 1)
    )


def test_making_active_twice_changes_nothing_and_an_unknown_version_is_refused(keys: Keys):
    keys.make("a")
    keys.make_next("a")
    keys.activate("a", 2)
    keys.activate("a", 2)
    with pytest.raises(DatabaseUnreadable, match="no version 7"):
        keys.activate("a", 7)
    assert keys.version("a") == 2


def test_a_next_key_that_was_left_behind_gives_way(keys: Keys):
    keys.make("a")
    keys.make_next("a")
    left = keys.database_key("a", 2)
    assert keys.make_next("a") == 2
    assert keys.database_key("a", 2) != left


def test_the_version_in_use_cannot_be_dropped_and_an_older_one_can(keys: Keys):
    keys.make("a")
    keys.activate("a", keys.make_next("a"))
    with pytest.raises(Refused, match="in use"):
        keys.drop("a", 2)
    keys.drop("a", 1)
    assert keys.versions("a") == [2]
    with pytest.raises(DatabaseUnreadable, match="no version 1"):
        keys.database_key("a", 1)


def test_an_owner_without_a_key_has_no_version(keys: Keys):
    assert (keys.versions("a"), keys.pending("a")) == ([], None)
    for question in (keys.version, keys.make_next, keys.database_key):
        with pytest.raises(DatabaseUnreadable, match="no key for a"):
            question("a")
    assert keys._rows("SELECT count(*) FROM wrapped_key WHERE owner <> ?", "platform") == [(0,)]


@pytest.mark.parametrize("purpose", ["file-names", "letters"])
def test_what_must_outlive_a_key_does_even_when_its_version_is_dropped(keys: Keys, purpose: str):
    keys.make("a")
    before = keys.tenant_subkey("a", purpose)
    for version in (2, 3):
        assert keys.make_next("a") == version
        assert keys.tenant_subkey("a", purpose) == keys.tenant_subkey("a", purpose, version) == before
        keys.activate("a", version)
        keys.drop("a", version - 1)
    assert keys.tenant_subkey("a", purpose) == before
    assert before not in (keys.database_key("a"), derive(keys.database_key("a"), purpose))


def test_what_outlives_a_key_goes_with_its_owner(keys: Keys):
    keys.make("a")
    keys.make("ab")
    keys.activate("a", keys.make_next("a"))
    keys.make_next("ab")
    keys.destroy("a")
    with pytest.raises(DatabaseUnreadable):
        keys.tenant_subkey("a", "file-names")
    owners = keys._ring().execute("SELECT DISTINCT owner FROM wrapped_key ORDER BY owner").fetchall()
    assert owners == [("ab",), ("ab:audit",), ("ab:file-names",), ("ab:letters",), ("platform",)]


# An installation that is older than the versions


def _as_it_was(path: Path, keys: dict[str, bytes]) -> None:
    """Make a keyring as it was before keys had a state: in WAL, with three columns."""
    cipher = keys_module._wrapping(bytes(32))
    with closing(connect(path, derive(bytes(32), "keyring"), create=True)) as old:
        old.execute(
            "CREATE TABLE wrapped_key (owner TEXT NOT NULL, version INTEGER NOT NULL, wrapped BLOB NOT NULL, "
            "PRIMARY KEY (owner, version)) WITHOUT ROWID, STRICT"
        )
        for owner, key in keys.items():
            old.execute("INSERT INTO wrapped_key VALUES (?, 1, ?)", (owner, keys_module._wrap(cipher, owner, 1, key)))


def test_an_old_keyring_keeps_its_keys(tmp_path: Path):
    known = {"a": os.urandom(32), "registry": os.urandom(32)}
    _as_it_was(tmp_path / "keyring.sqlite3", known)
    for _ in range(2):
        keys = Keys(bytes(32), tmp_path / "keyring.sqlite3")
        keys.prepare()
        assert {owner: keys.database_key(owner) for owner in known} == known
        assert keys.tenant_subkey("a", "file-names") == derive(known["a"], "file-names")
        assert keys._ring().execute("PRAGMA journal_mode").fetchone() == ("delete",)
        keys.close()
    assert keys.make_next("a") == 2


def test_an_old_keyring_that_an_old_process_has_open_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.tenancy.database.waiting.busy", 0.2)
    _as_it_was(tmp_path / "keyring.sqlite3", {"a": os.urandom(32)})
    with closing(connect(tmp_path / "keyring.sqlite3", derive(bytes(32), "keyring"))) as old:
        old.execute("SELECT * FROM wrapped_key")
        with pytest.raises(CannotStart, match="locked"):
            Keys(bytes(32), tmp_path / "keyring.sqlite3").prepare()


def test_a_prepared_file_of_before_is_made_again(app, home: Path, tenancy: Tenancy):
    """The key of the prepared file follows from the platform's secret, which an older installation does not have."""

    def create(slug: str) -> str:
        with app.app_context():
            return tenancy.lifecycle.create(slug, slug.title()).state

    assert create("gamma") == "active"
    prepared = next((home / "instance").glob("prepared-*.sqlite3"))
    log = prepared.with_name(prepared.name + "-wal")
    with closing(tenancy.schema.prepared()) as killed:
        killed.execute("UPDATE alembic_version SET version_num = version_num")
        left = log.read_bytes()
    with tenancy.keys._writing() as ring:
        ring.execute("DELETE FROM wrapped_key WHERE owner = 'platform'")
    tenancy.keys.prepare()
    assert create("delta") == "active"
    prepared.write_bytes(os.urandom(8192))
    assert create("epsilon") == "active"
    prepared.unlink()
    log.write_bytes(left)  # as whoever is killed leaves it
    assert create("zeta") == "active"
    with closing(tenancy.schema.prepared()) as again:
        assert again.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Several processes


def test_what_one_process_writes_another_sees_at_once(keys: Keys, tmp_path: Path):
    keys.make("a")
    other = Keys(bytes(32), tmp_path / "keyring.sqlite3")
    for version in range(2, 12):
        before = other.database_key("a")
        assert keys.make_next("a") == other.pending("a") == version
        keys.activate("a", version)
        assert other.database_key("a") == keys.database_key("a") != before


def test_two_writes_within_one_tick_of_the_disks_clock_are_told_apart(keys: Keys, tmp_path: Path):
    path = tmp_path / "keyring.sqlite3"
    keys.make("a")
    keys.make_next("a")
    other, tick = Keys(bytes(32), path), time.time_ns() + 10**9
    os.utime(path, ns=(tick, tick))
    before = other.database_key("a")
    keys.activate("a", 2)
    os.utime(path, ns=(tick, tick))
    assert other.database_key("a") != before


def test_a_known_key_costs_microseconds(keys: Keys):
    keys.make("a")
    time.sleep(0.1)
    keys.database_key("a")
    began = time.perf_counter()
    for _ in range(2000):
        keys.database_key("a")
    assert (time.perf_counter() - began) / 2000 < 100e-6


def test_a_keyring_put_in_the_place_of_the_old_one_is_noticed(keys: Keys, tmp_path: Path):
    keys.make("a")
    path = tmp_path / "keyring.sqlite3"
    with closing(keys._ring()), keys._lock:
        shutil.copy(path, tmp_path / "copy")
        keys._shut()
    before = keys.database_key("a")
    keys.activate("a", keys.make_next("a"))
    time.sleep(0.1)
    assert keys.database_key("a") != before
    (tmp_path / "copy").rename(path)
    assert keys.database_key("a") == before
    keys.make("b")
    assert Keys(bytes(32), path).database_key("b") == keys.database_key("b")


def test_a_keyring_that_is_gone_is_named(keys: Keys, tmp_path: Path):
    keys.make("a")
    keys.database_key("a")
    time.sleep(0.1)
    keys.database_key("a")
    (tmp_path / "keyring.sqlite3").unlink()
    with pytest.raises(CannotStart, match="cannot be opened"):
        keys.database_key("a")


def test_writers_wait_for_the_lock_and_what_is_remembered_does_not(keys: Keys, tmp_path: Path):
    asked_before = keys.subkey("anything")
    time.sleep(2 * UNSETTLED_NS / 1e9)
    assert keys.subkey("anything") == asked_before
    made = threading.Thread(target=keys.make, args=("a",))
    with file_lock(tmp_path / "locks" / "keyring"):
        made.start()
        made.join(0.2)
        assert made.is_alive()
        assert keys.subkey("anything") == asked_before
    made.join(10)
    assert keys.database_key("a")


def test_a_keyring_replaced_in_the_middle_of_a_reading_keeps_its_own_journal(keys: Keys, tmp_path: Path, monkeypatch):
    keys.make("a")
    path, journal = tmp_path / "keyring.sqlite3", tmp_path / "keyring.sqlite3-journal"
    reader, wanted, had_journal = Keys(bytes(32), path), keys.database_key("a"), []
    derived = reader._derived

    def replaced_and_written_to() -> None:
        # As a rotation of the master key does, and another writer in the middle of a large transaction after it.
        with file_lock(tmp_path / "locks" / "keyring"):
            shutil.copy(path, tmp_path / "next")
            (tmp_path / "next").replace(path)
            with closing(connect(path, derive(bytes(32), "keyring"), journal="DELETE")) as ring:
                ring.execute("PRAGMA cache_size = 1")
                ring.execute("BEGIN IMMEDIATE")
                ring.execute("CREATE TABLE large AS SELECT zeroblob(100000) AS it")
                had_journal.append(journal.stat().st_size)
                writing.set()
                read.wait(10)
                had_journal.append(journal.exists() and journal.stat().st_size)
                ring.execute("ROLLBACK")

    def in_the_middle(*asked):
        writer.start()
        writing.wait(0.5)
        return derived(*asked)

    writing, read, writer = threading.Event(), threading.Event(), threading.Thread(target=replaced_and_written_to)
    monkeypatch.setattr(reader, "_derived", in_the_middle)
    try:
        assert reader.database_key("a") == wanted
    finally:
        read.set()
        writer.join(10)
    assert had_journal[0] == had_journal[1] > 0
    assert reader.versions("a") == [1]


MAKER = """
import sys
from pathlib import Path
from app.tenancy.keys import Keys
keys = Keys(bytes(32), Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    keys.make(f"{sys.argv[2]}{number}")
    keys.database_key(f"{sys.argv[2]}{number}")
"""


def test_many_processes_make_keys_side_by_side_and_none_is_lost(keys: Keys, tmp_path: Path):
    command = [sys.executable, "-c", MAKER, str(tmp_path / "keyring.sqlite3")]
    processes = [subprocess.Popen([*command, name, "25"], cwd=CHECKOUT) for name in "abc"]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert {len(keys.versions(f"{name}{number}")) for name in "abc" for number in range(25)} == {1}
