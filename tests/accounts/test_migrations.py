"""What a change of the tables does to people who are signed in."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from app.tenancy.database import connect
from app.tenancy.schema import alembic_config

KEY = b"k" * 32


@pytest.fixture
def file(tmp_path):
    connection = connect(tmp_path / "file.sqlite3", KEY, create=True)
    yield connection
    connection.close()


def bring(file, act, revision):
    file.execute("PRAGMA foreign_keys = OFF")
    engine = create_engine("sqlite+sqlcipher3://", creator=lambda: file, poolclass=StaticPool)
    with engine.begin() as bound:
        config = alembic_config("tenant")
        config.attributes["connection"] = bound
        act(config, revision)
    file.execute("PRAGMA foreign_keys = ON")


def sign_in_as_before(file, number):
    file.execute(
        "INSERT INTO session (token_hash, user_id, csrf, created_at, last_seen_at, expires_at, user_agent) "
        "VALUES (?, 1, 'c', 1, 2, 3, 'Firefox/128.0')",
        (f"hash {number}",),
    )


def test_whoever_is_signed_in_stays_so_and_finds_the_browser_in_the_list(file):
    bring(file, command.upgrade, "accounts_0002")
    file.execute(
        "INSERT INTO user (id, email, name, role, state, created_at) VALUES (1, 'mia@example.test', 'Mia', 'member', 'active', 1)"
    )
    for number in (1, 2):
        sign_in_as_before(file, number)
    before = file.execute("SELECT id, token_hash, user_id, expires_at FROM session ORDER BY id").fetchall()
    bring(file, command.upgrade, "accounts_0003")
    assert file.execute("SELECT id, token_hash, user_id, expires_at FROM session ORDER BY id").fetchall() == before
    assert file.execute("SELECT count(*), count(DISTINCT family), max(last_seen_at) FROM device").fetchone() == (
        2,
        2,
        2,
    )
    sign_in_as_before(file, 3)  # by a process with yesterday's code
    file.execute("DELETE FROM device WHERE id = 1")
    assert file.execute("SELECT id, device_id, ends_at FROM session ORDER BY id").fetchall() == [
        (2, 2, 3),
        (3, None, None),
    ]
    bring(file, command.downgrade, "accounts_0002")
    assert file.execute("SELECT token_hash FROM session ORDER BY id").fetchall() == [("hash 2",), ("hash 3",)]


def test_whoever_went_by_an_address_is_called_otherwise_and_names_stay(file):
    bring(file, command.upgrade, "accounts_0007")
    people = [
        ("mia@example.test", "mia@example.test", "active"),
        ("jo@example.test", "Jo", "active"),
        ("removed-3", "ada@example.test", "removed"),
    ]
    for person in people:
        file.execute("INSERT INTO user (email, name, role, state, created_at) VALUES (?, ?, 'member', ?, 1)", person)
    bring(file, command.upgrade, "accounts_0008")
    told = [row[0] for row in file.execute("SELECT name FROM user ORDER BY id").fetchall()]
    assert told == ["Member mi", "Jo", "Member ad"]
