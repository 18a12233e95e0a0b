"""Log lines: one JSON object each, on stderr, with the tenant's and the request's id, never with a secret.

Nothing is kept or sent: where stderr is closed, lines are lost and work goes on.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import structlog
from flask import Flask, request
from werkzeug.wsgi import ClosingIterator

from app.tenancy.context import current_scope

SECRET_WORDS = ("password", "passphrase", "token", "cookie", "secret", "authorization", "csrf", "key")
REDACTED = "[redacted]"
QUIET = ("/healthz", "/readyz", "/static/")

Line = MutableMapping[str, Any]


def configure(level: str = "info") -> None:
    """Send every line of ours and of the libraries through one chain to stderr."""
    shared: list[Any] = [_add_scope, redact, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    finish: list[Any] = [structlog.processors.format_exc_info, _as_json]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    handler = LibraryHandler(Stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, LibraryHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    # What libraries tell about their daily work is of no use here; what worries them is.
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


class Stderr:
    """Standard error, as it is at the moment of writing."""

    def write(self, text: str) -> None:
        """Write, or lose the line: a full disk or a closed pipe must not stop the work."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush what was written."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class LibraryHandler(logging.StreamHandler[Any]):
    """Takes the lines of libraries that log in the standard way."""


def init_app(app: Flask) -> None:
    """Write one line for each request of `app`, refused ones included."""
    configure(app.config["FREEHOLD"].log_level)
    app.wsgi_app = AccessLog(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_hide_secret_path)


class AccessLog:
    """Wraps the app and writes a line when an answer has been handed over."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app
        self.log = structlog.get_logger("access").bind()  # bound once: a lazy logger takes twice as long a line

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(QUIET):
            return self.app(environ, start_response)
        began, answer = time.perf_counter(), [""]

        def note_status(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            answer[0] = status[:3]
            return start_response(status, headers, *rest)

        def write_line() -> None:
            self.log.info(
                "request_answered",
                **_whose(environ),
                method=environ["REQUEST_METHOD"],
                host=environ.get("HTTP_HOST", ""),
                path=environ.get("freehold.path") or environ["PATH_INFO"],
                status=answer[0],
                ms=round((time.perf_counter() - began) * 1000, 1),
            )

        return ClosingIterator(self.app(environ, note_status), write_line)


def redact(logger: Any, method: str, line: Line) -> Line:
    """Blank the values whose names speak of a secret, inside dictionaries too."""
    for name, value in line.items():
        if _is_secret(name):
            line[name] = REDACTED
        elif isinstance(value, dict):
            line[name] = redact(logger, method, dict(value))
    return line


@lru_cache(maxsize=1024)
def _is_secret(name: object) -> bool:
    return any(word in str(name).lower() for word in SECRET_WORDS)


def _hide_secret_path() -> None:
    """Where the address itself carries a secret, note the rule in its place."""
    if request.view_args and request.url_rule and any(map(_is_secret, request.view_args)):
        request.environ["freehold.path"] = request.url_rule.rule


# Made once: `json.dumps` with a default makes an encoder for each line.
_encode = json.JSONEncoder(default=str).encode


def _as_json(logger: Any, method: str, line: Line) -> str:
    return _encode(line)


def _whose(environ: dict[str, Any]) -> Line:
    """Return the ids that the tenancy core left in the request's environment; its scope is over by now."""
    tenant = environ.get("freehold.resolved")
    request_id = {"request_id": environ.get("freehold.request_id", "")}
    return {**request_id, "tenant": tenant.id} if tenant else request_id


def _add_scope(logger: Any, method: str, line: Line) -> Line:
    """Add the ids of the scope at hand, which jobs and commands have without a request."""
    scope = current_scope()
    if scope is not None:
        line.setdefault("request_id", scope.request_id)
        if scope.tenant is not None:
            line["tenant"] = scope.tenant.id
    return line
