"""One copy of one owner's database, as of one moment, while others go on writing.

A file in WAL is held for writers only while the log is brought into the file (a few milliseconds); then a reader that reads the
file itself keeps it still, and the raw side reads the pages at its leisure. The way is in docs/adr/0008.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import sqlcipher3.dbapi2 as driver

from app.backups import raw
from app.backups.packs import Header
from app.backups.shelf import PackName, Shelf
from app.backups.target import FULL, TargetDown
from app.tenancy.database import Connection
from app.tenancy.errors import DatabaseUnreadable, FreeholdError
from app.tenancy.placements import Signature, last_event, signature_of

HELD = 0.005  # seconds that writers may be held by bringing the log into the file
AGAIN = 0.25  # seconds until the next try
COARSE = 0.02  # seconds; the clock of a disk may stand still for so long
HELD_PATIENCE = 1.5  # seconds; those who are kept out meanwhile wait for five
LEAST_PATIENCE, SLOWEST = 10.0, 20e6  # seconds, and bytes a second, that the target is given


class InUse(FreeholdError):
    """A long reader or much writing keeps the file from being copied right now."""

    code = "in_use"


class RawSide:
    """The process that reads raw pages; started when it is needed, and again after it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, order: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """Return the answer to an order; raises `TargetDown` when it fails or does not come within `patience` seconds.

        Raises `DatabaseUnreadable` when it is the database file that cannot be read.
        """
        process, patience = self._running(), patience or LEAST_PATIENCE
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise TargetDown("The process that reads the pages has ended.") from None
        answer = _line(process.stdout, patience)
        if not answer:
            self.close()
            raise TargetDown(
                f"No copy could be written within {patience:.0f} s: the place of the copies is slow or gone."
            )
        found: dict[str, Any] = json.loads(answer)
        if found.get("source"):
            raise DatabaseUnreadable(f"The pages of the file cannot be read: {found['error']}.")
        if "error" in found:
            why = "there is no room left" if found.get("errno") in FULL else found["error"]
            raise TargetDown(f"The copy could not be written: {why}.")
        return found

    def drop(self) -> None:
        """Have it let go of the file it has open."""
        if self._process is not None:
            try:
                self.ask({"drop": True})
            except TargetDown:
                self.close()

    def close(self) -> None:
        """End the process, by force if it hangs on a disk; one that cannot even be killed is left behind."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            return

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", raw.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        return self._process


def _line(pipe: IO[str], patience: float) -> str:
    waiting = select.poll()  # select() knows no descriptor above 1023
    waiting.register(pipe, select.POLLIN)
    return pipe.readline() if waiting.poll(patience * 1000) else ""


@dataclass(frozen=True)
class Source:
    """A database to be copied: where it is, how it is opened, which version of its key it has while it is open.

    `look` is asked of the file as it stands still; `prepare` gets its answer before the copy counts as one.
    """

    path: Path
    open: Callable[[], Connection]  # checks that it is the owner's, and of today
    open_to_lock: Callable[[], Connection]
    key_version: Callable[[], int]
    has_events: bool = False
    look: Callable[[Connection], Any] | None = None
    prepare: Callable[[Any], None] | None = None
    drained: Connection | None = None  # when nobody else has the file


@dataclass(frozen=True)
class Copied:
    """What was copied. `is_clean` tells that nobody has written since; times are seconds, sizes bytes.

    `found` is what the source's `look` found.
    """

    header: Header
    pages: int
    bytes: int
    held: float
    took: float
    is_clean: bool
    signature: Signature | None
    found: Any


@dataclass(frozen=True)
class Still:
    """A file that stands still, as of `at` (seconds since 1970)."""

    at: float
    page_count: int
    held: float
    reader: Connection
    writer: Connection
    version: int  # of the data, as the writer saw it
    patience: float | None = None  # seconds that it may stand still, where that keeps writers out

    def now(self, path: Path) -> tuple[Signature | None, bool]:
        """Return the file's signature, and whether nobody has written since it stood still.

        Asked when the clock of the disk has moved on, so that any later write shows in the signature.
        """
        signature = signature_of(str(path))
        young = signature.newest / 1e9 + COARSE - time.time() if signature else 0.0
        if young > 0:
            time.sleep(min(young, COARSE))
            signature = signature_of(str(path))
        return signature, _version(self.writer) == self.version


def copy(source: Source, shelf: Shelf, raw_side: RawSide, *, after: tuple[int, int], seals: Path, base: bool) -> Copied:
    """Copy what has changed since the moment `after`, (number, time), or all of it for a base, and keep it as the next.

    Raises `InUse` when the file cannot be had right now, `TargetDown` when the copy cannot be kept, `DatabaseUnreadable`.
    """
    began = time.monotonic()
    try:
        with shelf.target.making() as made:
            with _named(shelf.owner), still(source) as file:
                # Opened while SQLite holds the file, so that it is the same one: nobody can put another in its place.
                raw_side.ask({"open": str(source.path)}, file.patience)
                header = _header(source, file, shelf.owner, after[0] + 1, 0 if base else after[0], is_counted=base)
                found = source.look(file.reader) if source.look else None
                order = {
                    "pack": str(made),
                    "seals": str(seals),
                    "after": after,
                    "header": asdict(header),
                    "key": shelf.key_of(header.key_version).hex(),
                    "base": base,
                }
                done = raw_side.ask(order, file.patience or max(LEAST_PATIENCE, file.page_count * raw.PAGE / SLOWEST))
                if file.reader.in_transaction:
                    file.reader.execute("COMMIT")
                took = time.monotonic() - began
                signature, is_clean = file.now(source.path)
            if source.prepare:
                source.prepare(found)
            header = replace(header, parent=done["parent"])
            shelf.keep(made, PackName(header.seq, header.parent, header.at))
            # Noted after the copy is safe: notes that are older than the newest copy only make the next one larger.
            Path(f"{seals}.next").replace(seals)
    except BaseException:
        raw_side.drop()
        raise
    return Copied(header, done["pages"], done["bytes"], file.held, took, is_clean, signature, found)


@contextmanager
def _named(owner: str) -> Iterator[None]:
    """Tell what SQLite says of the file as what it means for a copy of it."""
    try:
        yield
    except driver.DatabaseError as error:
        if "locked" in str(error):
            raise InUse("Somebody has the file locked.") from None
        raise DatabaseUnreadable(f"The file of {owner} is damaged: {error}.") from None


def _header(source: Source, file: Still, owner: str, seq: int, parent: int, *, is_counted: bool) -> Header:
    epoch, event_id = last_event(file.reader) if source.has_events else (0, 0)
    return Header(
        owner=owner,
        seq=seq,
        parent=parent,
        at=int(file.at * 1e6),
        page_count=file.page_count,
        key_version=source.key_version(),
        epoch=epoch,
        event_id=event_id,
        schema=_schema(file.reader),
        rows=count_rows(file.reader) if is_counted else {},
    )


def _schema(connection: Connection) -> str:
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone() is None:
        return ""
    rows = connection.execute("SELECT version_num FROM alembic_version ORDER BY version_num").fetchall()
    return " ".join(row[0] for row in rows)


def count_rows(connection: Connection) -> dict[str, int]:
    """Return how many rows each ordinary table has."""
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    ).fetchall()
    return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names}  # noqa: S608


@contextmanager
def still(source: Source) -> Iterator[Still]:
    """Have the file stand still for the block while others go on writing to its log; raises `InUse`."""
    if source.drained is not None:
        yield _drained(source.drained)
        return
    with ExitStack() as stack:
        reader = stack.enter_context(closing(source.open()))
        writer = stack.enter_context(closing(source.open_to_lock()))
        reader.execute("PRAGMA wal_autocheckpoint = 0")
        if reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            yield _hold_log(writer, reader)
        else:
            yield _hold_file(stack, writer, reader)


def _hold_log(writer: Connection, reader: Connection) -> Still:
    """Bring the whole log into the file and begin a reader that therefore reads the file alone."""
    if not _bring_log(reader):
        raise InUse("Somebody reads an older state of the file.")
    try:
        writer.execute("BEGIN IMMEDIATE")
    except driver.OperationalError:
        raise InUse("The file is being written to without a pause.") from None
    began = time.monotonic()
    try:
        if not _bring_log(reader):
            raise InUse("Somebody reads an older state of the file.")
        reader.execute("BEGIN")
        pages = reader.execute("PRAGMA page_count").fetchone()[0]
        reader.execute("SELECT 1 FROM sqlite_schema LIMIT 1")
        version, at = _version(writer), time.time()
    finally:
        writer.execute("ROLLBACK")
    held = time.monotonic() - began
    return Still(at, pages, held, reader, writer, version)


def _hold_file(stack: ExitStack, writer: Connection, reader: Connection) -> Still:
    """Keep writers out for the while: a file without a log stands still only then."""
    try:
        writer.execute("BEGIN IMMEDIATE")
    except driver.OperationalError:
        raise InUse("The file is being written to without a pause.") from None
    stack.callback(writer.execute, "ROLLBACK")
    reader.execute("BEGIN")
    pages = reader.execute("PRAGMA page_count").fetchone()[0]
    return Still(time.time(), pages, 0.0, reader, writer, _version(writer), patience=HELD_PATIENCE)


def _drained(connection: Connection) -> Still:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return Still(time.time(), pages, 0.0, connection, connection, _version(connection))


def _bring_log(connection: Connection) -> bool:
    busy, frames, brought = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and frames == brought


def _version(connection: Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
