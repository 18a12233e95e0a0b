"""The life of a tenant: provisioning → active ⇄ suspended → archived → deleted.

A tenant becomes active last. Every step before is safe to repeat, so that whatever is cut short is completed by asking
again, and nobody ever meets a half-made house.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

from sqlalchemy import Connection as EngineConnection
from sqlalchemy import delete, func, insert, select, update

from app.tenancy import names
from app.tenancy.binding import db
from app.tenancy.context import ResolvedTenant, tenant_context
from app.tenancy.database import Connection, connect, utcnow
from app.tenancy.errors import Refused
from app.tenancy.locks import file_lock
from app.tenancy.registry import Domain, Tenant, Tier, TierCap, VisitLeave

if TYPE_CHECKING:
    from app.tenancy import Tenancy

LOCKS = 64
STAMP = "INSERT INTO stamp (id, tenant_id, epoch, version) VALUES (1, ?, ?, 1)"

Told = tuple[str, dict[str, Any]] | None  # the kind of an act, with its detail

# What modules bring to the life of a tenant; each of these runs inside the tenant's context, and the caller commits.
_planters: list[Callable[[str], None]] = []
owner_makers: list[Callable[[str, str, str | None], str | None]] = []
counts: dict[str, Callable[[], int]] = {}
shown: dict[str, Callable[[], Any]] = {}
settlers: list[Callable[[Connection], Told]] = []
hearers: list[Callable[[Tenancy, ResolvedTenant, str, dict[str, Any]], None]] = []


def plants(planter: Callable[[str], None]) -> None:
    """Have `planter` called with the tenant's name when a tenant is made."""
    if planter not in _planters:
        _planters.append(planter)


def shows(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Have `freehold tenants show` print what the function below finds in the tenant's file, under `name`."""

    def register(finder: Callable[[], Any]) -> Callable[[], Any]:
        shown[name] = finder
        return finder

    return register


def settles(settler: Callable[[Connection], Told]) -> Callable[[Connection], Told]:
    """Have `settler` called with the file of a tenant that was brought back from the past, before anybody uses it.

    It works by plain SQL, and takes away what must not happen, or hold, a second time. What it returns, the kind of an act
    with its detail, the audit tells.
    """
    if settler not in settlers:
        settlers.append(settler)
    return settler


@settles
def hold_work(connection: Connection) -> None:
    """Set aside the work that was waiting at that time: it may have been done since. What comes by the clock goes on."""
    told = "Held: the organisation was brought back from a copy, and this may have been done since."
    connection.execute(
        "UPDATE due SET set_aside_at = ?, error = ? WHERE schedule IS NULL AND set_aside_at IS NULL",
        (int(time.time() * 1e6), told),
    )
    connection.execute("UPDATE due SET holder = '', leased_until = NULL")


def hears(hearer: Callable[[Tenancy, ResolvedTenant, str, dict[str, Any]], None]) -> Callable[..., None]:
    """Have `hearer(tenancy, tenant, act, detail)` called when operators did something to a tenant that it should know of."""
    if hearer not in hearers:
        hearers.append(hearer)
    return hearer


def tell(tenancy: Tenancy, tenant_id: str, act: str, **detail: Any) -> None:
    """Let modules hear what was done to a tenant, such as "suspended", "key_rotated" or "domain_added"."""
    tenant = tenancy.registry.by_id(tenant_id)
    for hearer in hearers if tenant else ():
        hearer(tenancy, tenant, act, detail)  # type: ignore[arg-type]


def makes_owners(maker: Callable[[str, str, str | None], str | None]) -> None:
    """Have `maker(email, name, password)` add a tenant's first owner; it returns a set-up token when it got no password."""
    owner_makers[:] = [maker]


class Lifecycle:
    """What an operator does to tenants."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    def create(
        self,
        slug: str,
        name: str,
        *,
        domains: tuple[str, ...] = (),
        tier: str = "",
        hidden: bool = False,
        furnish: Callable[[], None] = lambda: None,
    ) -> ResolvedTenant:
        """Make a tenant and return it, active; `furnish` adds what the caller wants in the first transaction.

        Raises `InvalidName` for a name that cannot be given, `Refused` when the slug or a domain is taken, `QuotaExceeded`
        for more domains than the plan has room for.
        """

        def fill(tenant: ResolvedTenant) -> None:
            self._build(tenant)
            with tenant_context(tenant):
                for planter in _planters:
                    planter(tenant.name)
                furnish()
                db.session.commit()

        wishes = {"hidden": hidden, "preview_of": None, "preview_at": None}
        made = self._make(slug, name, fill, domains=domains, tier=tier, **wishes)
        self._tenancy.ledger.record("tenant_created", made.id, slug=made.slug)
        return made

    def adopt(
        self,
        slug: str,
        name: str,
        fill: Callable[[ResolvedTenant], None],
        *,
        tier: str = "",
        preview_of: str | None = None,
        preview_at: datetime | None = None,
    ) -> ResolvedTenant:
        """Make a tenant whose folder `fill` fills, as from a backup; a preview is hidden, and names whom it shows and when.

        Raises as `create` does, and what `fill` raises; nothing is left behind then.
        """
        return self._make(
            slug, name, fill, tier=tier, hidden=preview_of is not None, preview_of=preview_of, preview_at=preview_at
        )

    def discard(self, tenant: ResolvedTenant) -> None:
        """Remove a preview for good: nobody finds it from now on, then its data and its key go.

        Safe to repeat after it was cut short. Raises `Refused` for a tenant that is none.
        """
        if tenant.preview_of is None:
            raise Refused(f"{tenant.slug} is no preview; it is not thrown away.")
        self._unmake(tenant)

    def _make(
        self,
        slug: str,
        name: str,
        fill: Callable[[ResolvedTenant], None],
        *,
        domains: tuple[str, ...] = (),
        tier: str,
        **wishes: Any,
    ) -> ResolvedTenant:
        slug = names.slug(slug)
        hosts = tuple(dict.fromkeys([*(names.host(domain) for domain in domains), self._tenancy.domains.own(slug)]))
        # A few locks that many slugs share, so that ten thousand tenants do not leave ten thousand files.
        with file_lock(self._tenancy.config.instance / "locks" / f"create-{crc32(slug.encode()) % LOCKS}"):
            tenant = self._reserve(slug, name.strip() or slug, hosts, tier, **wishes)
            with self._promised(tenant):
                self._make_place(tenant)
                fill(tenant)
            # Making many must not push those in use out of the pool, nor cost more once it is full.
            self._tenancy.pool.discard(tenant.id)
            self._activate(tenant)
        return self._known(slug)

    def suspend(self, slug: str, reason: str) -> None:
        """Stop serving an active tenant from the next request on; its data and keys stay."""
        self._move(slug, "suspended", from_states=("active",), reason=reason)

    def resume(self, slug: str) -> None:
        """Serve a suspended or archived tenant again."""
        self._move(slug, "active", from_states=("suspended", "archived"), reason="")

    def archive(self, slug: str) -> None:
        """Close a tenant for good, its data kept: visitors get 410."""
        self._move(slug, "archived", from_states=("active", "suspended"), reason="")

    def _move(self, slug: str, state: str, *, from_states: tuple[str, ...], reason: str) -> None:
        tenant = self._known(slug)
        with self._tenancy.engines["registry"].begin() as registry:
            moved = registry.execute(
                update(Tenant)
                .where(Tenant.id == tenant.id, Tenant.state.in_(from_states))
                .values(state=state, reason=reason)
            )
            registry.execute(delete(VisitLeave).where(VisitLeave.tenant_id == tenant.id))
        if not moved.rowcount:
            raise Refused(f"{slug} is {tenant.state}; this needs one that is {' or '.join(from_states)}.")
        self._tenancy.ledger.record(f"tenant_{state}", tenant.id, reason=reason)
        act = "resumed" if state == "active" else state
        tell(self._tenancy, tenant.id, act, **({"reason": reason} if reason else {}))

    def _known(self, slug: str) -> ResolvedTenant:
        tenant = self._tenancy.registry.by_slug(slug)
        if tenant is None:
            raise Refused(f"There is no tenant {slug!r}. `freehold tenants list` shows those there are.")
        return tenant

    def _reserve(self, slug: str, name: str, hosts: tuple[str, ...], tier: str, **wishes: Any) -> ResolvedTenant:
        with self._tenancy.engines["registry"].begin() as registry:
            existing = registry.execute(select(Tenant.id, Tenant.state).where(Tenant.slug == slug)).first()
            if existing is not None and existing.state != "provisioning":
                raise Refused(f"The short name {slug!r} is taken; choose another.")
            tenant_id = existing.id if existing else secrets.token_hex(16)
            wishes = {"name": name, "tier_name": self._tier(registry, tier), **wishes}
            of_plan = select(TierCap.cap).where(TierCap.tier == wishes["tier_name"], TierCap.meter == "domains")
            self._tenancy.domains.claim(registry, tenant_id, slug, hosts, registry.scalar(of_plan))
            # Asked again after a cut, the newest wishes hold.
            if existing:
                registry.execute(update(Tenant).where(Tenant.id == tenant_id).values(**wishes))
            else:
                made = {"id": tenant_id, "slug": slug, "state": "provisioning", "reason": "", "schema": ""}
                stands = {"placement": "ready", "generation": 1, "created_at": utcnow()}
                registry.execute(insert(Tenant).values(**made, **stands, **wishes))
            registry.execute(delete(Domain).where(Domain.tenant_id == tenant_id))
            registry.execute(
                insert(Domain),
                [
                    {"host": host, "tenant_id": tenant_id, "is_primary": place == 0, "created_at": utcnow()}
                    for place, host in enumerate(hosts)
                ],
            )
        return self._known(slug)

    def _tier(self, registry: EngineConnection, tier: str) -> str:
        wanted = tier or self._tenancy.registry.settings().get("default_tier", "standard")
        if registry.scalar(select(func.count()).select_from(Tier).where(Tier.name == wanted)) == 0:
            raise Refused(
                f"There is no tier {wanted!r}. The tiers are: {', '.join(registry.scalars(select(Tier.name)))}."
            )
        return wanted

    def _make_place(self, tenant: ResolvedTenant) -> None:
        """Make the tenant's key and an empty folder. What an unfinished creation left is removed."""
        self._tenancy.keys.make(tenant.id)
        folder = self._tenancy.placements.folder(tenant.id)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("main.sqlite3*"):
            leftover.unlink()

    def _build(self, tenant: ResolvedTenant) -> None:
        """Make the tenant's file, a copy of the prepared one."""
        key = self._tenancy.keys.database_key(tenant.id)
        with (
            closing(self._tenancy.schema.prepared()) as prepared,
            closing(connect(self._tenancy.placements.file(tenant.id), key, create=True)) as file,
        ):
            prepared.backup(file)
            file.execute("PRAGMA journal_mode = WAL")
            file.execute(STAMP, (tenant.id, int(time.time())))

    @contextmanager
    def _promised(self, tenant: ResolvedTenant) -> Iterator[None]:
        """Let nothing of a failed creation stay behind."""
        try:
            yield
        except BaseException:
            self._tenancy.pool.discard(tenant.id)
            self._unmake(tenant)
            raise

    def _unmake(self, tenant: ResolvedTenant) -> None:
        with self._tenancy.engines["registry"].begin() as registry:
            registry.execute(delete(Domain).where(Domain.tenant_id == tenant.id))
            registry.execute(update(Tenant).where(Tenant.id == tenant.id).values(state="deleted"))
        self._tenancy.pool.discard(tenant.id)
        shutil.rmtree(self._tenancy.placements.folder(tenant.id), ignore_errors=True)
        self._tenancy.keys.destroy(tenant.id)
        with self._tenancy.engines["registry"].begin() as registry:
            registry.execute(delete(Tenant).where(Tenant.id == tenant.id))

    def _activate(self, tenant: ResolvedTenant) -> None:
        with self._tenancy.engines["registry"].begin() as registry:
            registry.execute(
                update(Tenant).where(Tenant.id == tenant.id).values(state="active", schema=self._tenancy.schema.head)
            )
