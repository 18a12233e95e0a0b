"""Web's worker: of one tenant's requests, so many are at work at once in a process; the others wait in line without a thread.

Were the threads taken in the order in which requests come, a few slow pages of one tenant would have all of them, and everybody
else would wait. The share leaves a thread of every process to the others, so processes need not count together. A line that is
long already grows no longer: whoever comes then is told to come back.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from app.facilities import settings
from app.tenancy import ResolvedTenant
from app.tenancy.errors import TenantCrowded
from app.tenancy.names import request_host

LONGEST_LINE = 100  # requests of one tenant, in each process

Resume = Callable[[], None]


class InLine(BaseException):
    """The request waits for its turn; the thread is free. Nobody between here and the thread's end may take it for an error."""


class Lines:
    """Which tenants are at work with how many requests, and what waits for them to end."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work: Counter[str] = Counter()
        self._waiting: dict[str, deque[Resume]] = {}

    def enter(self, tenant_id: str, share: int, resume: Resume) -> bool:
        """Return whether a request may begin; else `resume` is called when it may. Raises `TenantCrowded`."""
        with self._guard:
            if self._at_work[tenant_id] < share:
                self._at_work[tenant_id] += 1
                return True
            line = self._waiting.setdefault(tenant_id, deque())
            if len(line) >= LONGEST_LINE:
                raise TenantCrowded
            line.append(resume)
            return False

    def leave(self, tenant_id: str) -> None:
        """Give the place of a request that has ended to the next in line."""
        with self._guard:
            line = self._waiting.get(tenant_id)
            resume = line.popleft() if line else None
            if resume is None:
                self._at_work[tenant_id] -= 1
            if not line:
                self._waiting.pop(tenant_id, None)
            if not self._at_work[tenant_id]:
                del self._at_work[tenant_id]
        if resume is not None:
            resume()


@dataclass
class Parsed:
    """Stands in for a connection's parser once, to hand out the request that was read before it went into line."""

    connection: TConn
    parser: Any
    request: Any

    def __next__(self) -> Any:
        self.connection.parser = self.parser
        return self.request


class FairWorker(ThreadWorker):
    """Gunicorn's worker of threads, fair to tenants."""

    wsgi: Any

    def load_wsgi(self) -> None:
        """Take the application, and tell it which requests are one too many."""
        super().load_wsgi()
        self._application = self.wsgi
        self._tenancy = self.wsgi.extensions["tenancy"]
        self._lines = Lines()
        self._here = threading.local()
        self.wsgi = self._serve

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Serve a request that has its turn, or refuse it; raises `InLine` for one that must wait."""
        self._here.refusal = turn = None
        try:
            turn = self._turn_of(conn) or self._enter(req, conn)
        except TenantCrowded as refusal:
            self._here.refusal = refusal
        try:
            return super().handle_request(req, conn)
        finally:
            self._leave(turn)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Leave a connection alone that waits in line."""
        if fs.cancelled() or not isinstance(fs.exception(), InLine):
            self._leave(self._turn_of(conn))  # of one that ended before it came to work
            super().finish_request(conn, fs)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._here.refusal is not None:
            environ["freehold.refusal"] = self._here.refusal
        return self._application(environ, start_response)

    def _enter(self, req: Any, conn: TConn) -> str | None:
        """Return whose turn it is, None where nobody takes turns."""
        host = request_host(next((value for name, value in req.headers if name == "HOST"), ""))
        tenant = self._tenancy.registry.resolve(host) if host else None
        if tenant is None:
            return None
        if not self._lines.enter(tenant.id, self._share(tenant), partial(self._resume, conn, req, tenant.id)):
            raise InLine
        return tenant.id

    def _leave(self, turn: str | None) -> None:
        if turn is not None:
            self._lines.leave(turn)

    def _resume(self, conn: TConn, req: Any, turn: str) -> None:
        """Have a thread go on with a request that was in line."""
        conn.parser, conn.turn = Parsed(conn, conn.parser, req), turn
        with suppress(RuntimeError):  # the process ends, and its threads take nothing more
            self.enqueue_req(conn)

    def _turn_of(self, conn: TConn) -> str | None:
        return conn.__dict__.pop("turn", None)

    def _share(self, tenant: ResolvedTenant) -> int:
        """Return how many requests of a tenant are at work at once: as its plan has it, and never on the last thread."""
        name, known = "requests_at_once", self._tenancy.registry.settings()
        of_plan = known.get(f"{name}:{tenant.tier}") or settings.DEFAULTS[name]
        return max(1, min(int(of_plan), self.cfg.threads - 1))
