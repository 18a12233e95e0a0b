"""Whether a host of a tenant leads to this machine: it is asked there, as a browser would, for what is known here alone.

The answer may come from a private address, as behind a proxy or in a network with names of its own: which hosts there are,
operators alone say, and of what answered they learn no more than a status. Link-local addresses, where clouds keep their
secrets, are never asked. When nothing answers within five seconds, that is the finding.
"""

from __future__ import annotations

import hmac
import secrets

from flask import Blueprint, Response, request

from app.facilities.fetch import Address, Fetcher, FetchRefused, resolve
from app.tenancy import current_tenant, tenancy
from app.tenancy.errors import Refused
from app.tenancy.names import request_host

PROOF_BYTES = 64
LOCAL = "127.0.0.1"

blueprint = Blueprint("domains", __name__)


@blueprint.get("/.well-known/freehold/<nonce>")
def prove(nonce: str) -> Response:
    """Answer what only this installation can, for the host that was asked."""
    proof = tenancy.domains.proof(current_tenant().id, request_host(request.host) or "", nonce)
    return Response(proof, mimetype="text/plain", headers={"Cache-Control": "no-store"})


def look(text: str) -> str:
    """See whether a tenant's host leads here, and keep what was found; returns what is wrong, "" for nothing.

    Raises `Refused` when no tenant answers there, or none is served. The caller holds nothing locked: it takes its time.
    """
    tenant, host = tenancy.domains.known(text)
    if tenant.state != "active":
        raise Refused(f"{tenant.slug} is {tenant.state}. Its domains can be looked at when it is being served.")
    problem = _problem(tenant.id, host)
    tenancy.domains.note_check(tenant, host, problem)
    return problem


def _problem(tenant_id: str, host: str) -> str:
    config, nonce = tenancy.config, secrets.token_hex(16)
    fetcher = Fetcher(
        max_bytes=PROOF_BYTES, ports=frozenset((80, 443, config.port)), resolve=_resolved, permits=_may_be_asked
    )
    try:
        answer = fetcher.get(f"{config.address(host)}/.well-known/freehold/{nonce}").data
    except FetchRefused as refusal:
        return refusal.advice
    is_ours = hmac.compare_digest(answer, tenancy.domains.proof(tenant_id, host, nonce).encode())
    return "" if is_ours else f"Something else answers at {host}."


def _resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Names under localhost are this machine's (RFC 6761 section 6.3), which few systems know."""
    return [LOCAL] if host.endswith(".localhost") else resolve(host, port)


def _may_be_asked(address: Address) -> bool:
    return not (getattr(address, "ipv4_mapped", None) or address).is_link_local
