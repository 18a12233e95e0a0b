"""Copies one owner at a time: knows each owner's file, its shelf, and what was copied last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from app.backups import raw
from app.backups.capture import AGAIN, Copied, InUse, RawSide, Source, copy
from app.backups.shelf import LEAST_BUDGET, Moment, Shelf
from app.backups.target import Folder
from app.tenancy import Tenancy, due
from app.tenancy.database import Connection, connect, connect_to_lock
from app.tenancy.errors import DatabaseUnreadable, Refused
from app.tenancy.keys import Keys, derive
from app.tenancy.locks import file_lock
from app.tenancy.placements import Drained, signature_of

log = structlog.get_logger(__name__)

KEYRING = "keyring"
CENTRAL = (KEYRING, "registry", "ledger")
CENTRAL_DAYS, KEYRING_DAYS = 92, 14  # that moments of the central files are kept
CENTRAL_SHARE = 6
BUSY_TRIES = 20


@dataclass
class Latest:
    """Where an owner's shelf stands. `at` is microseconds since 1970, sizes are bytes, `newest_file` is (when it came, name)."""

    seq: int
    at: int
    is_whole: bool
    since_base: int  # bytes of packs that build upon the newest base
    newest_file: tuple[int, str] | None = None


class StoredFiles(NamedTuple):
    """What a database says of its stored files: the newest one, and all names when that has changed."""

    newest: tuple[int, str] | None
    names: list[str]


class Found(NamedTuple):
    """What is read in a tenant's own file while it is copied: its stored files, and what stands in it for the sweeper."""

    files: StoredFiles
    standing: due.Standing | None


def shelf_of(tenancy: Tenancy, owner: str, target: Folder | None = None) -> Shelf:
    """Return the shelf of a tenant's id, "registry", "ledger" or "keyring"."""
    return Shelf(target or Folder(tenancy.config.backups), owner, pack_keys(tenancy.keys, owner))


def pack_keys(keys: Keys, owner: str) -> Callable[[int], bytes]:
    """Return what gives the key of an owner's packs for a version of the owner's key."""
    # The keyring's own copies must open with the master key alone: on a bare machine there is nothing else.
    if owner == KEYRING:
        return lambda version: keyring_pack_key(keys.master, version)
    return lambda version: keys.tenant_subkey(owner, "packs", version)


def keyring_pack_key(master: bytes, version: int) -> bytes:
    """Return the key of the keyring's packs; raises `DatabaseUnreadable` for those made under another master key."""
    if version != master_mark(master):
        raise DatabaseUnreadable("it was another master key; the kit may be older than the last `keys rotate-master`.")
    return derive(master, "packs")


def master_mark(master: bytes) -> int:
    """Return a number that tells one master key from another, and nothing of it."""
    return 1 + int.from_bytes(derive(master, "mark")[:3])


def keyring_key(tenancy: Tenancy) -> bytes:
    """Return the key of the keyring's own file."""
    return derive(tenancy.keys.master, KEYRING)


class Keeper:
    """Copies owners to their shelves. One copy of an owner is made at a time, by whichever process."""

    def __init__(
        self, tenancy: Tenancy, read: Callable[[str, Connection], due.Standing | None] = lambda *_: None
    ) -> None:
        """Have `read(owner, connection)` say what stands in each tenant's file that is copied."""
        self._tenancy = tenancy
        self._read = read
        self.raw_side = RawSide()
        self._latest: dict[str, Latest] = {}

    def prepare(self) -> None:
        """Make the folder of the copies on the first start; later a missing one means a disk that is not mounted."""
        notes = self._tenancy.config.instance / "backups"
        if not notes.exists():
            self._tenancy.config.backups.mkdir(parents=True, exist_ok=True, mode=0o700)
            notes.mkdir(parents=True, mode=0o700)

    def copy(self, owner: str, drained: Connection | None = None) -> Copied:
        """Copy what has changed of an owner since the last time; raises `InUse`, `TargetDown`, `DatabaseUnreadable`."""
        with ExitStack() as stack:
            stack.enter_context(self.held(owner))
            if owner == KEYRING:
                stack.enter_context(self._tenancy.keys.unchanged())
            shelf = self.shelf(owner)
            latest = self._stand(shelf)
            source = self._source(owner, latest, drained)
            # The keyring is always copied whole: a delta would let an older copy, and destroyed keys in it, live on.
            base = owner == KEYRING or not latest.is_whole or latest.since_base > self._size(owner)
            self._latest.pop(owner, None)  # until this one is known to have worked
            copied = copy(
                source,
                shelf,
                self.raw_side,
                after=(latest.seq, latest.at),
                seals=self._notes(owner),
                base=base,
            )
            latest.seq, latest.at, latest.is_whole = copied.header.seq, copied.header.at, True
            latest.since_base = 0 if copied.header.parent == 0 else latest.since_base + copied.bytes
            self._latest[owner] = latest
            return copied

    def copy_before(self, tenant_id: str, drained: Drained | None = None) -> Moment | None:
        """Copy a tenant that is about to be replaced, so that this can be undone; None when its file cannot be read.

        Raises `Refused` when the file stays in use, `TargetDown` when the copy cannot be kept.
        """
        if drained is not None and drained.connection is None:
            return None
        for _ in range(BUSY_TRIES):
            try:
                copied = self.copy(tenant_id, drained.connection if drained else None)
            except InUse:
                time.sleep(AGAIN)
            except DatabaseUnreadable:
                return None
            else:
                return self.shelf(tenant_id).moment(copied.header.seq)
        raise Refused("The tenant's file stayed in use, so today's state could not be kept. Try again in a moment.")

    def thin(self, owner: str, now: datetime, days: int, share: int) -> tuple[int, int]:
        """Thin what is kept of an owner; returns the bytes that are kept and the number of moments."""
        with self.held(owner):
            shelf = self.shelf(owner)
            self._latest.pop(owner, None)
            # By the copies as well: a living file that is lost or cut short must not shrink what is kept of it.
            size = max(self._size(owner), shelf.size())
            kept = shelf.thin(now, days, max(share * size, LEAST_BUDGET))
            if owner not in CENTRAL:
                self._forget_keys(shelf)
            return kept, len(shelf.moments())

    def _forget_keys(self, shelf: Shelf) -> None:
        """Forget the older keys of an owner that no kept copy was made under."""
        older = self._tenancy.keys.versions(shelf.owner)[:-1]
        if older:
            used = shelf.key_versions()
            for version in older:
                if version not in used:
                    self._tenancy.keys.drop(shelf.owner, version)

    def shelf(self, owner: str) -> Shelf:
        """Return the owner's shelf."""
        return shelf_of(self._tenancy, owner)

    def path(self, owner: str) -> Path:
        """Return where the owner's live database lies."""
        if owner in CENTRAL:
            return self._tenancy.config.instance / f"{owner}.sqlite3"
        return self._tenancy.placements.file(owner)

    def start_anew(self, owner: str) -> None:
        """Have the next copy of an owner be a base."""
        self._notes(owner).unlink(missing_ok=True)
        self._latest.pop(owner, None)

    @contextmanager
    def held(self, owner: str) -> Iterator[None]:
        """Keep other processes from copying or thinning this owner for the block."""
        with file_lock(self._tenancy.config.instance / "locks" / f"backup-{owner[:2]}"):
            yield

    @contextmanager
    def restoring(self, owner: str) -> Iterator[None]:
        """Keep other processes from bringing this owner back for the block."""
        with file_lock(self._tenancy.config.instance / "locks" / f"restore-{owner[:2]}"):
            yield

    def _source(self, owner: str, latest: Latest, drained: Connection | None) -> Source:
        if owner in CENTRAL:
            return Source(
                self.path(owner),
                lambda: connect(self.path(owner), self._key(owner), journal="DELETE" if owner == KEYRING else "WAL"),
                lambda: self._open_to_lock(owner),
                lambda: self._central_version(owner),
            )

        def open_file() -> Connection:
            return self._tenancy.placements.open_file(owner, guarded=False)

        def look(connection: Connection) -> Found:
            return Found(_stored_files(connection, latest.newest_file), self._read(owner, connection))

        def prepare(found: Found) -> None:
            self._copy_files(owner, found.files.names)
            latest.newest_file = found.files.newest

        return Source(
            self.path(owner),
            open_file,
            lambda: self._open_to_lock(owner),
            lambda: self._tenancy.keys.version(owner),
            has_events=True,
            look=look,
            prepare=prepare,
            drained=drained,
        )

    def _open_to_lock(self, owner: str) -> Connection:
        return connect_to_lock(self.path(owner), self._key(owner))

    def _key(self, owner: str) -> bytes:
        return keyring_key(self._tenancy) if owner == KEYRING else self._tenancy.keys.database_key(owner)

    def _central_version(self, owner: str) -> int:
        return master_mark(self._tenancy.keys.master) if owner == KEYRING else self._tenancy.keys.version(owner)

    def _copy_files(self, owner: str, names: list[str]) -> None:
        if not names:
            return
        shelf = self.shelf(owner)
        folder = self._tenancy.placements.folder(owner) / "files"
        for name in set(names) - shelf.files().keys():
            try:
                shelf.keep_file(folder / name[:2] / name)
            except OSError as error:
                log.warning("stored_file_not_copied", tenant=owner, name=name, why=error.strerror or str(error))

    def _stand(self, shelf: Shelf) -> Latest:
        """Return where the shelf stands; it is looked through the first time, and after another process has copied."""
        known = self._latest.get(shelf.owner)
        if known is not None and raw.noted(self._notes(shelf.owner)) == (known.seq, known.at):
            return known
        moments = shelf.moments()
        if not moments:
            return Latest(0, 0, False, 0)
        packs = shelf.packs()
        newest = max(packs)
        base = max((name.seq for name in packs if name.parent == 0), default=0)
        since = sum(size for name, size in packs.items() if name.seq > base)
        return Latest(newest.seq, newest.at, moments[0].is_whole and shelf.is_sound(moments[0]), since)

    def _size(self, owner: str) -> int:
        """Return the bytes of the live file, 0 where there is none."""
        found = signature_of(str(self.path(owner)))
        return found.main_size if found else 0

    def _notes(self, owner: str) -> Path:
        return self._tenancy.config.instance / "backups" / owner[:2] / f"{owner}.seals"


def _stored_files(connection: Connection, known: tuple[int, str] | None) -> StoredFiles:
    # A row added since has the highest number. Numbers of removed rows are given anew, so it is known by when it came.
    newest = connection.execute("SELECT created_at, name FROM stored_file ORDER BY rowid DESC LIMIT 1").fetchone()
    if newest is None or newest == known:
        return StoredFiles(newest, [])
    return StoredFiles(newest, [row[0] for row in connection.execute("SELECT name FROM stored_file").fetchall()])
