"""The text that a program carries: `fh_<tenant>_<handle>_<secret>_<MAC>`, all but the first part in hex.

The MAC, under a sub-key of the platform, says that we wrote it and for whom, before any file is opened; only the SHA-256 of
the secret is stored, in the tenant's own file. The prefix lets programs that look for lost secrets know it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import NamedTuple, Self

from app.accounts.cookies import fingerprint, sign

_WRITTEN = re.compile(r"fh_([0-9a-f]{32})_([0-9a-f]{16})_([0-9a-f]{48})_([0-9a-f]{32})")


class Key(NamedTuple):
    """The secret half of a token, bound to the house it was made for; `handle` is no secret, and finds the token's row."""

    tenant_id: str
    handle: str
    secret: str

    @classmethod
    def fresh(cls, tenant_id: str) -> Self:
        """Make a key with 192 random bits."""
        return cls(tenant_id, secrets.token_hex(8), secrets.token_hex(24))

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return the key that is written there, None when we have not written it."""
        found = _WRITTEN.fullmatch(text)
        key = cls(*found.groups()[:3]) if found else None
        return key if key and hmac.compare_digest(str(key), text) else None

    @property
    def hash(self) -> str:
        """What is stored of the secret."""
        return fingerprint(self.secret)

    def __str__(self) -> str:
        body = f"fh_{self.tenant_id}_{self.handle}_{self.secret}"
        return f"{body}_{sign('api-token', body)[:32]}"
