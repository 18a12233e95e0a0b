"""The master key, the keyring, and every key that follows from them.

The master key wraps; it never encrypts data. Each database has a random key of its own, wrapped by AES-256-GCM with the
owner's id and the key's version as associated data, and kept in a small file apart from the registry: a wrapped key that
lives on in a year of registry backups would shred nothing. The keyring is written to seldom, and may be replaced as a
whole, so it keeps no log beside it, and every process looks at each use whether it is still the same file.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlcipher3.dbapi2 as driver
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.tenancy.database import Connection, connect
from app.tenancy.errors import CannotStart, DatabaseUnreadable, Refused
from app.tenancy.locks import file_lock, file_lock_if_free

KEY_BYTES = 32
KNOWN_AT_MOST = 32_768  # a few for each of ten thousand tenants, some 200 bytes each
UNSETTLED_NS = (
    50_000_000  # the clock of a disk is coarse: a file written to within this time may change and look the same
)
PLATFORM = "platform"
PENDING, ACTIVE, RETIRED = "pending", "active", "retired"
NEXT = ".next"

# What a tenant's stored files are called, what its letters are known by and what seals its audit must outlive its key.
# These sub-keys are kept in the keyring themselves, as owners of their own, from the first rotation on.
LASTING = ("audit", "file-names", "letters")

_KEYRING = """
CREATE TABLE IF NOT EXISTS wrapped_key (
    owner TEXT NOT NULL, version INTEGER NOT NULL, wrapped BLOB NOT NULL, state TEXT NOT NULL DEFAULT 'active',
    PRIMARY KEY (owner, version)
) WITHOUT ROWID, STRICT
"""

Look = tuple[int, int, int, int]  # device, inode, moment of the last write (ns since 1970), bytes


def load_master_key(path: Path, *, first_start: bool) -> bytes:
    """Read the 32-byte master key, made on the first start; raises `CannotStart` for one that is missing or exposed."""
    if first_start and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_key(path, secrets.token_bytes(KEY_BYTES))
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CannotStart(
            f"The master key {path} is missing, and without it nothing here can be opened. Put it back from your recovery "
            "kit, or set FREEHOLD_MASTER_KEY_FILE to where it is."
        ) from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise CannotStart(f"The master key {path} can be read by others. Run `chmod 600 {path}` and start again.")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise CannotStart(
            f"The master key {path} has {len(key)} bytes and must have {KEY_BYTES}. Put the right file back."
        )
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write a key into a new file for this user alone, on the disk when this returns; raises `FileExistsError`, `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file or the names in a folder on the disk. Never for a database that this process has open: locks would go."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Keys:
    """Keys of one installation, its keyring at `path`. Unwrapped keys are kept in memory until the keyring changes.

    With a `master_file` the master key is read again when the keyring was replaced under a new one.
    """

    def __init__(self, master: bytes, path: Path, master_file: Path | None = None) -> None:
        self._take(master)
        self._master_file = master_file
        self._path = path
        self._lock_file = path.parent / "locks" / "keyring"
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._opened: tuple[int, int] | None = None  # device and inode
        self._seen: Look | None = None
        self._known: dict[tuple[str, str, int | None], bytes] = {}

    def prepare(self) -> None:
        """Make the keyring file if there is none, or bring an old one up to date, and end a rotation of the master key.

        Raises `CannotStart` when the master key does not open it.
        """
        with self._writing(create=True) as ring:
            ring.execute(_KEYRING)
            if "state" not in [column[1] for column in ring.execute("PRAGMA table_info(wrapped_key)")]:
                ring.execute("ALTER TABLE wrapped_key ADD COLUMN state TEXT NOT NULL DEFAULT 'active'")
            self._insert(ring, PLATFORM, 1, secrets.token_bytes(KEY_BYTES))
            self._finish_master()
            self._forget_begun()

    @property
    def master(self) -> bytes:
        """Return the master key, which a recovery kit holds."""
        with self._reading():
            return self._master

    @property
    def master_file(self) -> Path | None:
        """Return where the master key lies, None when it was given by hand."""
        return self._master_file

    def subkey(self, purpose: str) -> bytes:
        """Derive the platform's 32-byte key for `purpose` from a secret in the keyring (HKDF-SHA256, RFC 5869)."""
        return self._remembered(PLATFORM, purpose, None)

    def tenant_subkey(self, tenant_id: str, purpose: str, version: int | None = None) -> bytes:
        """Derive a tenant's 32-byte key for `purpose`; raises `DatabaseUnreadable` when the tenant has no such key.

        It follows from the newest active version, or the one named; those that are `LASTING` stay the same.
        """
        return self._remembered(tenant_id, purpose, None if purpose in LASTING else version)

    def database_key(self, owner: str, version: int | None = None) -> bytes:
        """Unwrap a key of `owner` (a tenant's id, "registry" or "ledger"); raises `DatabaseUnreadable`.

        It is the newest active version, or the one named.
        """
        return self._remembered(owner, "", version)

    def version(self, owner: str) -> int:
        """Return the newest active version of the key of `owner`; raises `DatabaseUnreadable` when it has none."""
        rows = self._rows("SELECT max(version) FROM wrapped_key WHERE owner = ? AND state = 'active'", owner)
        if rows[0][0] is None:
            raise DatabaseUnreadable(f"The keyring has no key for {owner}.")
        return int(rows[0][0])

    def versions(self, owner: str) -> list[int]:
        """Return the versions of the key of `owner` that are or were in use, ascending."""
        wanted = "SELECT version FROM wrapped_key WHERE owner = ? AND state <> 'pending' ORDER BY version"
        return [row[0] for row in self._rows(wanted, owner)]

    def pending(self, owner: str) -> int | None:
        """Return the version that was made for `owner` and is not yet in use, None when there is none."""
        rows = self._rows("SELECT max(version) FROM wrapped_key WHERE owner = ? AND state = 'pending'", owner)
        return rows[0][0]

    def make(self, owner: str) -> None:
        """Give `owner` a random key unless it has one; safe to repeat."""
        with self._writing() as ring:
            self._insert(ring, owner, 1, secrets.token_bytes(KEY_BYTES))

    def make_next(self, owner: str) -> int:
        """Give `owner` a next key, which nothing uses before `activate`, and return its version.

        What must outlive a tenant's key is kept from now on. A pending version that was there before goes.
        """
        with self._writing() as ring:
            ring.execute("DELETE FROM wrapped_key WHERE owner = ? AND state = 'pending'", (owner,))
            for purpose in LASTING:
                self._insert(ring, f"{owner}:{purpose}", 1, self._derived(ring, owner, purpose, None))
            newest = ring.execute("SELECT max(version) FROM wrapped_key WHERE owner = ?", (owner,)).fetchone()
            version = int(newest[0]) + 1
            self._insert(ring, owner, version, secrets.token_bytes(KEY_BYTES), PENDING)
        return version

    def activate(self, owner: str, version: int) -> None:
        """Have `version` be the one in use, and the others kept for what they encrypted; raises `DatabaseUnreadable`."""
        with self._writing() as ring:
            self._unwrap(ring, owner, version)
            ring.execute("UPDATE wrapped_key SET state = 'retired' WHERE owner = ? AND state = 'active'", (owner,))
            ring.execute("UPDATE wrapped_key SET state = 'active' WHERE owner = ? AND version = ?", (owner, version))

    def drop(self, owner: str, version: int) -> None:
        """Forget one version for ever; raises `Refused` for the one in use."""
        with self._writing() as ring:
            found = ring.execute(
                "SELECT state FROM wrapped_key WHERE owner = ? AND version = ?", (owner, version)
            ).fetchone()
            if found == (ACTIVE,):
                raise Refused(f"Version {version} is the key of {owner} that is in use.")
            ring.execute("DELETE FROM wrapped_key WHERE owner = ? AND version = ?", (owner, version))

    def destroy(self, owner: str) -> None:
        """Forget every version of the key of `owner`: what it encrypted can never be read again."""
        with self._writing() as ring:
            for lost in (owner, *(f"{owner}:{purpose}" for purpose in LASTING)):
                ring.execute("DELETE FROM wrapped_key WHERE owner = ?", (lost,))

    def change_master(self, file: Path | None = None) -> None:
        """Wrap every key anew under a new master key, which takes the place of the old one, or is written to `file`.

        Raises `Refused` when it cannot be written. Killed in the middle, the next start, or whoever uses the keyring next,
        ends it: until the keyring is replaced the old key opens it, and from then on the new one, which lies beside the old.
        """
        with file_lock(self._lock_file), self._lock:
            ring = self._ring()
            self._finish_master()
            self._forget_begun()
            master = secrets.token_bytes(KEY_BYTES)
            self._write_next(file or self._next_master(), master)
            copy = self._copy_under(master, ring)
            self._shut()
            copy.replace(self._path)
            sync(self._path.parent)
            self._take(master)
            self._finish_master()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Keep the writers of all processes from the keyring for the block, as for a copy of its file."""
        with file_lock(self._lock_file, is_shared=True):
            yield

    def close(self) -> None:
        """Close the keyring, as before a fork; the next use opens it again."""
        with self._lock:
            self._shut()

    def _remembered(self, owner: str, purpose: str, version: int | None) -> bytes:
        with self._lock:
            if not self._is_unchanged() or len(self._known) >= KNOWN_AT_MOST:
                self._known.clear()
            known = self._known.get((owner, purpose, version))
        if known is None:
            with self._reading() as ring:
                known = self._known[owner, purpose, version] = self._derived(ring, owner, purpose, version)
        return known

    def _is_unchanged(self) -> bool:
        """Say whether the keyring is as it was at the last look, and the look was late enough to tell."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 (asked at every use of a key)
        except FileNotFoundError:
            self._shut()
            return False
        look = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        if look == self._seen:
            return True
        self._seen = look if time.time_ns() - found.st_mtime_ns > UNSETTLED_NS else None
        return False

    def _derived(self, ring: Connection, owner: str, purpose: str, version: int | None) -> bytes:
        if purpose in LASTING and self._has(ring, f"{owner}:{purpose}"):
            return self._unwrap(ring, f"{owner}:{purpose}", None)
        key = self._unwrap(ring, owner, version)
        return derive(key, purpose) if purpose else key

    def _has(self, ring: Connection, owner: str) -> bool:
        return ring.execute("SELECT 1 FROM wrapped_key WHERE owner = ?", (owner,)).fetchone() is not None

    def _rows(self, question: str, owner: str) -> list[tuple[int]]:
        with self._reading() as ring:
            return ring.execute(question, (owner,)).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Hold the keyring against the writers of all processes for the block.

        A reader of a file that has just been replaced would take the journal of the new one for its own, and delete it.
        """
        with self.unchanged(), self._lock:
            yield self._ring()
        self._finish_for_another()

    @contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[Connection]:
        """Hold the keyring against the writers of all processes for one transaction."""
        with file_lock(self._lock_file), self._lock:
            ring = self._ring(create=create)
            ring.execute("BEGIN IMMEDIATE")
            try:
                yield ring
            except BaseException:
                ring.execute("ROLLBACK")
                raise
            finally:
                self._known.clear()  # what is destroyed is not kept in memory either
            ring.execute("COMMIT")

    def _ring(self, *, create: bool = False) -> Connection:
        place = self._place()
        if self._connection is not None and place != self._opened:
            self._shut()
        if self._connection is None:
            self._connection, self._opened = self._open(create=create), place
        return self._connection

    def _place(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _take(self, master: bytes) -> None:
        self._master, self._cipher = master, _wrapping(master)

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._known.clear()
        self._seen = None

    def _open(self, *, create: bool) -> Connection:
        for master in dict.fromkeys(self._masters()):
            try:
                connection = _open_keyring(self._path, master, create=create)
            except driver.OperationalError as error:
                raise CannotStart(f"The keyring {self._path} cannot be opened: {error}.") from None
            except driver.DatabaseError:
                continue
            self._take(master)
            return connection
        raise CannotStart(
            f"The master key does not open the keyring {self._path}. Put the master key of this installation back."
        )

    def _masters(self) -> Iterator[bytes]:
        """Yield what may open the keyring: the master key's file, what we had, and what a rotation was about to put there."""
        for master in (self._read(self._master_file), self._master, self._read(self._next_master())):
            if master is not None:
                yield master

    def _next_master(self) -> Path | None:
        return self._master_file and self._master_file.with_name(self._master_file.name + NEXT)

    def _read(self, file: Path | None) -> bytes | None:
        with suppress(OSError):
            key = file.read_bytes() if file is not None else b""
            return key if len(key) == KEY_BYTES else None
        return None

    def _finish_master(self) -> None:
        """Under the lock: the key that opens the keyring takes its place, if it lies beside it."""
        successor = self._next_master()
        if self._master_file is not None and successor is not None and self._read(successor) == self._master:
            successor.replace(self._master_file)
            sync(self._master_file.parent)

    def _finish_for_another(self) -> None:
        """End a rotation of the master key that was killed; whoever still has the lock is alive and ends it."""
        successor = self._next_master()
        if successor is not None and successor.exists():
            with file_lock_if_free(self._lock_file) as is_free, self._lock:
                if is_free:
                    self._finish_master()

    def _forget_begun(self) -> None:
        """Under the lock, with the keyring open: what a rotation left that did not come to replacing it goes."""
        for leftover in (self._next_master(), self._copy_path(), self._copy_path("-journal")):
            # Asked first: a credential's folder cannot be written to, nor has anything been.
            if leftover is not None and leftover.exists():
                leftover.unlink()

    def _write_next(self, file: Path | None, master: bytes) -> None:
        if file is None:
            raise Refused("The master key has no file here; name one for the new key.")
        try:
            write_key(file, master)
        except FileExistsError:
            raise Refused(f"{file} is there already; name a file that is not.") from None
        except OSError as error:
            raise Refused(
                f"The new master key cannot be written to {file}: {error.strerror}. Where the key is a credential of systemd, "
                "stop Freehold, give `--write-new-key FILE`, encrypt that file as the new credential, and start again."
            ) from None

    def _copy_path(self, beside: str = "") -> Path:
        return self._path.with_name(self._path.name + NEXT + beside)

    def _copy_under(self, master: bytes, ring: Connection) -> Path:
        """Write the whole keyring anew under `master`, read it back, and return its path."""
        copy = self._copy_path()
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL, 0o600))
        rows = ring.execute("SELECT owner, version, wrapped, state FROM wrapped_key").fetchall()
        plain = [
            (owner, version, self._opened_row(owner, version, wrapped), state)
            for owner, version, wrapped, state in rows
        ]
        cipher = _wrapping(master)
        with closing(_open_keyring(copy, master, create=True)) as fresh:
            fresh.execute("BEGIN")
            fresh.execute(_KEYRING)
            fresh.executemany(
                "INSERT INTO wrapped_key (owner, version, wrapped, state) VALUES (?, ?, ?, ?)",
                [(owner, version, _wrap(cipher, owner, version, key), state) for owner, version, key, state in plain],
            )
            fresh.execute("COMMIT")
        with closing(_open_keyring(copy, master)) as fresh:
            written = fresh.execute("SELECT owner, version, wrapped, state FROM wrapped_key").fetchall()
        if [
            (owner, version, _unwrap(cipher, owner, version, key), state) for owner, version, key, state in written
        ] != plain:
            raise Refused("The new keyring did not read back as it was written; the old one stays.")
        sync(copy)
        return copy

    def _insert(self, ring: Connection, owner: str, version: int, key: bytes, state: str = ACTIVE) -> None:
        ring.execute(
            "INSERT OR IGNORE INTO wrapped_key (owner, version, wrapped, state) VALUES (?, ?, ?, ?)",
            (owner, version, _wrap(self._cipher, owner, version, key), state),
        )

    def _unwrap(self, ring: Connection, owner: str, version: int | None) -> bytes:
        wanted = "state = 'active'" if version is None else "version = ?"
        row = ring.execute(
            f"SELECT version, wrapped FROM wrapped_key WHERE owner = ? AND {wanted} ORDER BY version DESC LIMIT 1",  # noqa: S608
            (owner,) if version is None else (owner, version),
        ).fetchone()
        if row is None:
            which = "" if version is None else f"version {version} of the "
            raise DatabaseUnreadable(f"The keyring has no {which}key for {owner}.")
        return self._opened_row(owner, row[0], row[1])

    def _opened_row(self, owner: str, version: int, wrapped: bytes) -> bytes:
        try:
            return _unwrap(self._cipher, owner, version, wrapped)
        except InvalidTag:
            raise DatabaseUnreadable(f"The wrapped key of {owner} is damaged or was made for another owner.") from None


def derive(key: bytes, purpose: str) -> bytes:
    """Derive a 32-byte key for `purpose` from a key (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"freehold:{purpose}".encode()).derive(key)


def _open_keyring(path: Path, master: bytes, *, create: bool = False) -> Connection:
    connection = connect(path, derive(master, "keyring"), create=create, journal="DELETE")
    connection.execute("PRAGMA secure_delete = ON")
    return connection


def _wrapping(master: bytes) -> AESGCM:
    return AESGCM(derive(master, "wrap"))


def _wrap(cipher: AESGCM, owner: str, version: int, key: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + cipher.encrypt(nonce, key, f"{owner}:{version}".encode())


def _unwrap(cipher: AESGCM, owner: str, version: int, wrapped: bytes) -> bytes:
    return cipher.decrypt(wrapped[:12], wrapped[12:], f"{owner}:{version}".encode())
