"""Bringing one file from somewhere else on the web, without becoming somebody's way into this network.

The name is resolved once, every address it has must be a public one, and the connection goes to the address
that was looked at. No redirects, ports 80 and 443 alone, five seconds in all, and a bound on the size. When the
other side is down or misbehaves `FetchRefused` says so; nothing else here depends on it.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

import puremagic

from app.tenancy.errors import FreeholdError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_CARRIES_V4 = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))


class FetchRefused(FreeholdError):
    """The address may not be fetched, or what answered there is not to be had; the message says which."""

    code = "fetch_refused"
    status = 422
    title = "This could not be fetched"

    def __init__(self, advice: str) -> None:
        self.advice = advice
        super().__init__(advice)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came: the bytes, and what their beginning says they are."""

    data: bytes
    mime: str


def fetch(url: str) -> Fetched:
    """Bring what is at `url`; raises `FetchRefused`."""
    return Fetcher().get(url)


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host` as the system knows them; raises `OSError`."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: Address) -> bool:
    """Tell whether `address` is on the public internet, whatever form an IPv4 address hides in."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in _GLOBAL_V6 or any(address in network for network in _CARRIES_V4):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@dataclass(frozen=True, slots=True)
class Fetcher:
    """What may be reached, and how much of it. `seconds` are for everything after the name is resolved."""

    seconds: float = 5.0
    max_bytes: int = 10 * 1024 * 1024
    ports: frozenset[int] = frozenset(_PORTS.values())
    resolve: Callable[[str, int], list[str]] = resolve
    permits: Callable[[Address], bool] = is_public

    def get(self, url: str) -> Fetched:
        """Bring what is at `url`; raises `FetchRefused`."""
        parts = self._checked(url)
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        address = self._address(host, port)
        try:
            with self._connected(parts.scheme, host, address, port) as connection:
                data = self._answer(connection, _target(parts), parts.netloc)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchRefused(f"{host} did not answer in time or not properly.") from error
        return Fetched(data, _mime(data))

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise FetchRefused("This is not a web address.") from error
        if parts.scheme not in _PORTS or not host or " " in host or _UNPRINTABLE.search(url):
            raise FetchRefused("Only web addresses that begin with http:// or https:// can be fetched.")
        if parts.username is not None or parts.password is not None:
            raise FetchRefused("A web address with a name or a password in it is not fetched.")
        if (port or _PORTS[parts.scheme]) not in self.ports:
            raise FetchRefused(f"Port {port} is not fetched from; only the usual ports of the web are.")
        return parts

    def _address(self, host: str, port: int) -> str:
        try:
            found = [ipaddress.ip_address(address.split("%")[0]) for address in self.resolve(host, port)]
        except (OSError, UnicodeError, ValueError) as error:
            raise FetchRefused(f"{host} is not known on the internet.") from error
        if not found or not all(self.permits(address) for address in found):
            raise FetchRefused(f"{host} is not on the public internet.")
        return str(found[0])

    @contextmanager
    def _connected(self, scheme: str, host: str, address: str, port: int) -> Iterator[http.client.HTTPConnection]:
        bare = socket.create_connection((address, port), timeout=self.seconds)
        # A time-out of the socket begins again with every byte, so a slow drip would never end by it.
        watched, is_over = bare.dup(), threading.Event()
        alarm = threading.Timer(self.seconds, _hang_up, (watched, is_over))
        alarm.daemon = True
        alarm.start()
        try:
            with _secured(bare, scheme, host) as open_socket:
                connection = http.client.HTTPConnection(host, port)
                connection.sock = open_socket
                yield connection
            if is_over.is_set():
                raise TimeoutError
        finally:
            alarm.cancel()
            watched.close()
            bare.close()

    def _answer(self, connection: http.client.HTTPConnection, target: str, host: str) -> bytes:
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in (("Host", host), ("Accept-Encoding", "identity"), ("User-Agent", "Freehold")):
            connection.putheader(name, value)
        connection.endheaders()
        with connection.getresponse() as response:
            if response.status != 200 or response.getheader("Content-Encoding", "identity") != "identity":
                raise FetchRefused(f"{host} answered {response.status}, and only a plain 200 is taken.")
            data = response.read(self.max_bytes + 1)
            if response.length and len(data) <= self.max_bytes:
                raise FetchRefused(f"{host} broke off before the end.")
        if len(data) > self.max_bytes:
            raise FetchRefused(f"What {host} sends is larger than {self.max_bytes} bytes.")
        return data


def _secured(bare: socket.socket, scheme: str, host: str) -> socket.socket:
    if scheme == "http":
        return bare
    return ssl.create_default_context().wrap_socket(bare, server_hostname=host)


def _hang_up(watched: socket.socket, is_over: threading.Event) -> None:
    is_over.set()
    try:
        watched.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It is over already.


def _target(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return quote((parts.path or "/") + query, safe="/?&=%:@!$'()*+,;~[]")


def _mime(data: bytes) -> str:
    try:
        return puremagic.from_string(data[:8192], mime=True) or "application/octet-stream"
    except (puremagic.PureError, ValueError):
        return "application/octet-stream"
