"""One driver for every SQLite file: sqlcipher3, its connections and its SQLAlchemy dialect.

SQLite 3.7.0 to 3.51.2 can lose committed data when a write races a checkpoint on another connection
(https://sqlite.org/wal.html#walresetbug), hence one driver with a version we chose, and a gate at start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlcipher3.dbapi2 as driver
from sqlalchemy import Dialect as SQLAlchemyDialect
from sqlalchemy import Integer
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.types import TypeDecorator

from app.tenancy.context import current_scope
from app.tenancy.errors import CannotStart

LEAST_SQLITE = (3, 51, 3)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LOCKED_SECONDS = 5.0  # that a statement waits for another's lock
LOG_PAUSE = 0.01  # seconds between two tries to go back to the log


@dataclass
class Waiting:
    """How this process waits: `busy` is how long (s) SQLite itself waits for a lock, holding the whole thread.

    What is left of `most` seconds is waited between tries, where others of this thread may go on. `aside` runs what may take
    long without asking anybody, such as opening a file.
    """

    busy: float = LOCKED_SECONDS
    most: float = LOCKED_SECONDS
    aside: Callable[[Callable[[], Any]], Any] = lambda work: work()


waiting = Waiting()


def be_cooperative(aside: Callable[[Callable[[], Any]], Any]) -> None:
    """In a process where one thread serves many at once: hold it for 20 ms at most, and open files `aside`."""
    waiting.busy, waiting.aside = 0.02, aside


def be_brief() -> None:
    """In a process that serves all tenants in turn: a locked file waits for its next turn, and nobody for it."""
    waiting.busy = waiting.most = 0.1


# Action codes of https://sqlite.org/c3ref/c_alter_table.html
_SQLITE_OK, _SQLITE_DENY = 0, 1
_ATTACH, _DETACH, _PRAGMA = 24, 25, 19
_DENIED_PRAGMAS = {"key", "rekey", "writable_schema", "trusted_schema", "temp_store_directory", "mmap_size"}


def refuse_old_sqlite(version: str = driver.sqlite_version) -> None:
    """Stop the start on an SQLite that can lose commits; raises `CannotStart`."""
    if tuple(int(part) for part in version.split(".")) < LEAST_SQLITE:
        raise CannotStart(
            f"SQLite {version} can lose committed data when several processes share a file. Freehold needs "
            f"{'.'.join(map(str, LEAST_SQLITE))} or newer: run `make setup` again to get the sqlcipher3 it was tested with."
        )


class WholeCursor(driver.Cursor):
    """A cursor that reads its whole result at once.

    A half-read cursor keeps its snapshot even after ROLLBACK, so the next lease of the connection would read the past.
    """

    def execute(self, sql: str, parameters: Any = ()) -> WholeCursor:
        until = time.monotonic() + waiting.most
        while True:
            try:
                super().execute(sql, parameters)
                break
            except driver.OperationalError as error:
                if "locked" not in str(error) or waiting.busy >= waiting.most or time.monotonic() > until:
                    raise
            time.sleep(waiting.busy / 2)
        self._rows: Iterator[tuple[Any, ...]] = iter(super().fetchall() if self.description else ())
        return self

    def executemany(self, sql: str, parameters: Iterable[Any]) -> WholeCursor:
        super().executemany(sql, parameters)
        self._rows = iter(())
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        return [row for _, row in zip(range(size or self.arraysize), self._rows, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    def __next__(self) -> tuple[Any, ...]:
        return next(self._rows)


class Connection(driver.Connection):
    """A connection whose cursors read their results whole."""

    def cursor(self, factory: type[WholeCursor] = WholeCursor) -> WholeCursor:
        return super().cursor(factory)


def connect(
    path: Path,
    key: bytes,
    *,
    create: bool = False,
    guarded: bool = False,
    max_bytes: int | None = None,
    journal: str = "WAL",
) -> Connection:
    """Open the file at `path` with its raw 32-byte `key`, in autocommit mode.

    A `guarded` connection denies ATTACH, DETACH, VACUUM and changes of key. With `journal="DELETE"` nothing of the file
    stays in a log beside it, as for one that is to be renamed. Raises `driver.DatabaseError` when the key does not fit or
    the file is damaged, `driver.OperationalError` when it is missing and `create` is false.
    """
    return waiting.aside(partial(_connect, path, key, create, guarded, max_bytes, journal))


def connect_to_lock(path: Path, key: bytes) -> Connection:
    """Open the file at `path` to hold its locks alone: a schema that nobody asks about is not read. Raises as `connect`."""
    return waiting.aside(partial(_opened, path, key, "rw", ()))


def _connect(path: Path, key: bytes, create: bool, guarded: bool, max_bytes: int | None, journal: str) -> Connection:
    connection = _opened(path, key, "rwc" if create else "rw", _pragmas(max_bytes, journal))
    if guarded:
        connection.set_authorizer(_authorize)
    return connection


def _opened(path: Path, key: bytes, mode: str, pragmas: Sequence[str]) -> Connection:
    connection = driver.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=waiting.busy,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=200,
        factory=Connection,
    )
    try:
        connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        for pragma in pragmas:
            _set(connection, pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _set(connection: Connection, pragma: str) -> None:
    """Run a pragma, waiting for others as a statement does: SQLite itself does not wait where a file goes back to its log."""
    until = time.monotonic() + waiting.most
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}")
        except driver.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(LOG_PAUSE)
        else:
            return


def _pragmas(max_bytes: int | None, journal: str) -> Sequence[str]:
    return (
        f"journal_mode = {journal}",
        "synchronous = FULL",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "mmap_size = 0",
        "cache_size = -512",
        "journal_size_limit = 16777216",
        *((f"max_page_count = {max(max_bytes // 4096, 64)}",) if max_bytes else ()),
    )


def _authorize(action: int, first: str | None, second: str | None, *_: Any) -> int:
    if action in (_ATTACH, _DETACH):
        return _SQLITE_DENY
    if action == _PRAGMA and second is not None and (first or "").lower() in _DENIED_PRAGMAS:
        return _SQLITE_DENY
    return _SQLITE_OK


class Dialect(SQLiteDialect_pysqlite):
    """SQLite through sqlcipher3; a transaction that may write takes the write lock at its first statement.

    A deferred transaction that reads and then writes fails at once when another writer came between.
    """

    driver = "sqlcipher3"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return driver

    def do_begin(self, dbapi_connection: Any) -> None:
        scope = current_scope()
        dbapi_connection.execute("BEGIN" if scope is not None and not scope.writes else "BEGIN IMMEDIATE")


dialects.register("sqlite.sqlcipher3", __name__, "Dialect")


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC datetime in Python, whole microseconds since 1970 in the file."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: SQLAlchemyDialect) -> int | None:
        return None if value is None else as_microseconds(value)

    def process_result_value(self, value: int | None, dialect: SQLAlchemyDialect) -> datetime | None:
        return as_moment(value)


def as_microseconds(moment: datetime) -> int:
    """Return an aware moment as files hold it, in whole microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def as_moment(microseconds: int | None) -> datetime | None:
    """Return what a file holds as an aware moment, in UTC."""
    return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)


def utcnow() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)
