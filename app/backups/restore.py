"""From a moment back to a living file: put together, proven, and only then put in place.

What is put together gets a name of its own, is checked page by page and as a whole, and takes the place of a living file by
one rename, while nobody has that open. Killed anywhere, the tenant has its old file or its new one.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlcipher3.dbapi2 as driver

from app.backups import raw
from app.backups.capture import count_rows
from app.backups.keeper import CENTRAL, Keeper, shelf_of
from app.backups.packs import Header, PackDamaged, newest_pages
from app.backups.shelf import Moment, Shelf
from app.backups.target import FULL
from app.facilities import audit
from app.tenancy import ResolvedTenant, Tenancy, lifecycle, rotation, schema
from app.tenancy.database import Connection, connect
from app.tenancy.errors import DatabaseUnreadable, DiskFull, FreeholdError, Refused
from app.tenancy.placements import INCOMING, Drained, last_event

Progress = Callable[[str, int, int], None]

READING, CHECKING, FILES, PLACING = "Reading the copy", "Checking it", "Bringing the files", "Putting it in place"
AT_ONCE = 4096  # pages
SPARE = 64 << 20  # bytes that stay free on the disk


class NotProven(FreeholdError):
    """What was put together is not whole, or not what was copied; it was not put in place."""

    code = "not_proven"
    status = 503


@dataclass(frozen=True)
class Verified:
    """What a check found: how many rows in how many bytes."""

    rows: int
    bytes: int


def quiet(step: str, done: int, total: int) -> None:
    """Tell nobody how far it is."""


def assemble(shelf: Shelf, moment: Moment, path: Path, progress: Progress = quiet) -> Header:
    """Put the database file of a moment together at `path`, which must not exist yet.

    Raises `PackDamaged` before anything is written when a pack on the way is lost, foreign or not sound, and at the page when one
    was changed; `DiskFull` when there is no room.
    """
    with shelf.chain(moment.seq) as chain:
        header, pages = chain[0].header, newest_pages(chain)
        if len(pages) != header.page_count:
            raise PackDamaged(f"Of {header.page_count} pages of moment {moment.seq}, {len(pages)} are there.")
        _require_room(path.parent, header.page_count * raw.PAGE)
        with _written(path) as file:
            for number in range(1, header.page_count + 1):
                pack, place = pages[number]
                file(pack.page(place))
                if number % AT_ONCE == 0:
                    progress(READING, number * raw.PAGE, header.page_count * raw.PAGE)
    progress(READING, header.page_count * raw.PAGE, header.page_count * raw.PAGE)
    return header


def verify(path: Path, key: bytes, header: Header, progress: Progress = quiet) -> Verified:
    """Open a file that was put together and check all of it: each page's seal, the structure, the stamp, the counts.

    Raises `NotProven`, saying what is wrong.
    """
    size = path.stat().st_size
    progress(CHECKING, 0, size)
    try:
        with closing(connect(path, key, journal="DELETE")) as connection:
            _require(connection.execute("PRAGMA cipher_integrity_check").fetchall() == [], "a page is not authentic")
            progress(CHECKING, size // 2, size)
            _require(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "its structure is damaged")
            if header.owner not in CENTRAL:
                _check_tenant(connection, header)
            rows = count_rows(connection)
    except driver.DatabaseError as error:
        raise NotProven(f"The file of that moment cannot be opened: {error}.") from None
    different = {table for table, count in header.rows.items() if rows.get(table) != count}
    _require(not different, f"the number of rows is another in {', '.join(sorted(different))}")
    progress(CHECKING, size, size)
    return Verified(sum(rows.values()), size)


def restore_as(
    tenancy: Tenancy,
    owner: str,
    moment: Moment,
    slug: str,
    name: str,
    *,
    tier: str = "",
    preview_of: str | None = None,
    progress: Progress = quiet,
) -> ResolvedTenant:
    """Make a new tenant as the owner was at that moment, with a key of its own; returns it, active.

    Raises `PackDamaged`, `NotProven`, `DiskFull`, `Refused`; nothing is left behind then.
    """
    shelf = shelf_of(tenancy, owner)

    def fill(tenant: ResolvedTenant) -> None:
        folder = tenancy.placements.folder(tenant.id)
        made = folder / f"main.sqlite3{INCOMING}"
        with _roomy(folder):
            _make(tenancy, shelf, moment, made, tenant, int(time.time()), progress)
        made.replace(tenancy.placements.file(tenant.id))

    made = tenancy.lifecycle.adopt(
        slug, name, fill, tier=tier, preview_of=preview_of, preview_at=moment.at if preview_of else None
    )
    tenancy.ledger.record("tenant_brought_back_as", made.id, slug=slug, source=owner, moment=moment.at.isoformat())
    return made


def restore_replacing(
    tenancy: Tenancy, keeper: Keeper, tenant: ResolvedTenant, moment: Moment, progress: Progress = quiet
) -> Moment | None:
    """Put a moment in the place of the tenant as it is; returns the moment at which today's state is kept.

    The new file is made and proven while the tenant serves; it is closed only for the last copy and the rename. A living
    file that cannot be read any more is kept beside the new one as `main.sqlite3.damaged`, and None is returned.
    Raises `PackDamaged`, `NotProven`, `DiskFull`, `Refused`, `TargetDown`, with nothing changed.
    """
    folder = tenancy.placements.folder(tenant.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = folder / "main.sqlite3.restored"
    with keeper.restoring(tenant.id):
        for leftover in folder.glob("main.sqlite3*.restored*"):
            leftover.unlink()
        try:
            with _roomy(folder):
                shelf, epoch = shelf_of(tenancy, tenant.id), _next_epoch(tenancy, tenant)
                version = tenancy.keys.version(tenant.id)
                names = _make(tenancy, shelf, moment, made, tenant, epoch, progress)
            progress(PLACING, 0, 1)
            keeper.copy_before(tenant.id)
            with tenancy.placements.drained(tenant.id) as drained:
                if tenancy.keys.version(tenant.id) != version:
                    raise Refused(f"{tenant.slug} got a new key meanwhile. Please try again.")
                kept = keeper.copy_before(tenant.id, drained)
                if kept is None:
                    _keep_damaged(drained.path)
                _bring_files(shelf, names, folder / "files", progress)  # the house may have let go of one meanwhile
                drained.replace(made)
        finally:
            _clear(made)
    tenancy.ledger.record(
        "tenant_brought_back", tenant.id, moment=moment.at.isoformat(), before=kept.at.isoformat() if kept else ""
    )
    audit.follow(tenancy, tenant.id)
    progress(PLACING, 1, 1)
    return kept


def _keep_damaged(path: Path) -> None:
    damaged = path.with_name(f"{path.name}.damaged")
    if damaged.is_dir() and not damaged.is_symlink():
        shutil.rmtree(damaged)
    damaged.unlink(missing_ok=True)
    if path.is_file() and not path.is_symlink():
        os.link(path, damaged)  # so that there is a file in its place at every moment
    elif os.path.lexists(path):
        path.replace(damaged)


def restore_missing(
    tenancy: Tenancy, tenant: ResolvedTenant, shelf: Shelf, moment: Moment, progress: Progress = quiet
) -> None:
    """Put a moment of `shelf` where the tenant's file is missing; what lies there half made goes first.

    Raises `PackDamaged`, `NotProven`, `DiskFull`; the file is then still missing.
    """
    folder = tenancy.placements.folder(tenant.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in folder.glob("main.sqlite3*"):
        leftover.unlink()
    made = folder / "main.sqlite3.restored"
    try:
        _make(tenancy, shelf, moment, made, tenant, _next_epoch(tenancy, tenant), progress)
        Drained(tenancy.placements.file(tenant.id), None).replace(made)
    finally:
        _clear(made)
    tenancy.ledger.record("tenant_brought_back", tenant.id, moment=moment.at.isoformat(), before="")
    audit.follow(tenancy, tenant.id)


def _make(
    tenancy: Tenancy,
    shelf: Shelf,
    moment: Moment,
    made: Path,
    tenant: ResolvedTenant,
    epoch: int,
    progress: Progress,
) -> list[str]:
    """Make the file of a moment fit for `tenant` at `made`: proven, under its key, at the code's schema, its files there.

    Returns the names of those files.
    """
    plain = made.with_name(f"main.sqlite3.{secrets.token_hex(4)}.restored")
    try:
        header = assemble(shelf, moment, plain, progress)
        key = tenancy.keys.database_key(shelf.owner, header.key_version)
        verify(plain, key, header, progress)
        version = tenancy.keys.version(tenant.id)
        has_its_key = (shelf.owner, header.key_version) == (tenant.id, version)
        if has_its_key:
            plain.replace(made)
        else:
            _under_another_key(plain, key, made, tenancy.keys.database_key(tenant.id))
        with closing(connect(made, tenancy.keys.database_key(tenant.id), journal="DELETE")) as file:
            if header.schema != tenancy.schema.head:
                schema.migrate(file, "tenant")
            if not has_its_key:
                rotation.rewrap(file, (shelf.owner, header.key_version), (tenant.id, version))
            _settle(tenancy, file, shelf.owner, tenant.id, max(epoch, header.epoch + 1))
            names = [row[0] for row in file.execute("SELECT name FROM stored_file").fetchall()]
        _bring_files(shelf, names, made.parent / "files", progress)
        return names
    finally:
        _clear(plain)


def _under_another_key(plain: Path, key: bytes, made: Path, new: bytes) -> None:
    _clear(made)
    _require_room(made.parent, plain.stat().st_size)
    with closing(connect(plain, key, journal="DELETE")) as source:
        with closing(connect(made, new, create=True, journal="DELETE")) as copy:
            source.backup(copy, pages=AT_ONCE, sleep=0)


def _settle(tenancy: Tenancy, file: Connection, owner: str, tenant_id: str, epoch: int) -> None:
    """Begin a new life of the file: streams start anew, caches miss, and what must not happen twice does not."""
    file.execute("BEGIN IMMEDIATE")
    file.execute("UPDATE stamp SET tenant_id = ?, epoch = ?", (tenant_id, epoch))
    told = [settler(file) for settler in lifecycle.settlers]
    audit.tell_of_return(tenancy, file, owner, [each for each in told if each])
    file.execute("COMMIT")


def _bring_files(shelf: Shelf, names: list[str], folder: Path, progress: Progress) -> None:
    """Copy the stored files that a database names and the folder lacks; one that is not kept either is left out."""
    here = {path.name for path in folder.glob("??/*")} if folder.exists() else set()
    wanted = [name for name in names if name not in here]
    for count, name in enumerate(wanted, 1):
        target = folder / name[:2] / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spare = folder / f".{secrets.token_hex(16)}"
        try:
            with shelf.target.open(shelf.file_path(name)) as source, spare.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
            spare.replace(target)
        except FileNotFoundError:
            continue
        finally:
            spare.unlink(missing_ok=True)
        progress(FILES, count, len(wanted))


def _next_epoch(tenancy: Tenancy, tenant: ResolvedTenant) -> int:
    """Return the number of a life after all there were, whatever the clock says and however short ago the last one began."""
    archived = tenancy.ledger.archived_up_to(tenant.id)
    try:
        with closing(tenancy.placements.open_file(tenant.id, any_age=True)) as living:
            epoch = living.execute("SELECT epoch FROM stamp").fetchone()[0]
    except (DatabaseUnreadable, driver.DatabaseError):
        epoch = 0
    return max(int(time.time()), epoch + 1, archived[0] + 1 if archived else 0)


def _check_tenant(connection: Connection, header: Header) -> None:
    stamp = connection.execute("SELECT tenant_id FROM stamp").fetchone()
    _require(stamp == (header.owner,), "it carries another tenant's stamp")
    ends = last_event(connection) == (header.epoch, header.event_id)
    _require(ends, "it does not end with the event it should end with")


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise NotProven(f"What was put together is not what was copied: {otherwise}.")


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + min(SPARE, size):
        raise DiskFull(f"{size:,} bytes are needed in {folder}, and {free:,} are free. Make room and try again.")


@contextmanager
def _roomy(folder: Path) -> Iterator[None]:
    """Tell a disk that ran full in the block as what it is."""
    try:
        yield
    except (OSError, driver.OperationalError) as error:
        if getattr(error, "errno", None) not in FULL and "full" not in str(error):
            raise
        raise DiskFull(f"There was not enough room in {folder}. Make room and try again.") from error


@contextmanager
def _written(path: Path) -> Iterator[Callable[[bytes], int]]:
    """Write a new file, on the disk at the end; nothing of it is left when that fails."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", 1 << 20) as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DiskFull(f"{path.name} could not be written: {error.strerror}.") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _clear(path: Path) -> None:
    for each in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + each).unlink(missing_ok=True)


def parse_time(text: str) -> datetime:
    """Read a time as people write it, UTC unless it says otherwise; raises `Refused`."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(f"{text!r} is no time; write it as 2026-11-22T14:05, or `latest`.") from None
    try:
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise Refused(f"{text!r} is beyond the times there are.") from None
