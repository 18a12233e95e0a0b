"""Schemas: who owns which migrations, how a new file gets its tables, and how an old one is brought up to date.

Each owner of tables has a branch of its own under migrations/; alembic runs them on a connection of its own kind. New
tenants never replay history: they are copies of a prepared file.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlcipher3.dbapi2 as driver
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, insert, update
from sqlalchemy.pool import StaticPool

from app.tenancy.context import ResolvedTenant
from app.tenancy.database import Connection, connect, utcnow
from app.tenancy.errors import Refused, TenantBusy
from app.tenancy.ledger import Ledger, MigrationRun
from app.tenancy.locks import file_lock
from app.tenancy.placements import Placements
from app.tenancy.registry import Tenant

if TYPE_CHECKING:
    from app.tenancy.keys import Keys

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
RETRY_SECONDS = 60
UPGRADES = 2  # that one process has under way at once: after a change of the schema everybody wants one


def alembic_config(tree: str, migrations: Path = MIGRATIONS) -> AlembicConfig:
    """Return alembic's configuration for the tree "registry", "ledger" or "tenant"."""
    config = AlembicConfig()
    root = migrations / tree
    config.set_main_option("script_location", str(migrations))
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name != "__pycache__")
    config.set_main_option("version_locations", os.pathsep.join(str(path) for path in folders or [root]))
    config.set_main_option("path_separator", "os")
    return config


@cache
def heads(tree: str) -> tuple[str, ...]:
    """Return the newest revision of every owner in `tree`, sorted."""
    return tuple(sorted(ScriptDirectory.from_config(alembic_config(tree)).get_heads()))


def migrate(connection: Connection, tree: str, migrations: Path = MIGRATIONS) -> None:
    """Bring one open file to the newest revisions of `tree`, all or nothing.

    Foreign keys are off before the transaction begins: a batch change of a table would else empty its children by
    ON DELETE CASCADE. Triggers that such a change drops are made again by name; checks run before the commit.
    """
    connection.execute("PRAGMA foreign_keys = OFF")
    engine = create_engine("sqlite+sqlcipher3://", creator=lambda: connection, poolclass=StaticPool)
    with engine.begin() as bound:
        triggers = _triggers(connection)
        config = alembic_config(tree, migrations)
        config.attributes["connection"] = bound
        command.upgrade(config, "heads")
        _restore_triggers(connection, triggers)
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise Refused(f"The migration would leave rows without their parents: {broken[:5]}.")
        for table in _search_tables(connection):
            connection.execute(f"INSERT INTO {table}({table}) VALUES ('integrity-check')")  # noqa: S608
    connection.execute("PRAGMA foreign_keys = ON")


def touch_version(table: str) -> None:
    """In a migration: let every change of `table` move the stamp's version, which keys all that is cached from it."""
    from alembic import op

    for act in ("INSERT", "UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_{act.lower()}_version AFTER {act} ON {table} "  # noqa: S608
            "BEGIN UPDATE stamp SET version = version + 1; END"
        )


def _triggers(connection: Connection) -> dict[str, tuple[str, str]]:
    rows = connection.execute("SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    return {name: (table, sql) for name, table, sql in rows}


def _restore_triggers(connection: Connection, before: dict[str, tuple[str, str]]) -> None:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
    present = _triggers(connection)
    for name, (table, sql) in before.items():
        if name not in present and table in tables:
            connection.execute(sql)


def _search_tables(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%USING fts5%'"
    ).fetchall()
    return [row[0] for row in rows]


class Schema:
    """The schema of the tenants' files, as the code wants it and as the registry knows it."""

    def __init__(
        self,
        instance: Path,
        home: Path,
        keys: Keys,
        placements: Placements,
        ledger: Ledger,
        engines: dict[str, Engine],
    ) -> None:
        self._instance = instance
        self._home = home
        self._keys = keys
        self._placements = placements
        self._ledger = ledger
        self._engines = engines
        self._guard = threading.Lock()
        self._upgrades: dict[str, tuple[float, subprocess.Popen[bytes]]] = {}
        self._at_work: list[subprocess.Popen[bytes]] = []
        self.head = " ".join(heads("tenant"))

    def require_current(self, tenant: ResolvedTenant) -> None:
        """Return if the tenant's file is at the code's schema; else start its upgrade and raise `TenantBusy`.

        The upgrade runs in a process of its own, because alembic keeps global state; one that fails is tried again
        after a minute.
        """
        if tenant.schema == self.head:
            return
        with self._guard:
            began, process = self._upgrades.get(tenant.id, (0.0, None))
            finished = process is None or process.poll() is not None
            self._at_work = [other for other in self._at_work if other.poll() is None]
            is_time = process is None or began < time.monotonic() - RETRY_SECONDS
            if finished and is_time and len(self._at_work) < UPGRADES:
                begun = self._start_upgrade(tenant)
                self._upgrades[tenant.id] = (time.monotonic(), begun)
                self._at_work.append(begun)
        raise TenantBusy(f"{tenant.slug} is being upgraded.")

    def _start_upgrade(self, tenant: ResolvedTenant) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "migrate", "--tenant", tenant.slug],
            env={**os.environ, "FREEHOLD_HOME": str(self._home)},
            cwd=MIGRATIONS.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def upgrade(self, tenant: ResolvedTenant) -> bool:
        """Bring one tenant's file to the code's schema; returns whether it worked, else the tenant is parked."""
        with self._locked(f"migrate-{tenant.id[:2]}"):
            try:
                connection = self._placements.open_file(tenant.id, guarded=False)
                try:
                    migrate(connection, "tenant")
                finally:
                    connection.close()
            except Exception as error:  # whatever a migration raises, this tenant is parked and the others go on
                self._note(tenant, "parked", str(error))
                return False
            self._note(tenant, "done", "")
            with self._engines["registry"].begin() as registry:
                registry.execute(update(Tenant).where(Tenant.id == tenant.id).values(schema=self.head))
            return True

    def prepared(self) -> Connection:
        """Return a connection to the prepared file that new tenants are copied from.

        It is made when there is none, and made again when it does not open: it holds nothing that could be lost.
        """
        fingerprint = hashlib.sha256(self.head.encode()).hexdigest()[:16]
        path = self._instance / f"prepared-{fingerprint}.sqlite3"
        key = self._keys.subkey("prepared")
        try:
            return connect(path, key)
        except driver.DatabaseError:
            with self._locked("prepare"):
                try:
                    return connect(path, key)
                except driver.DatabaseError:
                    self._prepare(path, key)
                    return connect(path, key)

    def _prepare(self, path: Path, key: bytes) -> None:
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        connection = connect(unfinished, key, create=True)
        try:
            migrate(connection, "tenant")
            connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            connection.close()
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        unfinished.rename(path)

    def _note(self, tenant: ResolvedTenant, state: str, error: str) -> None:
        with self._engines["ledger"].begin() as ledger:
            changed = ledger.execute(
                update(MigrationRun)
                .where(MigrationRun.tenant_id == tenant.id)
                .values(
                    target=self.head,
                    state=state,
                    error=error,
                    at=utcnow(),
                    attempts=MigrationRun.attempts + 1,
                )
            )
            if not changed.rowcount:
                ledger.execute(
                    insert(MigrationRun).values(
                        tenant_id=tenant.id,
                        target=self.head,
                        state=state,
                        error=error,
                        at=utcnow(),
                        attempts=1,
                    )
                )

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with file_lock(self._instance / "locks" / name):
            yield


def migrate_central(path: Path, key: bytes, tree: str) -> None:
    """Make or update the registry or the ledger, under a lock between processes."""
    with file_lock(path.parent / "locks" / tree):
        connection = connect(path, key, create=True)
        try:
            if _current(connection) != heads(tree):
                migrate(connection, tree)
        finally:
            connection.close()


def _current(connection: Connection) -> tuple[str, ...]:
    try:
        return tuple(sorted(row[0] for row in connection.execute("SELECT version_num FROM alembic_version").fetchall()))
    except driver.OperationalError:
        return ()
