"""How often something may be tried, counted for all processes together in Valkey, before the work that it would cost.

Counting is left to `limits`, the library inside Flask-Limiter: a window begins at the first try. When Valkey is down each
process counts for itself and refuses all the same; after a failure it is not asked again for five seconds, and no question
waits longer than 200 ms.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import redis
from flask import Flask, current_app, request
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.tenancy import tenancy
from app.tenancy.errors import FreeholdError

TIMEOUT = 0.2  # seconds
OPEN_CIRCUIT = 5.0  # seconds without a question after a failure

T = TypeVar("T")


@dataclass(frozen=True)
class Rate:
    """How many tries of one kind there may be within `seconds`; `advice` says to people what was too much."""

    name: str
    most: int
    seconds: int
    advice: str

    @cached_property
    def item(self) -> RateLimitItem:
        """What the library counts by."""
        return RateLimitItemPerSecond(self.most, self.seconds, namespace=self.name)


class Try(NamedTuple):
    """One try: by which rate it is counted, in which house (a tenant's id, or "platform"), and whose it is."""

    rate: Rate
    house: str
    whose: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What it is counted under; whoever reads Valkey learns no name and no address."""
        mark = hmac.digest(tenancy.keys.subkey("rates"), f"{self.house}\0{self.whose}".encode(), "sha256")
        return self.house, mark.hex()[:32]


class LimitReached(FreeholdError):
    """Something was tried too often; `retry_after` says in how many seconds there is room again."""

    code = "limit_reached"
    status = 429
    title = "Please wait a little"

    def __init__(self, rate: Rate, wait: float, then: str = "Please try again") -> None:
        self.rate = rate
        self.retry_after = int(min(max(wait, 0), rate.seconds)) + 1
        minutes = -(-self.retry_after // 60)
        self.advice = f"{rate.advice} {then} in {minutes} minute{'s' if minutes > 1 else ''}."
        super().__init__(self.advice)

    @property
    def headers(self) -> dict[str, str]:
        """What programs are told."""
        return {**super().headers, **_headers(self.rate, 0, self.retry_after or 0)}


class Rates:
    """The counts of one application: those that all processes share, and this process's own for when they cannot be reached."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._guard = Lock()
        self._closed_until = 0.0

    @cached_property
    def _shared(self) -> FixedWindowRateLimiter:
        options: Any = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0)}
        return FixedWindowRateLimiter(RedisStorage(self._url, key_prefix="rates", **options))

    @cached_property
    def _own(self) -> FixedWindowRateLimiter:
        return FixedWindowRateLimiter(MemoryStorage())

    def take(self, *tries: Try) -> None:
        """Count the tries, all of them or, when one is too many, none; raises `LimitReached` for the first that is.

        Asking before counting keeps those who are refused from filling the other counts; counting has the last word.
        """
        for ask in (_has_room, _count):
            for each in tries:
                if not self._ask(partial(ask, each)):
                    raise LimitReached(each.rate, self.left(each)[1])

    def forgive(self, each: Try) -> None:
        """Forget what was counted there."""
        self._ask(lambda by: by.clear(each.rate.item, *each.key))

    def left(self, each: Try) -> tuple[int, float]:
        """Return how many tries there is room for, and in how many seconds the window ends."""
        window = self._ask(lambda by: by.get_window_stats(each.rate.item, *each.key))
        return window.remaining, max(0.0, window.reset_time - time.time())

    def _ask(self, question: Callable[[FixedWindowRateLimiter], T]) -> T:
        if time.monotonic() >= self._closed_until:
            try:
                return question(self._shared)
            except redis.RedisError:
                self._closed_until = time.monotonic() + OPEN_CIRCUIT
        with self._guard:
            return question(self._own)


def _headers(rate: Rate, room: int, seconds: int) -> dict[str, str]:
    """Return the fields of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/."""
    return {
        "RateLimit-Policy": f'"{rate.name}";q={rate.most};w={rate.seconds}',
        "RateLimit": f'"{rate.name}";r={room};t={seconds}',
    }


def _has_room(each: Try, by: FixedWindowRateLimiter) -> bool:
    return by.test(each.rate.item, *each.key)


def _count(each: Try, by: FixedWindowRateLimiter) -> bool:
    return by.hit(each.rate.item, *each.key)


def init_app(app: Flask) -> None:
    """Give `app` its counts."""
    app.extensions["freehold.rates"] = Rates(app.config["FREEHOLD"].valkey_url)


def take(*tries: Try) -> None:
    """Count the tries, all or none; raises `LimitReached`."""
    current_app.extensions["freehold.rates"].take(*tries)


def forgive(each: Try) -> None:
    """Forget what was counted there."""
    current_app.extensions["freehold.rates"].forgive(each)


def told(each: Try) -> dict[str, str]:
    """Return the headers that say how often may still be asked."""
    room, seconds = current_app.extensions["freehold.rates"].left(each)
    return _headers(each.rate, room, int(seconds) + 1)


def visitor() -> str:
    """Return the visitor's network, "" for an unknown one.

    The front reaches us by a socket that has no address, and says whom it speaks for; nobody else is asked.
    """
    told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return _network(request.remote_addr or told)


def _network(address: str) -> str:
    """Return what one visitor has: an IPv4 address, or the /64 of IPv6 addresses that a household is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Network((int(found), 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
