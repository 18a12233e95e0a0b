"""One pool for all tenants' connections, keyed by tenant and generation.

A stock pool whose `creator` reads the context leaks: it hands a connection made for one tenant to whoever asks next.
Here a connection is found by its tenant, and checkout asserts once more that it is the current one's.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

from app.tenancy.context import ResolvedTenant, Scope, current_scope, require_scope
from app.tenancy.database import Connection
from app.tenancy.errors import PoolExhausted, WrongTenant

IDLE_SECONDS = 300
LEASE_SECONDS = 10
TICK_SECONDS = 1

Key = tuple[str, int]  # tenant id, generation


@dataclass
class Counters:
    """What the pool has done since the process started."""

    opens: int = 0
    hits: int = 0
    evictions: int = 0
    refusals: int = 0
    interrupts: int = 0


class TenantPool(Pool):
    """Connections to tenants' files, bounded in number; the least recently used goes first, never one in use."""

    def __init__(
        self,
        open_file: Callable[[ResolvedTenant], Connection],
        is_current: Callable[[Key], bool],
        limit: int,
    ) -> None:
        super().__init__(self._open_current)  # type: ignore[arg-type]
        self._open_file = open_file
        self._is_current = is_current
        self._limit = limit
        self._guard = threading.RLock()
        self._idle: OrderedDict[Key, list[tuple[float, ConnectionPoolEntry]]] = OrderedDict()
        self._leased: dict[ConnectionPoolEntry, tuple[float, Scope]] = {}
        self._count = 0  # idle, in use, and being opened
        self._janitor_of: int | None = None
        self.counters = Counters()
        event.listen(self, "checkout", refuse_wrong_tenant)
        event.listen(self, "checkout", set_mode)

    def recreate(self) -> TenantPool:
        """Return this pool, emptied by `dispose`: a second one beside it would double what may be open."""
        return self

    def dispose(self) -> None:
        """Close every idle connection."""
        self._close(lambda _: True)

    def discard(self, tenant_id: str) -> None:
        """Close the idle connections of one tenant."""
        self._close(lambda key: key[0] == tenant_id)

    def status(self) -> str:
        return f"{len(self._leased)} leased, {self.idle_count()} idle, limit {self._limit}; {self.counters}"

    def idle_count(self) -> int:
        """Return how many connections wait to be used."""
        return self._count - len(self._leased)

    def leased_count(self) -> int:
        """Return how many connections are in use."""
        return len(self._leased)

    def _do_get(self) -> ConnectionPoolEntry:
        scope = require_scope("A tenant's database")
        assert scope.tenant is not None
        key = (scope.tenant.id, scope.tenant.generation)
        spare = None
        with self._guard:
            self._start_janitor()
            record = self._take_idle(key)
            if record is None:
                spare = self._admit()
            else:
                self.counters.hits += 1
        if spare is not None:
            spare.close()
        if record is None:
            record = self._open_record()
        with self._guard:
            self._leased[record] = (time.monotonic(), scope)
        scope.leases += 1
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        with self._guard:
            _, scope = self._leased.pop(record)
            scope.leases -= 1
            connection = record.dbapi_connection
            fit = connection is not None and not connection.in_transaction
            if fit:
                key = (record.info["tenant"], record.info["generation"])
                self._idle.setdefault(key, []).append((time.monotonic(), record))
                self._idle.move_to_end(key)
            else:
                self._count -= 1
        if not fit:
            record.close()

    def _open_record(self) -> ConnectionPoolEntry:
        try:
            record = self._create_connection()
        except BaseException:
            with self._guard:
                self._count -= 1
            raise
        self.counters.opens += 1
        return record

    def _open_current(self, record: ConnectionPoolEntry) -> Connection:
        tenant = require_scope("A tenant's database").tenant
        assert tenant is not None
        connection = self._open_file(tenant)
        record.info.update(tenant=tenant.id, generation=tenant.generation, writes=True)
        return connection

    def _take_idle(self, key: Key) -> ConnectionPoolEntry | None:
        entries = self._idle.get(key)
        if not entries:
            return None
        _, record = entries.pop()
        if not entries:
            del self._idle[key]
        return record

    def _admit(self) -> ConnectionPoolEntry | None:
        """Count one more in; returns the least recently used connection when that has to make room."""
        if self._count < self._limit:
            self._count += 1
            return None
        if not self._idle:
            self.counters.refusals += 1
            raise PoolExhausted(f"All {self._limit} connections of this process are in use.")
        self.counters.evictions += 1
        return self._take_idle(next(iter(self._idle)))

    def _close(self, chosen: Callable[[Key], bool]) -> None:
        """Close the idle connections of the chosen keys, outside the lock, since the last one of a file takes a while."""
        with self._guard:
            keys = [key for key in self._idle if chosen(key)]
            records = [record for key in keys for _, record in self._idle.pop(key)]
            self._count -= len(records)
        for record in records:
            record.close()

    def _start_janitor(self) -> None:
        if self._janitor_of != os.getpid():
            self._janitor_of = os.getpid()
            threading.Thread(target=self._keep_house, name="tenant-pool", daemon=True).start()

    def _keep_house(self) -> None:
        """Look after the connections while there are any; the next one opened brings the janitor back."""
        while True:
            time.sleep(TICK_SECONDS)
            self.tidy()
            with self._guard:
                if not self._count:
                    self._janitor_of = None
                    return

    def tidy(self) -> None:
        """Close connections that are idle too long or of an older generation; interrupt leases that are too long."""
        now = time.monotonic()
        self._close(lambda key: self._idle[key][-1][0] < now - IDLE_SECONDS or not self._is_current(key))
        with self._guard:
            for record, (since, _) in self._leased.items():
                if since < now - LEASE_SECONDS and record.dbapi_connection is not None:
                    record.dbapi_connection.interrupt()
                    self.counters.interrupts += 1


def refuse_wrong_tenant(connection: Connection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """Raise `WrongTenant` when a connection is handed out in the context of another tenant than it was opened for."""
    scope = current_scope()
    current = scope.tenant.id if scope and scope.tenant else "none"
    if record.info.get("tenant") != current:
        raise WrongTenant("This connection", str(record.info.get("tenant")), current)


def set_mode(connection: Connection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """Let the connection write only when the scope may."""
    scope = require_scope("A tenant's database")
    if record.info["writes"] is not scope.writes:
        connection.execute(f"PRAGMA query_only = {'OFF' if scope.writes else 'ON'}")
        record.info["writes"] = scope.writes
