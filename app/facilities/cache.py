"""Answers worth keeping, for the current tenant only: in this process first, then in Valkey for all of them.

When Valkey is down, values are kept and found in this process alone; after a failure it is not asked again for
five seconds, and no call waits longer than 200 ms. A value that the tenant's own key has not signed is a miss.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

import redis
from flask import Flask, current_app
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.tenancy import current_tenant, tenancy

LOCAL_BYTES = 8 << 20
TIMEOUT = 0.2  # seconds
OPEN_CIRCUIT = 5.0  # seconds without a question after a failure
MAC_BYTES = 32

T = TypeVar("T")


@dataclass(frozen=True)
class _Kept(Generic[T]):
    value: T
    size: int
    until: float


class Shelf(Generic[T]):
    """Values in this process, at most `limit` bytes of them; what was used longest ago goes first."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._clock = clock
        self._kept: OrderedDict[object, _Kept[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: object) -> T | None:
        """Return what is kept under `key`, None when nothing is or its time is over."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.until <= self._clock():
                self.misses += 1
                return None
            self._kept.move_to_end(key)
            self.hits += 1
            return kept.value

    def put(self, key: object, value: T, size: int, seconds: float) -> None:
        """Keep `value`, counted as `size` bytes, for `seconds`; one larger than the shelf is not kept."""
        if size > self.limit or seconds <= 0:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = _Kept(value, size, self._clock() + seconds)
            self.bytes += size
            while self.bytes > self.limit:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: object) -> None:
        gone = self._kept.pop(key, None)
        self.bytes -= gone.size if gone else 0


class Cache:
    """The two shelves of one application."""

    def __init__(self, url: str, local_bytes: int = LOCAL_BYTES) -> None:
        self.local: Shelf[bytes] = Shelf(local_bytes)
        self._closed_until = 0.0
        self._valkey = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )

    def get(self, name: str) -> bytes | None:
        """Return the current tenant's value of that name, None when there is none to be trusted."""
        key = _key(name)
        value = self.local.get(key)
        return value if value is not None else self._fetch(key)

    def put(self, name: str, value: bytes, seconds: int) -> None:
        """Keep the current tenant's value of that name for `seconds`."""
        key = _key(name)
        self.local.put(key, value, len(value), seconds)
        self._ask(lambda: self._valkey.set(key, _seal(key, value, time.time() + seconds), ex=seconds))

    def _fetch(self, key: str) -> bytes | None:
        opened = _open(key, self._ask(lambda: self._valkey.get(key)))
        if opened is None:
            return None
        value, seconds = opened
        self.local.put(key, value, len(value), seconds)
        return value

    def _ask(self, question: Callable[[], object]) -> object:
        if time.monotonic() < self._closed_until:
            return None
        try:
            return question()
        except redis.RedisError:
            self._closed_until = time.monotonic() + OPEN_CIRCUIT
            return None


def _key(name: str) -> str:
    return f"t:{current_tenant().id}:{name}"


def _mac(key: str, content: bytes) -> bytes:
    secret = tenancy.keys.tenant_subkey(current_tenant().id, "cache")
    # The key is signed with the value: a true value moved to another name is a miss as well.
    return hmac.digest(secret, key.encode() + b"\0" + content, "sha256")


def _seal(key: str, value: bytes, until: float) -> bytes:
    content = int(until * 1000).to_bytes(8, "big") + value
    return _mac(key, content) + content


def _open(key: str, sealed: object) -> tuple[bytes, float] | None:
    if not isinstance(sealed, bytes) or len(sealed) < MAC_BYTES + 8:
        return None
    mac, content = sealed[:MAC_BYTES], sealed[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, content)):
        return None
    seconds = int.from_bytes(content[:8], "big") / 1000 - time.time()
    return (content[8:], seconds) if seconds > 0 else None


def init_app(app: Flask) -> None:
    """Give `app` its cache."""
    app.extensions["freehold.cache"] = Cache(app.config["FREEHOLD"].valkey_url)


def _cache() -> Cache:
    cache: Cache = current_app.extensions["freehold.cache"]
    return cache


def get(name: str) -> bytes | None:
    """Return the current tenant's value of that name, None when there is none to be trusted."""
    return _cache().get(name)


def put(name: str, value: bytes, seconds: int) -> None:
    """Keep the current tenant's value of that name for `seconds`."""
    _cache().put(name, value, seconds)
