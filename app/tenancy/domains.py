"""The hosts a tenant answers to: its own under the platform's name, which stays, and the domains that it brought.

All show the same pages. One is the primary: letters lead there, and so does what the site says of itself. A change stands in
the registry, so every process knows it at its next look. Whether a host leads to this machine is another matter: who looked
says so in the ledger, and a host answers whatever was found.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection as EngineConnection
from sqlalchemy import delete, insert, select, update

from app.tenancy import names
from app.tenancy.binding import db
from app.tenancy.context import ResolvedTenant
from app.tenancy.database import utcnow
from app.tenancy.errors import InvalidName, QuotaExceeded, Refused
from app.tenancy.ledger import AuditRow
from app.tenancy.lifecycle import tell
from app.tenancy.registry import Domain

if TYPE_CHECKING:
    from app.tenancy import Tenancy

METER = "domains"
LABEL = "Own domains"
ADDED, MADE_PRIMARY, REMOVED, CHECKED = "domain_added", "domain_made_primary", "domain_removed", "domain_checked"
CHANGED = "Somebody else has changed {host} meanwhile. Look again, and then decide."


class Check(NamedTuple):
    """What was found when somebody looked where a host leads; `problem` is "" when it leads here."""

    at: datetime
    problem: str


class Domains:
    """What an operator does to the hosts of tenants. `by` is who does it, for the audit."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    def own(self, slug: str) -> str:
        """Return the host that comes with a short name."""
        return f"{slug}.{self._tenancy.config.base_domain}"

    def brought(self, tenant: ResolvedTenant) -> list[str]:
        """Return the hosts that a tenant has besides its own, the primary first."""
        return [host for host in tenant.hosts if host != self.own(tenant.slug)]

    def known(self, text: str) -> tuple[ResolvedTenant, str]:
        """Return who answers at a host, and the host as it is stored; raises `Refused` when nobody does."""
        host = names.host(text)
        tenant = self._tenancy.registry.resolve(host)
        if tenant is None:
            raise Refused(f"No tenant answers at {host}. `freehold domains list` shows those there are.")
        return tenant, host

    def add(self, tenant: ResolvedTenant, text: str, *, by: str = "") -> str:
        """Let a tenant answer at one more host from the next request on; returns the host as it is stored.

        Raises `InvalidName` for what can be no tenant's host, `Refused` when it is taken, `QuotaExceeded` when the plan is full.
        """
        host = names.host(text)
        if tenant.preview_of or tenant.state in ("provisioning", "deleted"):
            raise Refused(
                f"{tenant.slug} is {'a preview' if tenant.preview_of else tenant.state}, and gets no domains."
            )
        with self._tenancy.engines["registry"].begin() as registry:
            hosts = _hosts(registry, tenant.id)
            if host in hosts:
                raise Refused(f"{tenant.slug} answers at {host} already.")
            self.claim(registry, tenant.id, tenant.slug, [host], tenant.cap(METER), hosts)
            row = {"host": host, "tenant_id": tenant.id, "is_primary": False, "created_at": utcnow()}
            registry.execute(insert(Domain).values(**row))
        self._note(ADDED, tenant, host, by)
        return host

    def make_primary(self, text: str, *, by: str = "") -> None:
        """Have letters and the site's own address lead to this host from now on; the one of before answers on.

        Raises `Refused` when nobody answers there, or when it is the primary.
        """
        tenant, host = self.known(text)
        with self._tenancy.engines["registry"].begin() as registry:
            hosts = _hosts(registry, tenant.id)
            before = [name for name, is_primary in hosts.items() if is_primary]
            if before == [host]:
                raise Refused(f"{host} is the primary domain of {tenant.slug} already.")
            if host not in hosts:
                raise Refused(CHANGED.format(host=host))
            mine = update(Domain).where(Domain.tenant_id == tenant.id)
            registry.execute(mine.values(is_primary=Domain.host == host))
        self._note(MADE_PRIMARY, tenant, host, by, before=", ".join(before))

    def remove(self, text: str, *, by: str = "") -> None:
        """Answer at this host no more, from the next request on.

        Raises `Refused` for the tenant's own host, and for the primary while no other is.
        """
        tenant, host = self.known(text)
        self.refuse_to_remove(tenant, host)
        with self._tenancy.engines["registry"].begin() as registry:
            # Asked again with the registry held: it may have become the primary meanwhile, or another's.
            mine = delete(Domain).where(Domain.host == host, Domain.tenant_id == tenant.id, ~Domain.is_primary)
            gone = registry.execute(mine)
        if not gone.rowcount:
            raise Refused(CHANGED.format(host=host))
        self._note(REMOVED, tenant, host, by)

    def refuse_to_remove(self, tenant: ResolvedTenant, host: str) -> None:
        """Raise `Refused` for a host that has to stay."""
        if host == self.own(tenant.slug):
            raise Refused(f"{host} came with the short name of {tenant.slug}, and stays.")
        if host == tenant.primary_host:
            raise Refused(f"{host} is the primary domain of {tenant.slug}. Make another one the primary first.")

    def claim(
        self,
        registry: EngineConnection,
        tenant_id: str,
        slug: str,
        hosts: Collection[str],
        cap: int | None,
        there: Collection[str] = (),
    ) -> None:
        """Raise when a tenant cannot have `hosts` beside those that are `there`, as `add` does; ask where they are taken.

        A host under the platform's name belongs to whoever has that short name, and takes no room in the plan.
        """
        others = select(Domain.host).where(Domain.host.in_(hosts), Domain.tenant_id != tenant_id)
        for host in registry.scalars(others):
            raise Refused(f"The domain {host} belongs to another tenant.")
        own = self.own(slug)
        for host in hosts:
            self._refuse_reserved(host, own)
        used = {*there} - {own}
        wanted = used | {*hosts} - {own}
        if cap is not None and cap < len(wanted) > len(used):
            raise QuotaExceeded(METER, cap, len(used), label=LABEL, unit="domains")

    def _refuse_reserved(self, host: str, own: str) -> None:
        config = self._tenancy.config
        if host in (config.platform_host, config.api_host, config.base_domain):
            raise InvalidName(f"{host} is the platform's own host; give another domain.")
        if host != own and host.endswith(f".{config.base_domain}"):
            raise InvalidName(f"{host} is kept for whoever gets that short name; give another domain.")

    def proof(self, tenant_id: str, host: str, nonce: str) -> str:
        """Return what only this installation can answer when it is asked at a tenant's host: 64 hex digits."""
        key = self._tenancy.keys.tenant_subkey(tenant_id, "domain-proof")
        return hmac.digest(key, f"{host} {nonce}".encode(), "sha256").hex()

    def note_check(self, tenant: ResolvedTenant, host: str, problem: str) -> None:
        """Keep what was found when a host was looked at."""
        self._tenancy.ledger.record(CHECKED, tenant.id, host=host, problem=problem)

    def checks(self, tenant_id: str = "") -> dict[str, Check]:
        """Return what was found last, of one tenant or of all, by host; who was never looked at is not in it."""
        rows = select(AuditRow).where(AuditRow.kind.in_((CHECKED, REMOVED))).order_by(AuditRow.at, AuditRow.id)
        found: dict[str, Check] = {}
        for row in db.session.scalars(rows.where(AuditRow.tenant_id == tenant_id) if tenant_id else rows):
            found.pop(row.detail["host"], None)
            if row.kind == CHECKED:
                found[row.detail["host"]] = Check(row.at, row.detail["problem"])
        return found

    def _note(self, kind: str, tenant: ResolvedTenant, host: str, by: str, **detail: str) -> None:
        self._tenancy.ledger.record(kind, tenant.id, actor=by, host=host, **detail)
        tell(self._tenancy, tenant.id, kind, subject=host, **detail)


def _hosts(registry: EngineConnection, tenant_id: str) -> dict[str, bool]:
    """Return a tenant's hosts, each with whether it is the primary."""
    rows = registry.execute(select(Domain.host, Domain.is_primary).where(Domain.tenant_id == tenant_id))
    return dict(rows.tuples().all())
