"""Where a tenant's data lies, how its file is opened, and how its house is emptied before anybody moves it."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import sqlcipher3.dbapi2 as driver
from sqlalchemy import Engine, update

from app.tenancy.context import ResolvedTenant
from app.tenancy.database import Connection, connect
from app.tenancy.errors import DatabaseUnreadable, Refused, TenantBusy
from app.tenancy.keys import Keys
from app.tenancy.ledger import Ledger
from app.tenancy.locks import file_lock, file_lock_if_free
from app.tenancy.registry import Registry, Tenant

BREAKER_SECONDS = 30
DRAIN_SECONDS = 10

UNSETTLED_NS = 50_000_000

_ID = re.compile(r"[0-9a-f]{32}")

# The bytes of which every connection to a file in WAL holds a shared lock (https://sqlite.org/lockingv3.html, "os_unix.h").
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
_BESIDE = ("-wal", "-shm", "-journal")
INCOMING = ".incoming"


class Signature(NamedTuple):
    """The times (ns since 1970) and sizes (bytes) of a tenant's file and its log."""

    main_at: int
    main_size: int
    log_at: int
    log_size: int

    @property
    def newest(self) -> int:
        """When it was written to last, ns since 1970."""
        return max(self.main_at, self.log_at)

    def is_as(self, known: Signature | None) -> bool:
        """Tell whether nothing was written since the file looked like `known`.

        The last to close a file takes its log away, and writes nothing then.
        """
        return known is not None and self[:2] == known[:2] and self[2:] in (known[2:], (0, 0))

    @property
    def is_settled(self) -> bool:
        """Whether any further write would show in it: the clock of a disk is coarse."""
        return time.time_ns() - self.newest > UNSETTLED_NS


def signature_of(path: str) -> Signature | None:
    """Return the signature of a database file, None where there is none. An empty log says only that somebody reads."""
    try:
        main = os.stat(path)  # noqa: PTH116 (ten thousand of them a second)
    except OSError:
        return None
    if not os.access(path + "-wal", os.F_OK):  # most have none, and an error costs more than the question
        return Signature(main.st_mtime_ns, main.st_size, 0, 0)
    try:
        log = os.stat(path + "-wal")  # noqa: PTH116
    except OSError:
        return Signature(main.st_mtime_ns, main.st_size, 0, 0)
    return Signature(main.st_mtime_ns, main.st_size, log.st_mtime_ns if log.st_size else 0, log.st_size)


@dataclass(frozen=True)
class Drained:
    """A tenant's file that nobody else has, and that nobody else can have for the while.

    `connection` is exclusive, unguarded, in no transaction and out of WAL; None for a file that cannot be opened.
    """

    path: Path
    connection: Connection | None

    @property
    def incoming(self) -> Path:
        """Where the file that is to take this one's place is made."""
        return self.path.with_name(self.path.name + INCOMING)

    def replace(self, incoming: Path) -> None:
        """Put a finished file in this one's place, all or nothing; what SQLite left beside the old one goes first."""
        _sync(incoming)
        for leftover in _BESIDE:
            self.path.with_name(self.path.name + leftover).unlink(missing_ok=True)
        incoming.replace(self.path)
        _sync(self.path.parent)


class Placements:
    """The folders and files of the tenants of one installation."""

    def __init__(
        self, root: Path, locks: Path, keys: Keys, ledger: Ledger, registry: Registry, registry_engine: Engine
    ) -> None:
        self._root = root
        self._locks = locks
        self._keys = keys
        self._ledger = ledger
        self._registry = registry
        self._registry_engine = registry_engine
        self._guard = threading.Lock()
        self._broken: dict[str, tuple[float, int, str]] = {}  # tenant id: (until, generation, why)
        self.forget_idle: Callable[[str], None] = lambda _: None  # until the pool says how

    def folder(self, tenant_id: str) -> Path:
        """Return the tenant's folder; its name comes from the registry's id alone."""
        if not _ID.fullmatch(tenant_id):
            raise ValueError("A tenant's id is 32 hexadecimal digits.")
        return self._root / tenant_id[:2] / tenant_id

    def file(self, tenant_id: str) -> Path:
        """Return the path of the tenant's database."""
        return self.folder(tenant_id) / "main.sqlite3"

    def signature(self, tenant_id: str) -> Signature | None:
        """Return what differs whenever somebody has written to the tenant's file, None where there is none; opens nothing."""
        return signature_of(f"{self._root}/{tenant_id[:2]}/{tenant_id}/main.sqlite3")

    def open(self, tenant: ResolvedTenant) -> Connection:
        """Open the tenant's file for its pool.

        Raises `TenantBusy` while the file is sealed, `DatabaseUnreadable` when it is missing, foreign or damaged; the
        latter holds for this tenant alone for 30 s, so that a broken file costs the others nothing.
        """
        self._refuse_broken(tenant)
        self._refuse_moving(tenant)
        try:
            connection = self.open_file(tenant.id, max_bytes=tenant.max_bytes)
        except DatabaseUnreadable as error:
            # A file that is being moved looks broken; the seal tells the two apart.
            self._refuse_moving(tenant)
            self.trip(tenant, str(error))
            raise
        try:
            self._refuse_moving(tenant)
        except BaseException:
            connection.close()
            raise
        return connection

    def open_file(
        self, tenant_id: str, *, guarded: bool = True, max_bytes: int | None = None, any_age: bool = False
    ) -> Connection:
        """Open a tenant's file and check that it is this tenant's, of today; raises `DatabaseUnreadable`, saying why.

        With `guarded=False` the connection is one for upkeep: it may VACUUM and ATTACH. With `any_age` it may be a file
        that lacks what has been archived already.
        """
        path = self.file(tenant_id)
        self._refuse_links(path)
        try:
            connection = connect(path, self._keys.database_key(tenant_id), guarded=guarded, max_bytes=max_bytes)
        except driver.OperationalError as error:
            raise DatabaseUnreadable(f"{path.name} of {tenant_id} cannot be opened: {error}.") from None
        except driver.DatabaseError as error:
            raise DatabaseUnreadable(
                f"{path.name} of {tenant_id} is damaged, cut short, or another tenant's: {error}."
            ) from None
        try:
            self._refuse_foreign(connection, tenant_id)
            if not any_age:
                self._refuse_older(connection, tenant_id)
        except BaseException:
            connection.close()
            raise
        return connection

    def trip(self, tenant: ResolvedTenant, why: str) -> None:
        """Stop opening the tenant's file for 30 s in this process, and say so in the ledger."""
        with self._guard:
            self._broken[tenant.id] = (time.monotonic() + BREAKER_SECONDS, tenant.generation, why)
        self.forget_idle(tenant.id)
        self._ledger.record("database_unreadable", tenant.id, why=why)

    def is_current(self, key: tuple[str, int]) -> bool:
        """Say whether (tenant id, generation) is how the registry has it now, and not sealed."""
        return self._registry.placement(key[0]) == ("ready", key[1])

    @contextmanager
    def drained(self, tenant_id: str) -> Iterator[Drained]:
        """Seal the tenant, wait until no process has its file, and yield it, locked against all others.

        Processes see the seal at their next look at the registry (at most 1 s) and close what is idle. Raises `Refused`
        after 10 s, with the tenant serving again. Whoever is killed inside leaves the seal; `recover` takes it away.
        """
        with file_lock(self._mover(tenant_id)):
            self._place(tenant_id, "sealed")
            try:
                with self._alone(tenant_id) as drained:
                    yield drained
            finally:
                self._settle(tenant_id)

    def recover(self, tenant_id: str) -> bool:
        """Let a sealed tenant serve again whose mover was killed; returns False while the mover is at work."""
        with file_lock_if_free(self._mover(tenant_id)) as is_free:
            if is_free and self._registry.placement(tenant_id) is not None:
                self._settle(tenant_id)
        return is_free

    @contextmanager
    def _alone(self, tenant_id: str) -> Iterator[Drained]:
        path, deadline = self.file(tenant_id), time.monotonic() + DRAIN_SECONDS
        while True:
            self.forget_idle(tenant_id)
            try:
                connection = self._exclusive(tenant_id)
            except DatabaseUnreadable:
                with _locked_by_hand(path) as is_alone:
                    if is_alone:
                        yield Drained(path, None)
                        return
            except driver.OperationalError:
                pass  # "database is locked": somebody still has it
            else:
                try:
                    yield Drained(path, connection)
                finally:
                    connection.close()
                return
            if time.monotonic() > deadline:
                raise Refused(
                    "The tenant's file stayed in use for 10 s. Stop what holds it open (an import, a shell) and try again."
                )
            time.sleep(0.05)

    def _exclusive(self, tenant_id: str) -> Connection:
        connection = self.open_file(tenant_id, guarded=False, any_age=True)
        try:
            connection.execute("PRAGMA busy_timeout = 100")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # SQLite leaves WAL only for somebody who has the file alone, so this is the proof.
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")  # the lock stays, in this locking mode
        except driver.OperationalError:
            connection.close()
            raise
        except driver.DatabaseError as error:
            connection.close()
            raise DatabaseUnreadable(f"The file of {tenant_id} is damaged: {error}.") from None
        return connection

    def _settle(self, tenant_id: str) -> None:
        """End what a mover began: the half-made file goes, the key is the one that opens the file, the seal is taken away."""
        path = self.file(tenant_id)
        for leftover in ("", *_BESIDE):
            path.with_name(path.name + INCOMING + leftover).unlink(missing_ok=True)
        self._choose_key(tenant_id)
        self._place(tenant_id, "ready")

    def _choose_key(self, tenant_id: str) -> None:
        pending = self._keys.pending(tenant_id)
        if pending is None:
            return
        if _opens(self.file(tenant_id), self._keys.database_key(tenant_id, pending)):
            self._keys.activate(tenant_id, pending)
        elif _opens(self.file(tenant_id), self._keys.database_key(tenant_id)):
            self._keys.drop(tenant_id, pending)

    def _mover(self, tenant_id: str) -> Path:
        return self._locks / f"move-{tenant_id[:2]}"

    def _place(self, tenant_id: str, placement: str) -> None:
        with self._registry_engine.begin() as connection:
            connection.execute(
                update(Tenant)
                .where(Tenant.id == tenant_id)
                .values(placement=placement, generation=Tenant.generation + (1 if placement == "sealed" else 0))
            )

    def _refuse_broken(self, tenant: ResolvedTenant) -> None:
        until, generation, why = self._broken.get(tenant.id, (0.0, 0, ""))
        if time.monotonic() < until and generation == tenant.generation:
            raise DatabaseUnreadable(why)

    def _refuse_moving(self, tenant: ResolvedTenant) -> None:
        if not self.is_current((tenant.id, tenant.generation)):
            raise TenantBusy(f"{tenant.slug} is being moved, restored or upgraded.")

    def _refuse_links(self, path: Path) -> None:
        # lstat alone: closing a descriptor of a database file would drop this process's locks on it.
        for part in (path, path.parent, path.parent.parent):
            if part.is_symlink():
                raise DatabaseUnreadable(f"{part} is a symbolic link; a tenant's data must lie in its own folder.")
        if not os.path.lexists(path):
            raise DatabaseUnreadable(f"{path} is missing.")

    def _refuse_foreign(self, connection: Connection, tenant_id: str) -> None:
        try:
            row = connection.execute("SELECT tenant_id FROM stamp").fetchone()
        except driver.DatabaseError as error:
            raise DatabaseUnreadable(f"The file of {tenant_id} carries no stamp: {error}.") from None
        if row is None or row[0] != tenant_id:
            raise DatabaseUnreadable(f"The file in the place of {tenant_id} carries the stamp of {row and row[0]}.")

    def _refuse_older(self, connection: Connection, tenant_id: str) -> None:
        # Each page is authentic in an older copy of a file too; only what is known outside it tells.
        archived = self._ledger.archived_up_to(tenant_id)
        if archived is None:
            return
        found = last_event(connection)
        if found < archived:
            raise DatabaseUnreadable(
                f"The file of {tenant_id} is older than its newest copy: it ends with event {found[1]} and the copy with "
                f"{archived[1]}. Bring the copy back: freehold backups restore SLUG --at latest --replace."
            )


def last_event(connection: Connection) -> tuple[int, int]:
    """Return where a tenant's file ends: its epoch and the id of its last event, 0 where there is none yet."""
    epoch: int = connection.execute("SELECT epoch FROM stamp").fetchone()[0]
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'event'").fetchone() is None:
        return epoch, 0  # a file from before there were events
    return epoch, connection.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]


def _opens(path: Path, key: bytes) -> bool:
    """Tell whether the key opens the file; raises `OperationalError` for one that cannot be had right now, which says nothing."""
    try:
        connect(path, key).close()
    except driver.OperationalError:
        raise
    except driver.DatabaseError:
        return False
    return True


@contextmanager
def _locked_by_hand(path: Path) -> Iterator[bool]:
    """Hold the lock that keeps every SQLite connection out, for a file that SQLite cannot open; yields whether it is held.

    Nothing else in this process may have the file open: closing it would drop our lock.
    """
    if path.is_symlink() or not path.is_file():  # we open no link, and SQLite nothing but a file
        yield True
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
