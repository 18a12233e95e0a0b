"""From exception to answer: the only error handlers. People get a page, the API gets problem details (RFC 9457)."""

from __future__ import annotations

import json
from typing import Any

import structlog
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from app.tenancy import current_scope
from app.tenancy.errors import FreeholdError, TenantBusy, UnknownHost

log = structlog.get_logger(__name__)

PAGES = {
    "unknown_host": "errors/unknown_host.html",
    "tenant_suspended": "errors/suspended.html",
    "tenant_gone": "errors/gone.html",
    "tenant_busy": "errors/busy.html",
    "database_unreadable": "errors/unreadable.html",
    "not_found": "errors/not_found.html",
    "forbidden": "errors/forbidden.html",
    "error": "errors/server_error.html",
}


def init_app(app: Flask) -> None:
    app.register_error_handler(FreeholdError, answer_ours)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, answer_unforeseen)


def answer_ours(error: FreeholdError) -> Response:
    """Answer one of our own errors, whose class says how."""
    if error.status >= 500 and not isinstance(error, TenantBusy):
        log.warning("refused", code=error.code, why=str(error))
    response = _answer(error.status, error.code, error.title, error.advice, error)
    response.headers.update(error.headers)
    return response


def answer_http(error: HTTPException) -> Response:
    """Answer what Flask and Werkzeug raise; a redirect or a ready response stays as it is."""
    if error.code is None or error.code < 400 or error.response is not None:
        return error.get_response()  # type: ignore[return-value]
    code = {403: "forbidden", 404: "not_found"}.get(error.code, "http_" + str(error.code))
    response = _answer(error.code, code, error.name, error.description or "", error)
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def answer_unforeseen(error: Exception) -> Response:
    """Answer a mistake of ours: the log has the trace, the page only its number."""
    log.exception("unforeseen")
    return _answer(500, "error", FreeholdError.title, FreeholdError.advice, error)


def _answer(status: int, code: str, title: str, advice: str, error: Exception) -> Response:
    if request.path.startswith("/api/"):
        return _problem(status, code, title, advice, error)
    scope = current_scope()
    page = render_template(
        PAGES.get(code, "errors/error.html"),
        status=status,
        code=code,
        title=title,
        advice=advice,
        error=error,
        # The neutral page is the same bytes for every name.
        request_id="" if isinstance(error, UnknownHost) else scope.request_id if scope else "",
    )
    return Response(page, status=status, headers={"Cache-Control": "no-store"})


def _problem(status: int, code: str, title: str, advice: str, error: Exception) -> Response:
    body: dict[str, Any] = {
        "type": "about:blank" if code == "unknown_host" or code.startswith("http_") else f"/api/docs#{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": advice,
    }
    for name in ("quota", "limit", "used"):
        if hasattr(error, name):
            body[name] = getattr(error, name)
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/problem+json")
