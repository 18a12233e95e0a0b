"""A whole installation back on a bare machine, from a copied folder of backups and the master key.

First everything is looked at and told; only then is anything written. A mark in the instance folder says that the work is
under way: while it is there nothing else starts, and a rebuild that was cut short goes on where it stopped. The copied folder is
only read.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlcipher3.dbapi2 as driver
from alembic.util import CommandError
from flask import Flask
from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.sqlite import insert

from app.backups import salvage
from app.backups.keeper import CENTRAL, KEYRING, keyring_pack_key, pack_keys
from app.backups.models import FAILED, RUNNING, WAITING, Order
from app.backups.packs import PackDamaged
from app.backups.restore import NotProven, assemble, restore_missing, verify
from app.backups.salvage import FoundShelf
from app.backups.shelf import Moment
from app.backups.target import FULL, Folder
from app.config import Config
from app.facilities import storage
from app.facilities.storage import StorageDamaged, StoredFile
from app.tenancy import Tenancy, db, rebuilding, tenant_context, utcnow
from app.tenancy.database import connect
from app.tenancy.errors import DatabaseUnreadable, DiskFull, FreeholdError, Refused
from app.tenancy.keys import KEY_BYTES, Keys, derive, sync, write_key
from app.tenancy.ledger import TenantBackup
from app.tenancy.placements import last_event
from app.tenancy.registry import OperatorSession, Tenant
from app.tenancy.schema import migrate_central

KEPT = ("active", "suspended", "archived")
STAGING = ".rebuild"
NOT_TOLD = 20  # from that many oddities on, only how many more there are is told
Follow = Callable[[Any, int, str], Iterator[Any]]


@dataclass(frozen=True)
class Arrival:
    """A tenant that is to be brought back from its shelf. `bytes` is what it takes, its stored files among them."""

    id: str
    slug: str
    shelf: FoundShelf
    moment: Moment
    bytes: int


@dataclass
class Plan:
    """What a rebuild would do. `central` says as of when; `missing` names who cannot come back, and why. Sizes are bytes."""

    source: Path
    central: dict[str, datetime]
    arrivals: list[Arrival] = field(default_factory=list)
    here: list[Arrival] = field(default_factory=list)  # brought back before this one was cut short
    missing: dict[str, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    erased: int = 0  # shelves that nobody can read any more
    free: int = 0

    @property
    def needed(self) -> int:
        """Bytes that must be free: for all of them, and for a second copy of the largest while it is made."""
        sizes = [each.bytes for each in self.arrivals]
        return sum(sizes) + max(sizes, default=0)

    def facts(self) -> dict[str, Any]:
        """Return the plan for programs."""
        times = [each.moment.at for each in self.arrivals]
        return {
            "from": str(self.source),
            "central": {name: at.isoformat() for name, at in self.central.items()},
            "to_bring_back": len(self.arrivals),
            "already_here": len(self.here),
            "oldest": min(times).isoformat() if times else None,
            "newest": max(times).isoformat() if times else None,
            "bytes": sum(each.bytes for each in self.arrivals),
            "needed": self.needed,
            "free": self.free,
            "missing": self.missing,
            "erased": self.erased,
            "odd": self.odd,
        }

    def lines(self) -> Iterator[str]:
        """Yield the plan for people."""
        for name, at in self.central.items():
            yield f"The {name} is as of {at:%Y-%m-%d %H:%M:%S} UTC."
        whole = sum(each.bytes for each in self.arrivals)
        yield f"{len(self.arrivals)} organisations can be brought back, {whole:,} bytes with their files."
        if self.arrivals:
            times = [each.moment.at for each in self.arrivals]
            yield f"Their moments: from {min(times):%Y-%m-%d %H:%M:%S} to {max(times):%Y-%m-%d %H:%M:%S} UTC."
        if self.here:
            yield f"{len(self.here)} more are here already, from a rebuild that was cut short."
        yield f"Room: {self.needed:,} bytes are needed, {self.free:,} are free."
        if self.missing:
            yield f"{len(self.missing)} cannot be brought back:"
            yield from (f"  {slug}: {why}" for slug, why in self.missing.items())
        if self.erased:
            yield f"{self.erased} folders are of erased organisations: nobody can read them any more."
        if self.odd:
            yield f"{len(self.odd)} things are not as they should be, and are passed over:"
            yield from (f"  {each}" for each in self.odd[:NOT_TOLD])
        if len(self.odd) > NOT_TOLD:
            yield f"  and {len(self.odd) - NOT_TOLD} more; --json names them all."


@dataclass
class Outcome:
    """How a rebuild went: who is here again, who could not be brought back and why, whose stored files are not all there."""

    back: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    files_lost: dict[str, str] = field(default_factory=dict)
    older: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def read_key(file: Path) -> bytes:
    """Return the master key in a file of its own; raises `Refused`."""
    try:
        key = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}.") from None
    if len(key) != KEY_BYTES:
        raise Refused(f"{file} has {len(key)} bytes; a master key has {KEY_BYTES}.")
    return key


@contextmanager
def opened(config: Config, source: Path, master: bytes | None) -> Iterator[Rebuild]:
    """Yield a rebuild from the folder `source`; one that was only looked at leaves nothing behind.

    Without `master` the key that lies in its place already is taken. Raises `Refused` for a machine that is not bare, a
    folder that is no copy of backups, a key that does not open it.
    """
    config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(config.home):
        _require_bare(config)
        was_there = config.instance.exists()
        config.instance.mkdir(exist_ok=True, mode=0o700)
        staging = config.instance / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        try:
            with closing(Rebuild(config, source, _fitting(config, master))) as rebuild:
                yield rebuild
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if not was_there:
                with suppress(OSError):  # anything in it means that the work has begun
                    config.instance.rmdir()


class Rebuild:
    """Looks through a copied folder, then makes of it what it is a copy of."""

    def __init__(self, config: Config, source: Path, master: bytes) -> None:
        self._config = config
        self._target = Folder(source)
        self._master = master
        # Once the keyring is in place, all central files are; what is there counts from then on.
        self._is_begun = config.rebuilding.exists() and (config.instance / "keyring.sqlite3").exists()
        self._folder = config.instance if self._is_begun else config.instance / STAGING
        self._keys = Keys(master, self._file(KEYRING))

    @property
    def is_in_place(self) -> bool:
        """Whether the copied folder lies where the copies of this installation are kept from now on."""
        return self._target.root == self._config.backups

    def close(self) -> None:
        """Let go of the keyring."""
        self._keys.close()

    def plan(self, follow: Follow) -> Plan:
        """Look at everything and return what would be done; raises `Refused` when the central files cannot be had."""
        plan = Plan(self._target.root, {}, free=_free(self._config.tenants_data))
        if not self._is_begun:
            self._stage(plan)
        rows = self._rows()
        for tenant_id, slug in follow(rows, len(rows), "Looking through the copies"):
            self._look(plan, tenant_id, slug)
        self._look_at_strangers(plan, {tenant_id for tenant_id, _ in rows})
        return plan

    def carry_out(self, plan: Plan, start: Callable[[], Flask], follow: Follow) -> Outcome:
        """Do it; `start` makes the application once the central files are in place.

        Raises `DiskFull` and `Refused` with all that is done so far kept: called again, it goes on from there.
        """
        if plan.needed > plan.free:
            raise DiskFull(f"{plan.needed:,} bytes are needed, and {plan.free:,} are free. Make room and try again.")
        began, outcome = time.monotonic(), Outcome(failed=dict(plan.missing))
        rebuilding.begin(self._config)
        self._place()
        app = start()
        with app.app_context(), closing(app.extensions["tenancy"]) as tenancy:
            _begin_anew(tenancy)
            wanted = [*plan.here, *plan.arrivals]
            for arrival, error in follow(_brought(tenancy, wanted, outcome), len(wanted), "Bringing back"):
                if error:
                    outcome.failed[arrival.slug] = error
                else:
                    outcome.back += 1
            facts = {"back": outcome.back, "failed": sorted(outcome.failed), "source": str(plan.source)}
            tenancy.ledger.record("installation_rebuilt", **facts)
        os.sync()
        rebuilding.end(self._config)
        outcome.seconds = round(time.monotonic() - began, 1)
        return outcome

    def _stage(self, plan: Plan) -> None:
        """Put the central files together beside their places, the keyring first, for it has the keys of the others."""
        keyring = self._shelf(KEYRING)
        plan.central[KEYRING] = self._assemble(plan, keyring, lambda _: derive(self._master, KEYRING))
        for owner in CENTRAL[1:]:
            try:
                plan.central[owner] = self._assemble(plan, self._shelf(owner), self._file_key(owner))
            except Refused as error:
                if owner == "registry":
                    raise Refused(f"The registry cannot be brought back, and says who everybody is: {error}") from None
                plan.odd.append(f"The {owner} cannot be brought back, and begins anew: {error}")
                continue
            with _of_this_code():
                migrate_central(self._file(owner), self._keys.database_key(owner), owner)

    def _assemble(self, plan: Plan, shelf: FoundShelf, key_of: Callable[[int], bytes]) -> datetime:
        look = salvage.look_at(self._target.root, shelf.folder)
        plan.odd += look.odd
        if look.dead_ends:
            raise Refused(f"{look.dead_ends[0]}; copy what it leads to.")
        while True:
            moment, _ = self._newest(shelf)
            path = self._file(shelf.owner)
            try:
                header = assemble(shelf, moment, path)
                verify(path, key_of(header.key_version), header)
            except (PackDamaged, NotProven) as error:
                path.unlink(missing_ok=True)
                shelf.doubt(moment, str(error))
            else:
                _tell_left_out(plan, f"The {shelf.owner}", shelf, moment)
                return moment.at

    def _newest(self, shelf: FoundShelf) -> tuple[Moment, Any]:
        try:
            return shelf.newest_sound()
        except Refused as error:
            if shelf.owner != KEYRING:
                raise
            if not shelf.left_out:
                raise Refused(
                    f"There is no copy of a keyring in {self._target.root}. Give the folder that has `central` in it."
                ) from None
            raise Refused(
                f"This master key opens none of the {len(shelf.left_out)} copies of the keyring: it is another "
                f"installation's, or of another time than the copies. ({error})"
            ) from None

    def _rows(self) -> list[tuple[str, str]]:
        """Return (id, slug) of all tenants of which something is to be kept, by slug."""
        with closing(connect(self._file("registry"), self._keys.database_key("registry"))) as registry:
            rows = registry.execute("SELECT id, slug, state, preview_of FROM tenant ORDER BY slug").fetchall()
        return [(row[0], row[1]) for row in rows if row[2] in KEPT and row[3] is None]

    def _look(self, plan: Plan, tenant_id: str, slug: str) -> None:
        try:
            arrival = self._arrival(plan, tenant_id, slug)
        except FreeholdError as error:
            plan.missing[slug] = str(error)
            return
        is_here = (self._config.tenants_data / tenant_id[:2] / tenant_id / "main.sqlite3").exists()
        (plan.here if is_here else plan.arrivals).append(arrival)
        _tell_left_out(plan, slug, arrival.shelf, arrival.moment)

    def _arrival(self, plan: Plan, tenant_id: str, slug: str) -> Arrival:
        if not self._keys.versions(tenant_id):
            raise Refused("Its key is not in the keyring, so nobody can read its copies.")
        shelf = self._shelf(tenant_id)
        look = salvage.look_at(self._target.root, shelf.folder)
        plan.odd += look.odd
        if look.dead_ends:
            raise Refused(f"{look.dead_ends[0]}; copy what belongs there.")
        moment, header = shelf.newest_sound()
        return Arrival(tenant_id, slug, shelf, moment, header.page_count * 4096 + sum(shelf.files().values()))

    def _look_at_strangers(self, plan: Plan, known: set[str]) -> None:
        found, odd = salvage.owners(self._target.root)
        plan.odd += odd
        for owner in found:
            if owner in known:
                continue
            if self._keys.versions(owner):
                plan.odd.append(
                    f"{owner[:2]}/{owner} is of an organisation that the registry does not know; it stays there"
                )
            else:
                plan.erased += 1

    def _place(self) -> None:
        """Put the master key and the central files in their places, the keyring last: with it all of them are there."""
        config = self._config
        if not config.master_key_file.exists():
            config.master_key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_key(config.master_key_file, self._master)
        if self._is_begun:
            return
        self._keys.close()
        for owner in reversed(CENTRAL):
            if self._file(owner).exists():
                self._file(owner).replace(config.instance / f"{owner}.sqlite3")
        sync(config.instance)
        self._folder = config.instance
        self._keys = Keys(self._master, self._file(KEYRING))

    def _shelf(self, owner: str) -> FoundShelf:
        if owner == KEYRING:
            return FoundShelf(self._target, owner, lambda version: keyring_pack_key(self._master, version))
        # The keys are opened anew when the keyring moves to its place.
        return FoundShelf(self._target, owner, lambda version: pack_keys(self._keys, owner)(version))

    def _file_key(self, owner: str) -> Callable[[int], bytes]:
        return lambda version: self._keys.database_key(owner, version)

    def _file(self, owner: str) -> Path:
        return self._folder / f"{owner}.sqlite3"


def _brought(tenancy: Tenancy, wanted: list[Arrival], outcome: Outcome) -> Iterator[tuple[Arrival, str]]:
    """Bring one after the other back and yield it with what went wrong, "" for nothing."""
    for arrival in wanted:
        try:
            _bring(tenancy, arrival, outcome)
        except Exception as error:  # whatever it is, it is this tenant's, and the others go on
            arrival.shelf.target.room()  # but not when the whole folder is gone
            if isinstance(error, DiskFull) or _is_full(error):
                raise DiskFull(
                    f"The disk is full at {arrival.slug}; {outcome.back} organisations are back. Make room and run this again: "
                    "it goes on from there."
                ) from error
            yield arrival, str(error) or type(error).__name__
        else:
            yield arrival, ""


def _bring(tenancy: Tenancy, arrival: Arrival, outcome: Outcome) -> None:
    tenant = tenancy.registry.by_id(arrival.id)
    if tenant is None:
        raise Refused("The registry does not know it.")
    moment, was_here = arrival.moment, _stands(tenancy, arrival.id)
    while not _stands(tenancy, arrival.id):
        _use_newer_key(tenancy, arrival.shelf, moment)
        try:
            restore_missing(tenancy, tenant, arrival.shelf, moment)
        except (PackDamaged, NotProven) as error:
            arrival.shelf.doubt(moment, str(error))
            moment, _ = arrival.shelf.newest_sound()
            outcome.older[arrival.slug] = f"{error} It is back as of {moment.at:%Y-%m-%d %H:%M:%S} UTC."
    _settle(tenancy, arrival.id, moment)
    lost = _lost_files(tenancy, arrival.id, missing_only=was_here)
    tenancy.pool.discard(arrival.id)
    if lost:
        outcome.files_lost[arrival.slug] = f"{len(lost)} of its stored files are lost or damaged: {', '.join(lost[:3])}"


def _use_newer_key(tenancy: Tenancy, shelf: FoundShelf, moment: Moment) -> None:
    """Where the keyring was copied in the middle of a rotation, and the tenant after it: the new key is the one in use."""
    pending = tenancy.keys.pending(shelf.owner)
    if pending is not None and shelf.header(moment).key_version == pending:
        tenancy.keys.activate(shelf.owner, pending)


def _stands(tenancy: Tenancy, tenant_id: str) -> bool:
    """Tell whether a tenant's file is in its place, opens with its key, and is not older than what is known of it."""
    try:
        tenancy.placements.open_file(tenant_id).close()
    except DatabaseUnreadable:
        return False
    return True


def _settle(tenancy: Tenancy, tenant_id: str, moment: Moment) -> None:
    """Have the registry and the ledger know the file: it serves from now on, and one that ends before it is refused."""
    tenancy.placements.recover(tenant_id)
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(update(Tenant).where(Tenant.id == tenant_id).values(schema=tenancy.schema.head))
    with closing(tenancy.placements.open_file(tenant_id)) as file:
        epoch, event_id = last_event(file)
    reaches = {"epoch": epoch, "event_id": event_id, "signature": ""}
    row = insert(TenantBackup).values(tenant_id=tenant_id, seq=moment.seq, at=moment.at, **reaches)
    with tenancy.engines["ledger"].begin() as ledger:
        ledger.execute(row.on_conflict_do_update(index_elements=["tenant_id"], set_=reaches))


def _lost_files(tenancy: Tenancy, tenant_id: str, *, missing_only: bool) -> list[str]:
    """Return the names of the stored files that do not open: each is read, for only its own seal proves it."""
    tenant, folder = tenancy.registry.by_id(tenant_id), tenancy.placements.folder(tenant_id) / "files"
    assert tenant is not None
    with tenant_context(tenant, writes=False):
        names = db.session.scalars(select(StoredFile.name).order_by(StoredFile.name)).all()
        if missing_only:
            return [name for name in names if not (folder / name[:2] / name).exists()]
        return [name for name in names if not _opens(name)]


def _opens(name: str) -> bool:
    try:
        for _ in storage.chunks(name):
            pass
    except StorageDamaged:
        return False
    return True


def _begin_anew(tenancy: Tenancy) -> None:
    """Drop what must not live on: previews, orders of which nobody knows whether they were done, and of operators their
    sessions, what they had begun and their recovery codes, which may have been used since.
    """
    for tenant in list(tenancy.registry.tenants()):
        if tenant.preview_of is not None:
            tenancy.lifecycle.discard(tenant)
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(delete(OperatorSession))
        registry.execute(text("DELETE FROM operator_attempt"))
        registry.execute(text("DELETE FROM operator_recovery_code"))
    told = "The machine was rebuilt from its copies meanwhile. Please ask again."
    is_open = Order.state.in_((WAITING, RUNNING))
    with tenancy.engines["ledger"].begin() as ledger:
        ledger.execute(update(Order).where(is_open).values(state=FAILED, message=told, ended_at=utcnow()))


def _tell_left_out(plan: Plan, who: str, shelf: FoundShelf, moment: Moment) -> None:
    if not shelf.left_out:
        return
    newest, why = shelf.newest_of_all(), next(iter(shelf.left_out.values()))
    instead = f", and not of {newest.at:%Y-%m-%d %H:%M:%S}" if newest and newest.at != moment.at else ""
    plan.odd.append(
        f"{who} comes back as of {moment.at:%Y-%m-%d %H:%M:%S} UTC{instead}: "
        f"{len(shelf.left_out)} of its copies cannot be used. {why}"
    )


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep a second rebuild of the same home out for the block; raises `Refused`."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Refused(f"Another rebuild of {home} is at work.") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _require_bare(config: Config) -> None:
    if config.rebuilding.exists():
        return
    there = [
        config.instance / f"{owner}.sqlite3" for owner in CENTRAL if (config.instance / f"{owner}.sqlite3").exists()
    ]
    if config.tenants_data.exists():
        there += [path for path in config.tenants_data.iterdir() if path.name not in ("lost+found", ".reserve")]
    if there:
        raise Refused(
            f"{config.home} is not bare: {there[0]} is there. A rebuild makes a whole installation and writes over none. Give "
            "another FREEHOLD_HOME, or move instance/ and tenants_data/ away if nothing in them is needed. One organisation "
            "alone is brought back by `freehold backups restore`."
        )


def _fitting(config: Config, master: bytes | None) -> bytes:
    """Return the master key that is to be used; raises `Refused` when there is none, or another one in its place."""
    there = read_key(config.master_key_file) if config.master_key_file.exists() else None
    if master is None and there is None:
        raise Refused("Give the recovery kit (--kit FILE), or the master key itself (--master-key-file FILE).")
    if master is not None and there is not None and master != there:
        raise Refused(
            f"Another master key is in {config.master_key_file}. If that is the one of these copies, leave the kit out; else "
            "move it away."
        )
    return master or there or b""


@contextmanager
def _of_this_code() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise Refused(
            f"These copies were made by a newer Freehold than this one. Install that version and try again. ({error})"
        ) from None


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in FULL or (isinstance(error, driver.Error) and "full" in str(error))


def _free(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
