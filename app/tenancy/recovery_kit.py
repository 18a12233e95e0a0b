"""The recovery kit: the master key under a passphrase, in a text file that says what it is and can be typed from paper.

The key of the sealing comes from the passphrase by Argon2id (RFC 9106), and the text above it is sealed with it: a kit that
names another installation, or another day, does not open. Line ends and spaces may change on the way; letters may not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import unicodedata
from datetime import datetime
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.tenancy.errors import Refused
from app.tenancy.keys import KEY_BYTES, write_key

SHORTEST_PASSPHRASE = 15  # characters
LARGEST_KIT = 65_536  # bytes
SALT_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
CHECK_BYTES = 9  # which makes 85 bytes of all, and so letters of which every bit counts

# A second of a processor and 256 MiB for each guess. They belong to "version 1": a file that named them could ask for more.
ARGON2 = {"time_cost": 4, "memory_cost": 262_144, "parallelism": 4}

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another
_BEGIN, _END = "-----BEGIN FREEHOLD RECOVERY KIT, VERSION 1-----", "-----END FREEHOLD RECOVERY KIT-----"
_KIT = re.compile(rf"\A(?P<text>.*){_BEGIN}(?P<sealed>[A-Z2-7=\s]*){_END}\s*\Z", re.DOTALL)

_TEXT = """Freehold recovery kit

Installation:  {installation}
Made:          {made:%d %B %Y, %H:%M} UTC

With this file and its passphrase, whoever has a copy of this installation's backups can read everything in them.
Without the two, a machine that is lost takes everything with it. Keep this file away from the machine and away from its
backups, on paper if you like, and keep the passphrase somewhere else.

To bring everything back on an empty machine:

    freehold backups rebuild FROM --kit FILE

FROM is the folder with the copied backups, FILE is this file. After `freehold keys rotate-master` make a new kit: this
one opens only what was backed up before.

"""


def generate_passphrase() -> str:
    """Return a new passphrase of six groups of four letters and digits: 118 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(6))


def write(master: bytes, file: Path, passphrase: str, *, installation: str, made: datetime) -> None:
    """Write a kit for this user alone to `file`; raises `Refused` when it is there, or the passphrase is short.

    `installation` is the platform's host, `made` a moment in UTC.
    """
    if len(passphrase.strip()) < SHORTEST_PASSPHRASE:
        raise Refused(
            f"A passphrase needs at least {SHORTEST_PASSPHRASE} characters: whoever guesses it has everything."
        )
    text = _TEXT.format(installation=installation, made=made)
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(_stretched(passphrase, salt)).encrypt(nonce, master, _plain(text))
    body = salt + nonce + sealed
    content = f"{text}{_BEGIN}\n{_printed(body + _check(text, body))}\n{_END}\n"
    try:
        write_key(file, content.encode())
    except FileExistsError:
        raise Refused(f"{file} is there already; a kit is never written over another file.") from None
    except OSError as error:
        raise Refused(f"The kit cannot be written to {file}: {error.strerror}.") from None


def open(file: Path, passphrase: str) -> bytes:  # noqa: A001 (said as recovery_kit.open)
    """Return the master key of the kit in `file`; raises `Refused` for another file, a damaged one, a wrong passphrase."""
    text, body = _parts(file)
    salt, rest = body[:SALT_BYTES], body[SALT_BYTES:]
    try:
        return AESGCM(_stretched(passphrase, salt)).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], _plain(text))
    except InvalidTag:
        raise Refused(f"The passphrase does not open {file}. Capitals and hyphens count.") from None


def _parts(file: Path) -> tuple[str, bytes]:
    content = _content(file)
    found = _KIT.match(content)
    if found is None:
        which = "is cut short" if _BEGIN in content else "is no recovery kit of Freehold"
        raise Refused(f"{file} {which}. Take another copy of it.")
    try:
        whole = base64.b32decode("".join(found["sealed"].split()))
    except binascii.Error:
        whole = b""
    body, check = whole[:-CHECK_BYTES], whole[-CHECK_BYTES:]
    if len(body) != SALT_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES or check != _check(found["text"], body):
        raise Refused(
            f"{file} is cut short or was changed. Take another copy, or compare what was typed letter by letter."
        )
    return found["text"], body


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST_KIT).decode()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        return ""


def _stretched(passphrase: str, salt: bytes) -> bytes:
    secret = unicodedata.normalize("NFC", passphrase.strip()).encode()
    return hash_secret_raw(secret, salt, hash_len=KEY_BYTES, type=Type.ID, **ARGON2)


def _plain(text: str) -> bytes:
    return " ".join(text.split()).encode()


def _check(text: str, body: bytes) -> bytes:
    """Return what tells a damaged kit from a wrong passphrase."""
    return hashlib.sha256(_plain(text) + b"\0" + body).digest()[:CHECK_BYTES]


def _printed(data: bytes) -> str:
    letters = base64.b32encode(data).decode()
    groups = [letters[start : start + 4] for start in range(0, len(letters), 4)]
    return "\n".join(" ".join(groups[start : start + 8]) for start in range(0, len(groups), 8))
