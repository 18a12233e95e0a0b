"""Drills: restores done only to prove that they can be done, the oldest proof first."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import func, insert, select

from app.backups.capture import InUse
from app.backups.keeper import CENTRAL, KEYRING, Keeper, keyring_key
from app.backups.models import Proof
from app.backups.packs import PackDamaged, PackLocked
from app.backups.restore import NotProven, Progress, assemble, quiet, verify
from app.backups.shelf import Shelf
from app.backups.target import TargetDown
from app.tenancy import Tenancy, utcnow
from app.tenancy.database import EPOCH
from app.tenancy.errors import DatabaseUnreadable, DiskFull, FreeholdError, Refused

SCRUBBING = "Reading every copy"
FRESH = 20 * 3600  # seconds for which a proof is young


def drill(tenancy: Tenancy, keeper: Keeper, owner: str, progress: Progress = quiet) -> Proof:
    """Read every pack of an owner, restore its newest moment to a scratch file, check all of it, and note how that went.

    A pack that was changed or lost is set aside, and the next copy begins anew. Raises `TargetDown`, `DiskFull`, and `Refused`
    when nothing is kept yet: these prove nothing, neither way.
    """
    began, shelf, error, moment, found = time.monotonic(), keeper.shelf(owner), "", None, None
    scratch = tenancy.config.instance / "drill"
    scratch.mkdir(exist_ok=True, mode=0o700)
    path = scratch / f"{secrets.token_hex(8)}.sqlite3"
    try:
        damaged = scrub(shelf, progress)
        if damaged:
            _copy_anew(keeper, owner)
            error = f"{len(damaged)} of its copies cannot be read any more: {', '.join(damaged[:3])}."
        moment = shelf.newest()
        header = assemble(shelf, moment, path, progress)
        found = verify(path, _key(tenancy, owner, header.key_version), header, progress)
    except (TargetDown, DiskFull):
        raise
    except Refused:
        if not error:
            raise
    except (NotProven, PackDamaged, FreeholdError) as failure:
        error = str(failure)
    finally:
        for each in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + each).unlink(missing_ok=True)
    proof = Proof(
        tenant_id=owner,
        moment_at=moment.at if moment else EPOCH,
        proven_at=utcnow(),
        seconds=round(time.monotonic() - began, 3),
        bytes=found.bytes if found else 0,
        rows=found.rows if found else 0,
        error=error[:500],
    )
    _note(tenancy, proof)
    return proof


def _copy_anew(keeper: Keeper, owner: str) -> None:
    with keeper.held(owner):
        keeper.start_anew(owner)
    with suppress(InUse, DatabaseUnreadable):  # a file in use is copied soon by the archivist
        keeper.copy(owner)


def scrub(shelf: Shelf, progress: Progress = quiet) -> list[str]:
    """Read every page of every pack; returns the names of those that are not sound, each set aside."""
    packs, damaged = shelf.packs(), []
    whole, done = sum(packs.values()), 0
    for name, size in packs.items():
        try:
            with shelf.open(name) as pack:
                for place in range(len(pack.numbers)):
                    pack.page(place)
        except PackLocked:
            continue  # as the keyring's, from before its master key was changed
        except PackDamaged as error:
            if shelf.has(name):  # else it was thinned meanwhile
                damaged.append(str(error))
                shelf.set_aside(name)
        done += size
        progress(SCRUBBING, done, whole)
    return damaged


def oldest(tenancy: Tenancy, most: int) -> Sequence[str]:
    """Return the tenants whose proof is the oldest, those that never had one first; none whose proof is young."""
    newest = select(Proof.tenant_id, func.max(Proof.proven_at)).where(Proof.error == "").group_by(Proof.tenant_id)
    with tenancy.engines["ledger"].connect() as ledger:
        proven = {row[0]: row[1] for row in ledger.execute(newest)}
    wanted = [*CENTRAL, *tenancy.registry.keeping()]
    stale = (utcnow() - EPOCH).total_seconds() - FRESH
    due = [(proven.get(each, EPOCH), each) for each in wanted]
    return [each for at, each in sorted(due) if (at - EPOCH).total_seconds() < stale][:most]


def _key(tenancy: Tenancy, owner: str, version: int) -> bytes:
    return keyring_key(tenancy) if owner == KEYRING else tenancy.keys.database_key(owner, version)


def _note(tenancy: Tenancy, proof: Proof) -> None:
    columns = ("tenant_id", "moment_at", "proven_at", "seconds", "bytes", "rows", "error")
    with tenancy.engines["ledger"].begin() as ledger:
        ledger.execute(insert(Proof).values({name: getattr(proof, name) for name in columns}))


def be_last() -> None:
    """Yield to everybody else on the machine: a drill is never in a hurry."""
    os.nice(19)
