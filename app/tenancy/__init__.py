"""The tenancy core: one tenant's data for one piece of work, and no way to reach another's.

Read in this order: names, database, keys, context, registry, placements, pool, binding, requests, lifecycle, domains,
schema, due, jobs.
"""

from __future__ import annotations

import os
import resource
import weakref
from contextlib import closing

from flask import Flask, current_app
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import QueuePool
from werkzeug.local import LocalProxy

from app.config import Config
from app.tenancy import rebuilding
from app.tenancy.binding import LEDGER, REGISTRY, TENANT, LedgerModel, RegistryModel, TenantModel, db
from app.tenancy.context import (
    ResolvedTenant,
    current_scope,
    current_tenant,
    platform_context,
    tenant_context,
)
from app.tenancy.database import Connection, Timestamp, connect, refuse_old_sqlite, utcnow
from app.tenancy.domains import Domains
from app.tenancy.errors import CannotStart, DatabaseUnreadable, DiskFull, QuotaExceeded, TenantBusy
from app.tenancy.keys import Keys, load_master_key
from app.tenancy.ledger import Ledger
from app.tenancy.lifecycle import Lifecycle
from app.tenancy.locks import file_lock
from app.tenancy.placements import Placements
from app.tenancy.pool import TenantPool
from app.tenancy.registry import Registry
from app.tenancy.requests import TenancyMiddleware, refuse
from app.tenancy.schema import Schema, migrate_central

__all__ = [
    "LedgerModel",
    "RegistryModel",
    "ResolvedTenant",
    "Tenancy",
    "TenantModel",
    "Timestamp",
    "current_scope",
    "current_tenant",
    "current_version",
    "db",
    "platform_context",
    "tenancy",
    "tenant_context",
    "utcnow",
]

DESCRIPTORS_PER_TENANT = 3
DESCRIPTORS_BESIDE = 256
DESCRIPTORS_WANTED = 8192  # a restore may open a thousand packs at once

_installations: weakref.WeakSet[Tenancy] = weakref.WeakSet()


class Tenancy:
    """The core of one installation, its parts in the order in which they need one another."""

    def __init__(self, config: Config) -> None:
        self.config = config
        refuse_old_sqlite()
        _raise_descriptor_limit(config.max_open_tenants)
        self.keys = self._load_keys()
        self.engines: dict[str, Engine] = {key: self._central_engine(key) for key in (REGISTRY, LEDGER)}
        self.ledger = Ledger(self.engines[LEDGER], lambda: self._open_central(LEDGER))
        self.registry = Registry(lambda: self._open_central(REGISTRY))
        self.placements = Placements(
            config.tenants_data,
            config.instance / "locks",
            self.keys,
            self.ledger,
            self.registry,
            self.engines[REGISTRY],
        )
        self.pool = TenantPool(self.placements.open, self.placements.is_current, config.max_open_tenants)
        self.placements.forget_idle = self.pool.discard
        self.engines[TENANT] = create_engine("sqlite+sqlcipher3://", pool=self.pool, hide_parameters=True)
        event.listen(self.engines[TENANT], "handle_error", self._translate)
        self.schema = Schema(config.instance, config.home, self.keys, self.placements, self.ledger, self.engines)
        self.lifecycle = Lifecycle(self)
        self.domains = Domains(self)
        _installations.add(self)

    def init_app(self, app: Flask) -> None:
        """Put the core around `app`."""
        app.extensions["tenancy"] = self
        app.config["SQLALCHEMY_BINDS"] = dict.fromkeys((REGISTRY, LEDGER, TENANT), "sqlite+sqlcipher3://")
        db.init_app(app)
        app.wsgi_app = TenancyMiddleware(app.wsgi_app, self)  # type: ignore[method-assign]
        app.before_request(refuse)

    def close(self) -> None:
        """Close every connection of this process: no connection may cross a fork."""
        self.pool.dispose()
        for engine in self.engines.values():
            engine.dispose()
        self.registry.close()
        self.ledger.close()
        self.keys.close()

    def _load_keys(self) -> Keys:
        instance = self.config.instance
        keyring = instance / "keyring.sqlite3"
        instance.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file_lock(instance / "locks" / "start"):
            rebuilding.refuse_half(self.config)
            file = self.config.master_key_file
            found = Keys(load_master_key(file, first_start=not keyring.exists()), keyring, file)
            found.prepare()
            for central in (REGISTRY, LEDGER):
                found.make(central)
                migrate_central(instance / f"{central}.sqlite3", found.database_key(central), central)
        return found

    def _open_central(self, name: str) -> Connection:
        return connect(self.config.instance / f"{name}.sqlite3", self.keys.database_key(name), guarded=True)

    def _central_engine(self, name: str) -> Engine:
        return create_engine(
            "sqlite+sqlcipher3://",
            creator=lambda: self._open_central(name),
            poolclass=QueuePool,
            pool_size=2,
            max_overflow=-1,
            hide_parameters=True,
        )

    def _translate(self, failure: ExceptionContext) -> None:
        """Turn damage met in the middle of a query into this tenant's own trouble, and a full file into its quota."""
        message = str(failure.original_exception)
        scope = current_scope()
        if scope is None or scope.tenant is None:
            return
        if any(sign in message for sign in ("malformed", "not a database", "disk I/O error")):
            self.placements.trip(scope.tenant, message)
            raise DatabaseUnreadable(message) from failure.original_exception
        if "database is locked" in message:
            raise TenantBusy(
                f"The file of {scope.tenant.slug} stayed locked: {message}."
            ) from failure.original_exception
        if "is full" in message:
            raise self._without_room(scope.tenant) from failure.original_exception

    def _without_room(self, tenant: ResolvedTenant) -> QuotaExceeded | DiskFull:
        """Tell a file that has reached its plan's size from a disk with no room."""
        used = self.placements.file(tenant.id).stat().st_size
        if tenant.max_bytes is not None and used + (1 << 20) > tenant.max_bytes:
            return QuotaExceeded("storage", tenant.max_bytes, used, unit="bytes")
        return DiskFull(f"There is no room on the disk for {tenant.slug}.")


def _raise_descriptor_limit(max_open_tenants: int) -> None:
    needed = max_open_tenants * DESCRIPTORS_PER_TENANT + DESCRIPTORS_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotStart(
            f"This process may open {hard} files and {max_open_tenants} tenants need {needed}. Raise the limit "
            "(`ulimit -n`, or LimitNOFILE= in the systemd unit), or lower FREEHOLD_MAX_OPEN_TENANTS."
        )
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft < max(needed, wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, wanted), hard))


def current_version() -> int:
    """Return the version of the current tenant's public content; it moves with every change of it, and with a restore."""
    with closing(tenancy.pool.connect()) as connection:
        return connection.execute("SELECT (epoch << 32) + version FROM stamp").fetchone()[0]


def _close_all() -> None:
    for installation in list(_installations):
        installation.close()


os.register_at_fork(before=_close_all)


tenancy: Tenancy = LocalProxy(lambda: current_app.extensions["tenancy"])  # type: ignore[assignment]
