"""Files of a tenant, sealed: nobody reads one without the tenant's key, and nobody can test for a known one.

A file is named by an HMAC of its content, so the same bytes are kept once. Each has a random key of its own,
wrapped by a key of the tenant; its bytes are AES-256-GCM in chunks of 64 KiB whose nonces count up and mark the
last one, so that a file which is cut short, reordered or exchanged does not open. When the disk is full nothing
is left behind and `DiskFull` is raised; when the file or its key is gone `StorageDamaged` is, for this file.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import hmac
import io
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import puremagic
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app.facilities import limits
from app.tenancy import TenantModel, Timestamp, current_tenant, db, rotation, tenancy, utcnow
from app.tenancy.database import Connection, waiting
from app.tenancy.errors import DiskFull, FreeholdError
from app.tenancy.jobs import job, later

CHUNK = 65536  # bytes of plaintext
_SEALED = CHUNK + 16
_SNIFFED = 8192
_TEXTS = frozenset(("text/csv", "text/markdown", "text/calendar", "text/vcard"))
_ACTIVE = frozenset(("text/html", "application/xhtml+xml", "image/svg+xml", "text/javascript"))


class StorageDamaged(FreeholdError):
    """A stored file is missing, cut short, exchanged, or its key does not fit."""

    code = "storage_damaged"
    status = 503
    title = "This file cannot be read"
    advice = "The other files are fine. Whoever runs this platform can bring it back from a backup."


class StoredFile(TenantModel):
    """A sealed file in the tenant's folder. `size` is in bytes of plaintext."""

    __tablename__ = "stored_file"

    name: Mapped[str] = mapped_column(primary_key=True)  # 64 hex digits
    wrapped_key: Mapped[bytes]
    size: Mapped[int]
    mime: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


def put(data: bytes | BinaryIO, mime: str = "") -> StoredFile:
    """Seal `data` and return its row, the one already here when the same bytes are.

    Raises `DiskFull`, and `QuotaExceeded` when the plan has no room.

    `mime` is a hint for plain text alone: what a file is, its first bytes tell.
    """
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    tenant = current_tenant().id
    key = secrets.token_bytes(32)
    folder = _folder(tenant)
    temporary = folder / f".{secrets.token_hex(16)}"
    try:
        name, size, head = _seal(source, temporary, key, tenancy.keys.tenant_subkey(tenant, "file-names"))
        known = db.session.get(StoredFile, name)
        if known is not None:
            return known
        require_room(size)
        file = StoredFile(name=name, wrapped_key=_wrap(tenant, name, key), size=size, mime=_mime(head, mime))
        db.session.add(file)
        db.session.flush()
        _move(temporary, folder / name[:2] / name)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def forget(name: str) -> None:
    """Let go of a file that the caller shows no more; one that is shown elsewhere stays. Its bytes go after the commit."""
    try:
        with db.session.begin_nested():
            db.session.execute(delete(StoredFile).where(StoredFile.name == name))
    except IntegrityError:  # somebody else's row names it
        return
    later("storage.clear", stored=name)


@job("storage.clear", timeout=60)
def clear(stored: str) -> None:
    """Remove the bytes of a file that was let go, unless the same ones were put here again meanwhile."""
    if find(stored) is None:
        (_folder(current_tenant().id) / stored[:2] / stored).unlink(missing_ok=True)


def count() -> int:
    """Return how many files the current tenant has stored."""
    return db.session.scalar(select(func.count()).select_from(StoredFile)) or 0


def used_bytes() -> int:
    """Return what the current tenant takes on the disk: its files and its database."""
    files = db.session.scalar(select(func.coalesce(func.sum(StoredFile.size), 0))) or 0
    return files + tenancy.placements.file(current_tenant().id).stat().st_size


def require_room(size: int) -> None:
    """Raise `QuotaExceeded` when the plan has no room for `size` bytes more."""
    limits.require("storage", size)


limits.meter("storage", unit="bytes", label="Storage", used=used_bytes)


def find(name: str) -> StoredFile | None:
    """Return the row of the file of that name, None when there is none."""
    return db.session.get(StoredFile, name)


def read(name: str) -> bytes:
    """Return the whole file; raises `StorageDamaged`."""
    return b"".join(chunks(name))


def chunks(name: str) -> Iterator[bytes]:
    """Return the file in verified pieces of 64 KiB; raises `StorageDamaged`, at the latest at the damage.

    The database is asked before this returns; the reading that follows needs no transaction.
    """
    tenant = current_tenant().id
    file = db.session.get(StoredFile, name)
    if file is None:
        raise StorageDamaged(f"The stored file {name} is not known here.")
    return _unseal(_folder(tenant) / name[:2] / name, _unwrap(tenant, name, file.wrapped_key))


def open_file(name: str) -> BinaryIO:
    """Return the file as a readable stream of bytes; raises `StorageDamaged` as `chunks` does."""
    return io.BufferedReader(_Stream(chunks(name)), CHUNK)


class Spool(io.BufferedIOBase):
    """A temporary file for an upload on its way in, sealed with a key that only this object knows.

    It is written at its end alone and read anywhere. The last piece, up to 64 KiB, is kept in memory; the pieces before it
    lie in a file without a name in `folder`, gone with the process. Raises `DiskFull` when there is no room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cipher = AESGCM(secrets.token_bytes(32))
        self._file: Any = None
        self._sealed = 0  # pieces in the file
        self._tail = bytearray()
        self._position = 0
        self._opened = (-1, b"")  # the piece that was read last

    def write(self, data: Any, /) -> int:
        """Append `data`; raises `io.UnsupportedOperation` elsewhere than at the end, and `DiskFull`."""
        if self._position != self._size:
            raise io.UnsupportedOperation("A spool is written at its end only.")
        self._tail += data
        while len(self._tail) >= CHUNK:
            self._seal_piece(bytes(self._tail[:CHUNK]))
            del self._tail[:CHUNK]
        self._position = self._size
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises `StorageDamaged`."""
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        pieces = []
        while self._position < end:
            piece = self.peek()[: end - self._position]
            self._position += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    read1 = read

    def peek(self, size: int = 0, /) -> bytes:
        """Return the rest of the piece at the position, without moving; at the end, nothing."""
        return self._piece(self._position // CHUNK)[self._position % CHUNK :]

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a place in the file and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Let go of the file and of what is in memory."""
        if self._file is not None:
            self._file.close()
        self._tail.clear()
        self._opened = (-1, b"")
        super().close()

    @property
    def _size(self) -> int:
        return self._sealed * CHUNK + len(self._tail)

    def _seal_piece(self, piece: bytes) -> None:
        sealed = self._cipher.encrypt(_nonce(self._sealed, last=False), piece, None)
        with _room_in(self._folder):
            if self._file is None:
                # Unbuffered: a buffer that finds no room would complain again at the end.
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._file.seek(self._sealed * _SEALED)
            while sealed:
                sealed = sealed[self._file.write(sealed) :]
        self._sealed += 1
        _give_way()

    def _piece(self, number: int) -> bytes:
        if number >= self._sealed:
            return bytes(self._tail) if number == self._sealed else b""
        if self._opened[0] != number:
            self._file.seek(number * _SEALED)
            try:
                piece = self._cipher.decrypt(_nonce(number, last=False), self._file.read(_SEALED), None)
            except InvalidTag as error:
                raise StorageDamaged("An upload changed on the disk while it was being read.") from error
            self._opened = (number, piece)
        return self._opened[1]


def _folder(tenant: str) -> Path:
    folder = tenancy.placements.folder(tenant) / "files"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _seal(source: BinaryIO, target: Path, key: bytes, name_key: bytes) -> tuple[str, int, bytes]:
    """Write `source` sealed to `target`; return its name, its size in bytes and its first bytes."""
    cipher, named, size = AESGCM(key), hmac.new(name_key, digestmod=hashlib.sha256), 0
    chunk = head = source.read(CHUNK)
    with _room_in(target.parent), open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for count in range(1 << 40):
            following = source.read(CHUNK) if chunk else b""
            named.update(chunk)
            size += len(chunk)
            file.write(cipher.encrypt(_nonce(count, last=not following), chunk, None))
            if not following:
                break
            chunk = following
            _give_way()
        file.flush()
        _sync(file.fileno())
    return named.hexdigest(), size, head[:_SNIFFED]


@contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    """Call a full disk `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"There was no more room in {folder}.") from error
        raise


def _give_way() -> None:
    """Between two pieces, let others have their turn: in live they share this thread."""
    time.sleep(0)


def _sync(descriptor: int) -> None:
    """Have a file's bytes on the disk; in live, where one thread serves many, another one waits for that."""
    waiting.aside(lambda: os.fsync(descriptor))


def _unseal(path: Path, key: bytes) -> Iterator[bytes]:
    cipher = AESGCM(key)
    try:
        with path.open("rb") as file:
            sealed = file.read(_SEALED)
            for count in range(1 << 40):
                following = file.read(_SEALED)
                yield cipher.decrypt(_nonce(count, last=not following), sealed, None)
                if not following:
                    return
                sealed = following
                _give_way()
    except (InvalidTag, FileNotFoundError, ValueError) as error:
        raise StorageDamaged(f"The stored file {path.name} is missing, cut short or changed.") from error


def _nonce(count: int, *, last: bool) -> bytes:
    """Return the 12-byte nonce of a chunk. The key is the file's alone, so a counter cannot repeat."""
    return count.to_bytes(11, "big") + (b"\1" if last else b"\0")


def _wrap(tenant: str, name: str, key: bytes, version: int | None = None) -> bytes:
    nonce, cipher = secrets.token_bytes(12), AESGCM(tenancy.keys.tenant_subkey(tenant, "files", version))
    return nonce + cipher.encrypt(nonce, key, f"{tenant}:{name}".encode())


def _unwrap(tenant: str, name: str, wrapped: bytes, version: int | None = None) -> bytes:
    cipher = AESGCM(tenancy.keys.tenant_subkey(tenant, "files", version))
    try:
        return cipher.decrypt(wrapped[:12], wrapped[12:], f"{tenant}:{name}".encode())
    except (InvalidTag, ValueError) as error:
        raise StorageDamaged(f"The key of the stored file {name} does not fit.") from error


@rotation.rewraps
def _rewrap(connection: Connection, old: rotation.Holder, new: rotation.Holder) -> None:
    """Wrap the keys of all stored files for another tenant or version; damaged ones stay as they are."""
    for name, wrapped in connection.execute("SELECT name, wrapped_key FROM stored_file").fetchall():
        with suppress(StorageDamaged):
            key = _unwrap(old[0], name, wrapped, old[1])
            again = _wrap(new[0], name, key, new[1])
            connection.execute("UPDATE stored_file SET wrapped_key = ? WHERE name = ?", (again, name))


def _move(temporary: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    temporary.replace(target)
    for folder in (target.parent, target.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _mime(head: bytes, hint: str) -> str:
    """Return what the first bytes say. What a browser might run is plain text here."""
    found = _sniff(head)
    if found in _ACTIVE:
        return "text/plain"
    if found:
        return found
    if not _is_text(head):
        return "application/octet-stream"
    return hint if hint in _TEXTS else "text/plain"


def _sniff(head: bytes) -> str:
    try:
        return puremagic.from_string(head, mime=True)
    except (puremagic.PureError, ValueError):
        return ""


def _is_text(head: bytes) -> bool:
    try:
        # A character may be cut in two where the first bytes end, hence a decoder that waits for the rest.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


class _Stream(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)
