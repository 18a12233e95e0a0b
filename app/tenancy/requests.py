"""From the Host header to the tenant's context, around the whole application.

It is WSGI middleware because Flask opens its session before any `before_request` function could choose the tenant.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import request

from app.tenancy.context import ResolvedTenant, platform_context, tenant_context
from app.tenancy.errors import (
    FreeholdError,
    TenantBusy,
    TenantGone,
    TenantMismatch,
    TenantSuspended,
    UnknownHost,
)
from app.tenancy.names import request_host

if TYPE_CHECKING:
    from app.tenancy import Tenancy

PLATFORM_SIDE = "platform"
HOSTLESS = ("/healthz", "/readyz")
READING = ("GET", "HEAD", "OPTIONS")

_STATES: dict[str, type[FreeholdError]] = {
    "provisioning": TenantBusy,
    "suspended": TenantSuspended,
    "archived": TenantGone,
    "deleted": TenantGone,
}


class TenancyMiddleware:
    """Enters the context of the host's tenant, or lets the application answer why it does not.

    `freehold.refusal` in the environment holds the error to answer with, which web may have put there (`serve.fair`),
    `freehold.side` which half of the URL map serves.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], tenancy: Tenancy) -> None:
        self._application = application
        self._tenancy = tenancy

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        scope: dict[str, Any] = {
            "origin": "request",
            "writes": environ["REQUEST_METHOD"] not in READING and "freehold.refusal" not in environ,
            "request_id": secrets.token_hex(8),
        }
        environ["freehold.request_id"] = scope["request_id"]
        host = request_host(environ.get("HTTP_HOST", ""))
        if host == self._tenancy.config.platform_host:
            environ["freehold.side"] = PLATFORM_SIDE
            with platform_context(**scope):
                return self._application(environ, start_response)
        environ["freehold.side"] = ""
        try:
            tenant = self._resolve(host, environ)
        except FreeholdError as refusal:
            environ["freehold.refusal"] = refusal
            with platform_context(**scope):
                return self._application(environ, start_response)
        with tenant_context(tenant, **scope):
            return self._application(environ, start_response)

    def _resolve(self, host: str | None, environ: dict[str, Any]) -> ResolvedTenant:
        tenant = self._tenancy.registry.resolve(host) if host else None
        if tenant is None:
            raise UnknownHost(host)
        environ["freehold.resolved"] = tenant
        if tenant.state != "active":
            raise _STATES[tenant.state](tenant.slug)
        if tenant.placement != "ready":
            raise TenantBusy(tenant.slug)
        named = environ.get("HTTP_X_TENANT_ID")
        if named is not None and named != tenant.id:
            other = self._tenancy.registry.by_id(named)
            self._tenancy.ledger.record_meeting(
                "tenant_mismatch", tenant.id, other.id if other else "", by="X-Tenant-Id"
            )
            raise TenantMismatch(named)
        self._tenancy.schema.require_current(tenant)
        return tenant


def refuse() -> None:
    """Raise what the middleware found, so that the error handlers answer it; the first of the before-request functions."""
    refusal = request.environ.get("freehold.refusal")
    if refusal is not None and request.path not in HOSTLESS:
        raise refusal
