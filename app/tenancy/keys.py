"""The master key, the keyring, and every key that follows from them.

The master key wraps; it never encrypts data. Each database has a random key of its own, wrapped by AES-256-GCM with the
owner's id and the key's version as associated data, and kept in a small file apart from the registry: a wrapped key that
lives on in a year of registry backups would shred nothing.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from pathlib import Path

import sqlcipher3.dbapi2 as driver
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.tenancy.database import Connection, connect
from app.tenancy.errors import CannotStart, DatabaseUnreadable

KEY_BYTES = 32
KNOWN_AT_MOST = 32_768  # a few for each of ten thousand tenants, some 200 bytes each

_KEYRING = """
CREATE TABLE IF NOT EXISTS wrapped_key (
    owner TEXT NOT NULL, version INTEGER NOT NULL, wrapped BLOB NOT NULL, PRIMARY KEY (owner, version)
) WITHOUT ROWID, STRICT
"""


def load_master_key(path: Path, *, first_start: bool) -> bytes:
    """Read the 32-byte master key, made on the first start; raises `CannotStart` for one that is missing or exposed."""
    if first_start and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
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


class Keys:
    """Keys of one installation. Unwrapped keys are kept in memory until the keyring changes."""

    def __init__(self, master: bytes, path: Path) -> None:
        self._master = master
        self._wrapping = AESGCM(self.subkey("wrap"))
        self._path = path
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._seen = 0
        self._known: dict[tuple[str, str], bytes] = {}

    def prepare(self) -> None:
        """Make the keyring file if there is none; raises `CannotStart` when the master key does not open it."""
        with self._lock:
            self._ring(create=True).execute(_KEYRING)

    def subkey(self, purpose: str) -> bytes:
        """Derive the platform's 32-byte key for `purpose` (HKDF-SHA256, RFC 5869)."""
        return _derive(self._master, purpose)

    def tenant_subkey(self, tenant_id: str, purpose: str) -> bytes:
        """Derive a tenant's 32-byte key for `purpose`; raises `DatabaseUnreadable` when the tenant has no key."""
        return self._remembered(tenant_id, purpose)

    def database_key(self, owner: str) -> bytes:
        """Unwrap the newest key of `owner` (a tenant's id, "registry" or "ledger"); raises `DatabaseUnreadable`."""
        return self._remembered(owner, "")

    def make(self, owner: str) -> None:
        """Give `owner` a random key unless it has one; safe to repeat."""
        with self._lock:
            self._ring().execute(
                "INSERT OR IGNORE INTO wrapped_key VALUES (?, 1, ?)",
                (owner, self._wrap(owner, 1, secrets.token_bytes(KEY_BYTES))),
            )

    def destroy(self, owner: str) -> None:
        """Forget every version of the key of `owner`: what it encrypted can never be read again."""
        with self._lock:
            self._ring().execute("DELETE FROM wrapped_key WHERE owner = ?", (owner,))
            self._known.clear()

    def close(self) -> None:
        """Close the keyring, as before a fork; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._known.clear()

    def _remembered(self, owner: str, purpose: str) -> bytes:
        with self._lock:
            ring = self._ring()
            seen = ring.execute("PRAGMA data_version").fetchone()[0]
            if seen != self._seen or len(self._known) >= KNOWN_AT_MOST:
                self._known.clear()
                self._seen = seen
            known = self._known.get((owner, purpose))
            if known is None:
                key = self._unwrap(owner)
                known = _derive(key, purpose) if purpose else key
                self._known[owner, purpose] = known
        return known

    def _ring(self, *, create: bool = False) -> Connection:
        if self._connection is None:
            try:
                self._connection = connect(self._path, self.subkey("keyring"), create=create)
            except driver.DatabaseError:
                raise CannotStart(
                    f"The master key does not open the keyring {self._path}. Put the master key of this installation back."
                ) from None
        return self._connection

    def _wrap(self, owner: str, version: int, key: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + self._wrapping.encrypt(nonce, key, f"{owner}:{version}".encode())

    def _unwrap(self, owner: str) -> bytes:
        row = (
            self._ring()
            .execute(
                "SELECT version, wrapped FROM wrapped_key WHERE owner = ? ORDER BY version DESC LIMIT 1",
                (owner,),
            )
            .fetchone()
        )
        if row is None:
            raise DatabaseUnreadable(f"The keyring has no key for {owner}.")
        version, wrapped = row
        try:
            return self._wrapping.decrypt(wrapped[:12], wrapped[12:], f"{owner}:{version}".encode())
        except InvalidTag:
            raise DatabaseUnreadable(f"The wrapped key of {owner} is damaged or was made for another owner.") from None


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"freehold:{purpose}".encode()).derive(key)
