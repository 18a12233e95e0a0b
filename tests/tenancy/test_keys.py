import os
from pathlib import Path

import pytest

from app.config import Config
from app.tenancy import Tenancy
from app.tenancy.errors import CannotStart, DatabaseUnreadable
from app.tenancy.keys import Keys, load_master_key


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
    keys._ring().execute("INSERT INTO wrapped_key SELECT 'b', version, wrapped FROM wrapped_key WHERE owner = 'a'")
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
