"""New keys for old: for one tenant, whose file is written anew, and for the master, under which every key is wrapped.

A rotation may be killed anywhere. Until the finished copy takes the file's place the old key opens it, and from then on
the pending one: `Placements.recover` tries which. The old version stays in the keyring for the backups made with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlcipher3.dbapi2 as driver

from app.tenancy.context import ResolvedTenant
from app.tenancy.database import Connection, connect
from app.tenancy.errors import DatabaseUnreadable, DiskFull, Refused
from app.tenancy.lifecycle import tell

if TYPE_CHECKING:
    from app.tenancy import Tenancy

PAGES_AT_ONCE = 4096

Holder = tuple[str, int]  # a tenant's id and the version of its key
Rewrap = Callable[[Connection, Holder, Holder], None]

_rewraps: list[Rewrap] = []


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: the version of the key in use now, and for how long (seconds) the tenant was closed."""

    version: int
    seconds: float


def rewraps(function: Rewrap) -> Rewrap:
    """Have `function(connection, old, new)` wrap anew, for another (tenant, version), what a module keeps under a tenant's key.

    It works on a copy of the tenant's file, by plain SQL, and leaves alone what the old version does not open.
    """
    if function not in _rewraps:
        _rewraps.append(function)
    return function


def rewrap(connection: Connection, old: Holder, new: Holder) -> None:
    """Wrap anew what the modules keep in this file under the tenant's key, in one transaction."""
    if not _rewraps:
        raise RuntimeError("No module says what it keeps under a tenant's key: import app.create_app first.")
    connection.execute("BEGIN IMMEDIATE")
    for function in _rewraps:
        function(connection, old, new)
    # Their envelopes were signed with the old key; the sweeper brings them again.
    connection.execute("UPDATE due SET holder = '', leased_until = NULL WHERE holder = 'queue'")
    connection.execute("COMMIT")


def rotate(tenancy: Tenancy, tenant: ResolvedTenant) -> Rotated:
    """Give a tenant a new random key while the others go on; its own visitors wait, 1 to 2 s for each 50 MB.

    It needs the application's context, which the modules find the keys by. Raises `DatabaseUnreadable` for a damaged file,
    `DiskFull` without room for a second copy, `Refused` when the file stays in use; the tenant then serves on under its
    old key.
    """
    if tenant.schema != tenancy.schema.head:
        raise Refused(
            f"The file of {tenant.slug} is of an older version: run freehold migrate --tenant {tenant.slug} first."
        )
    with tenancy.placements.drained(tenant.id) as drained:
        began = time.monotonic()
        if drained.connection is None:
            raise DatabaseUnreadable(f"The file of {tenant.slug} cannot be read; bring it back from a backup first.")
        old, new = tenancy.keys.version(tenant.id), tenancy.keys.make_next(tenant.id)
        key = tenancy.keys.database_key(tenant.id, new)
        _copy(drained.connection, drained.incoming, key, tenant, old, new)
        _verify(drained.incoming, key, tenant)
        drained.replace(drained.incoming)
        tenancy.keys.activate(tenant.id, new)
        rotated = Rotated(new, round(time.monotonic() - began, 3))
    tenancy.ledger.record("key_rotated", tenant.id, version=new, seconds=rotated.seconds)
    tell(tenancy, tenant.id, "key_rotated", version=new)
    return rotated


def rotate_master(tenancy: Tenancy, write_to: Path | None = None) -> None:
    """Wrap every key under a new master key while everything goes on; raises `Refused` when it cannot be written.

    With `write_to` it is written there and its old file left alone: for a key that somebody else puts in place, with
    Freehold stopped.
    """
    tenancy.keys.change_master(write_to)
    tenancy.ledger.record("master_key_rotated")


def _copy(source: Connection, incoming: Path, key: bytes, tenant: ResolvedTenant, old: int, new: int) -> None:
    incoming.unlink(missing_ok=True)
    try:
        with closing(connect(incoming, key, create=True, journal="DELETE")) as copy:
            source.backup(copy, pages=PAGES_AT_ONCE, sleep=0)
            rewrap(copy, (tenant.id, old), (tenant.id, new))
    except driver.OperationalError as error:
        if "full" not in str(error):
            raise
        raise DiskFull(f"A second copy of the file of {tenant.slug} did not fit on the disk.") from None
    except driver.DatabaseError as error:
        raise DatabaseUnreadable(f"The file of {tenant.slug} cannot be copied whole: {error}.") from None


def _verify(incoming: Path, key: bytes, tenant: ResolvedTenant) -> None:
    """Raise `Refused` unless what lies on the disk is whole, opens with the key, and is the tenant's."""
    if not _is_whole(incoming, key, tenant.id):
        raise Refused(f"The copy of {tenant.slug} under the new key did not prove whole; the old one stays.")


def _is_whole(incoming: Path, key: bytes, tenant_id: str) -> bool:
    try:
        with closing(connect(incoming, key, journal="DELETE")) as copy:
            return (
                copy.execute("PRAGMA cipher_integrity_check").fetchall() == []
                and copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                and copy.execute("SELECT tenant_id FROM stamp").fetchone() == (tenant_id,)
            )
    except driver.DatabaseError:
        return False
