"""The list of hosts that may have a certificate, kept beside the registry for those who must not open it.

A host that belongs to a tenant is on it, also while the tenant is paused or archived: that is told to visitors on a page,
and a page needs its certificate. Names that nobody added are never on it.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import structlog
from flask import Flask
from sqlalchemy import select

from app.config import Config
from app.serve.ask import allowed_hosts
from app.tenancy import db, platform_context
from app.tenancy.registry import Domain, Tenant

log = structlog.get_logger(__name__)

LOOK = 1.0  # seconds between two looks at the registry's time stamps
YOUNG = 2.0  # seconds; a stamp younger than this may hide another write, so it is looked at again
ANSWERING = ("active", "suspended", "archived")

Mark = tuple[tuple[int, int], ...]


class HostList:
    """Keeps `instance/hosts.allowed` in step with the registry."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._config: Config = app.config["FREEHOLD"]
        self._mark: Mark | None = None

    def keep(self, stop: threading.Event) -> None:
        """Look once a second until `stop` is set."""
        while True:
            try:
                self.refresh()
            except Exception:  # whatever it is, the next look comes
                log.exception("host_list_failed")
            if stop.wait(LOOK):
                return

    def refresh(self) -> bool:
        """Write the list when the registry's hosts have changed; returns whether it was written."""
        mark = self._look()
        if mark == self._mark:
            return False
        has_changed = self._write("".join(f"{host}\n" for host in self._hosts()))
        self._mark = mark if _newest(mark) < time.time() - YOUNG else None
        return has_changed

    def _look(self) -> Mark:
        """Return the time stamps (ns) and sizes (bytes) of the registry's file and its log, which opens neither."""
        registry = self._config.instance / "registry.sqlite3"
        found = [_stat(file) for file in (registry, registry.with_name(f"{registry.name}-wal"))]
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in found if stat)

    def _hosts(self) -> list[str]:
        known = select(Domain.host).join(Tenant).where(Tenant.state.in_(ANSWERING))
        with self._app.app_context(), platform_context(writes=False):
            hosts = set(db.session.scalars(known))
        return sorted({*hosts, self._config.platform_host, self._config.api_host} - {""})

    def _write(self, text: str) -> bool:
        file = allowed_hosts(self._config)
        if file.exists() and file.read_text() == text:
            return False
        fresh = file.with_suffix(".new")
        with fresh.open("w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
        return True


def _newest(mark: Mark) -> float:
    return max((stamp for stamp, _ in mark), default=0) / 1e9


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None
