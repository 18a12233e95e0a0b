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
        self._opening = 0
        self._janitor_of: int | None = None
        self.counters = Counters()
        event.listen(self, "checkout", refuse_wrong_tenant)

    def recreate(self) -> TenantPool:
        """Return this pool, emptied by `dispose`: a second one beside it would double what may be open."""
        return self

    def dispose(self) -> None:
        """Close every idle connection."""
        with self._guard:
            for key in list(self._idle):
                self._drop_idle(key)

    def discard(self, tenant_id: str) -> None:
        """Close the idle connections of one tenant."""
        with self._guard:
            for key in [key for key in self._idle if key[0] == tenant_id]:
                self._drop_idle(key)

    def status(self) -> str:
        return f"{len(self._leased)} leased, {self.idle_count()} idle, limit {self._limit}; {self.counters}"

    def idle_count(self) -> int:
        """Return how many connections wait to be used."""
        return sum(len(entries) for entries in list(self._idle.values()))

    def leased_count(self) -> int:
        """Return how many connections are in use."""
        return len(self._leased)

    def _do_get(self) -> ConnectionPoolEntry:
        scope = require_scope("A tenant's database")
        assert scope.tenant is not None
        key = (scope.tenant.id, scope.tenant.generation)
        with self._guard:
            self._start_janitor()
            record = self._take_idle(key)
            if record is None:
                self._admit()
                self._opening += 1
            else:
                self.counters.hits += 1
                self._leased[record] = (time.monotonic(), scope)
        if record is None:
            record = self._open_record(scope)
        scope.leases += 1
        _set_mode(record, scope.writes)
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        with self._guard:
            _, scope = self._leased.pop(record)
            scope.leases -= 1
            connection = record.dbapi_connection
            if connection is None or connection.in_transaction:
                record.close()
                return
            key = (record.info["tenant"], record.info["generation"])
            self._idle.setdefault(key, []).append((time.monotonic(), record))
            self._idle.move_to_end(key)

    def _open_record(self, scope: Scope) -> ConnectionPoolEntry:
        record = None
        try:
            record = self._create_connection()
            return record
        finally:
            # In one hold of the lock: a connection that is counted nowhere for a moment lets one too many in.
            with self._guard:
                self._opening -= 1
                self.counters.opens += 1
                if record is not None:
                    self._leased[record] = (time.monotonic(), scope)

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

    def _admit(self) -> None:
        if len(self._leased) + self._opening + self.idle_count() < self._limit:
            return
        if not self._idle:
            self.counters.refusals += 1
            raise PoolExhausted(f"All {self._limit} connections of this process are in use.")
        key, entries = next(iter(self._idle.items()))
        _, record = entries.pop(0)
        if not entries:
            del self._idle[key]
        record.close()
        self.counters.evictions += 1

    def _drop_idle(self, key: Key) -> None:
        for _, record in self._idle.pop(key, []):
            record.close()

    def _start_janitor(self) -> None:
        if self._janitor_of != os.getpid():
            self._janitor_of = os.getpid()
            threading.Thread(target=self._keep_house, name="tenant-pool", daemon=True).start()

    def _keep_house(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            self.tidy()

    def tidy(self) -> None:
        """Close connections that are idle too long or of an older generation; interrupt leases that are too long."""
        now = time.monotonic()
        with self._guard:
            for key in list(self._idle):
                if self._idle[key][-1][0] < now - IDLE_SECONDS or not self._is_current(key):
                    self._drop_idle(key)
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


def _set_mode(record: ConnectionPoolEntry, writes: bool) -> None:
    if record.info["writes"] is not writes and record.dbapi_connection is not None:
        record.dbapi_connection.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        record.info["writes"] = writes
