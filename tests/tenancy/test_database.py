import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlcipher3.dbapi2 as driver

from app.tenancy.database import Connection, Timestamp, WholeCursor, connect, refuse_old_sqlite
from app.tenancy.errors import CannotStart

KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite3"
    connection = connect(path, KEY, create=True)
    connection.execute("CREATE TABLE row (n INTEGER)")
    connection.executemany("INSERT INTO row VALUES (?)", [(n,) for n in range(5)])
    connection.close()
    return path


def test_an_old_sqlite_stops_the_start():
    with pytest.raises(CannotStart, match=r"3\.51\.3"):
        refuse_old_sqlite("3.40.1")
    refuse_old_sqlite("3.51.3")


def test_the_file_is_noise_without_its_key(path: Path):
    assert b"SQLite format" not in path.read_bytes()
    with pytest.raises(driver.DatabaseError, match="not a database"):
        connect(path, bytes(32))


def test_opening_never_creates_a_file(tmp_path: Path):
    with pytest.raises(driver.OperationalError):
        connect(tmp_path / "none.sqlite3", KEY)
    assert not (tmp_path / "none.sqlite3").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE ':memory:' AS other",
        "VACUUM",
        "PRAGMA rekey = 'x'",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('x')",
    ],
)
def test_a_guarded_connection_denies_what_could_reach_another_file(path: Path, statement: str):
    connection = connect(path, KEY, guarded=True)
    with pytest.raises(driver.DatabaseError):
        connection.execute(statement)
    connection.close()


def test_attach_works_with_the_guard_out(path: Path):
    connection = connect(path, KEY)
    connection.execute("ATTACH DATABASE ':memory:' AS other")
    connection.close()


def read_half(path: Path, cursor_class: type) -> tuple[int, int]:
    """Read one of five rows, roll back, let another connection write, and count; returns (seen, true) counts."""
    reader, writer = connect(path, KEY), connect(path, KEY)
    half_read = reader.cursor(cursor_class)
    half_read.execute("SELECT n FROM row")
    half_read.fetchone()
    reader.rollback()
    writer.execute("INSERT INTO row VALUES (99)")
    counts = tuple(c.cursor(cursor_class).execute("SELECT count(*) FROM row").fetchone()[0] for c in (reader, writer))
    half_read.close()
    reader.close()
    writer.close()
    return counts


def test_a_half_read_cursor_keeps_no_snapshot(path: Path):
    seen, true = read_half(path, driver.Cursor)
    assert (seen, true) == (5, 6), "the trap: a stock cursor keeps its snapshot after ROLLBACK"
    seen, true = read_half(path, WholeCursor)
    assert seen == true


def test_cursors_of_our_connections_read_their_results_whole(path: Path):
    connection = connect(path, KEY)
    assert isinstance(connection, Connection)
    assert isinstance(connection.execute("SELECT 1"), WholeCursor)
    cursor = connection.execute("SELECT n FROM row ORDER BY n")
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany(2) == [(1,), (2,)]
    assert next(cursor) == (3,)
    assert list(cursor) == [(4,)]
    assert cursor.fetchall() == []
    connection.close()


def test_writers_that_read_first_wait_for_one_another(app, tenancy, alpha):
    """Plain BEGIN fails at once when another writer came between; IMMEDIATE loses none of 8 x 50."""
    from sqlalchemy import text

    from app.tenancy import db, tenant_context

    def bump() -> None:
        with app.app_context():
            for _ in range(50):
                with tenant_context(alpha):
                    connection = db.session.connection(bind_arguments={"bind": tenancy.engines["tenant"]})
                    epoch = connection.scalar(text("SELECT epoch FROM stamp"))
                    connection.execute(text("UPDATE stamp SET epoch = :epoch"), {"epoch": epoch + 1})
                    db.session.commit()

    file = tenancy.placements.open_file(alpha.id)
    before = file.execute("SELECT epoch FROM stamp").fetchone()[0]
    threads = [threading.Thread(target=bump) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.execute("SELECT epoch FROM stamp").fetchone()[0] == before + 400
    file.close()


def test_a_timestamp_keeps_the_moment_and_its_microseconds():
    kind = Timestamp()
    moment = datetime(2026, 11, 22, 3, 4, 5, 678901, tzinfo=UTC)
    assert kind.process_result_value(kind.process_bind_param(moment, None), None) == moment  # type: ignore[arg-type]


def test_the_standard_librarys_sqlite_is_imported_nowhere_in_the_product():
    code = "import sys; import app.cli; sys.exit('sqlite3' in sys.modules and 'app' in str(sys.modules['sqlite3'].__file__))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for source in Path("app").rglob("*.py"):
        assert "import sqlite3" not in source.read_text(), source
