"""Where a tenant's data lies, how its file is opened, and how its house is emptied before anybody moves it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlcipher3.dbapi2 as driver
from sqlalchemy import Engine, update

from app.tenancy.context import ResolvedTenant
from app.tenancy.database import Connection, connect
from app.tenancy.errors import DatabaseUnreadable, Refused, TenantBusy
from app.tenancy.keys import Keys
from app.tenancy.ledger import Ledger
from app.tenancy.registry import Registry, Tenant

BREAKER_SECONDS = 30
DRAIN_SECONDS = 10

UNSETTLED_NS = 50_000_000

_ID = re.compile(r"[0-9a-f]{32}")


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

    @property
    def is_settled(self) -> bool:
        """Whether any further write would show in it: the clock of a disk is coarse."""
        return time.time_ns() - self.newest > UNSETTLED_NS


class Placements:
    """The folders and files of the tenants of one installation."""

    def __init__(self, root: Path, keys: Keys, ledger: Ledger, registry: Registry, registry_engine: Engine) -> None:
        self._root = root
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
        """Return what differs whenever somebody has written to the tenant's file, None where there is none; opens nothing.

        An empty log says only that somebody reads.
        """
        path = f"{self._root}/{tenant_id[:2]}/{tenant_id}/main.sqlite3"
        try:
            main = os.stat(path)  # noqa: PTH116 (ten thousand of them a second)
        except OSError:
            return None
        try:
            log = os.stat(path + "-wal")  # noqa: PTH116
        except OSError:
            return Signature(main.st_mtime_ns, main.st_size, 0, 0)
        return Signature(main.st_mtime_ns, main.st_size, log.st_mtime_ns if log.st_size else 0, log.st_size)

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

    def open_file(self, tenant_id: str, *, guarded: bool = True, max_bytes: int | None = None) -> Connection:
        """Open a tenant's file and check that it is this tenant's; raises `DatabaseUnreadable`, saying why.

        With `guarded=False` the connection is one for upkeep: it may VACUUM and ATTACH.
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
    def drained(self, tenant_id: str) -> Iterator[Path]:
        """Seal the tenant, wait until no process has its file, and yield the file's path, locked against all others.

        Processes see the seal at their next look at the registry (at most 1 s) and close what is idle. Raises `Refused`
        after 10 s, with the tenant serving again.
        """
        self._place(tenant_id, "sealed")
        try:
            owner = self._alone(tenant_id)
            try:
                yield self.file(tenant_id)
            finally:
                owner.close()
        finally:
            self._place(tenant_id, "ready")

    def _alone(self, tenant_id: str) -> Connection:
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            self.forget_idle(tenant_id)
            connection = self.open_file(tenant_id, guarded=False)
            try:
                connection.execute("PRAGMA busy_timeout = 100")
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                # SQLite leaves WAL only for somebody who has the file alone, so this is the proof.
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("BEGIN EXCLUSIVE")
                return connection
            except driver.OperationalError:
                connection.close()
            if time.monotonic() > deadline:
                raise Refused(
                    "The tenant's file stayed in use for 10 s. Stop what holds it open (an import, a shell) and try again."
                )
            time.sleep(0.05)

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
