"""Fetching reaches the public internet and nothing of ours, whatever the address is dressed up as."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from app.facilities.fetch import Fetcher, FetchRefused, fetch, is_public

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
Serve = Callable[[bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer on loopback with the given bytes, then with more of them for ever when they end in an ellipsis."""
    listeners: list[socket.socket] = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=speak, args=(listener, answer), daemon=True).start()
        return listener.getsockname()[1]

    def speak(listener: socket.socket, answer: bytes) -> None:
        try:
            peer, _ = listener.accept()
            with closing(peer):
                peer.recv(65536)
                whole = answer.removesuffix(b"...")
                peer.sendall(whole)
                while whole != answer:
                    peer.sendall(b"x")
                    time.sleep(0.05 if b"drip" in answer else 0)
        except OSError:
            return

    yield start
    for listener in listeners:
        listener.close()


def local(port: int, **bounds: object) -> Fetcher:
    """Return a fetcher that may reach loopback, to see what it does with what answers there."""
    return Fetcher(ports=frozenset((port,)), permits=lambda address: True, resolve=lambda *_: ["127.0.0.1"], **bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
    ],
)
def test_no_address_of_ours_is_fetched_however_it_is_written(host: str) -> None:
    with pytest.raises(FetchRefused, match=r"not on the public internet|not known"):
        fetch(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "javascript:alert(1)",
        "http://",
        "//example.org/",
        "http://example.org:22/",
        "http://example.org:6379/",
        "http://example.org:99999/",
        "http://user:secret@example.org/",
        "http://example.org/\r\nHost: evil",
        "http://exa mple.org/",
        "http://[::1/",
        "",
    ],
)
def test_only_plain_web_addresses_are_fetched(url: str) -> None:
    with pytest.raises(FetchRefused):
        Fetcher(resolve=lambda *_: pytest.fail("it was looked up")).get(url)


def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(FetchRefused, match="not on the public internet"):
        Fetcher(resolve=lambda *_: ["93.184.215.14", "10.0.0.1"]).get("http://example.org/")


def test_a_name_that_changes_its_answer_gains_nothing(serve: Serve) -> None:
    port = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
    answers = [["127.0.0.1"], ["10.9.8.7"], ["10.9.8.7"]]
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    seen: list[str] = []

    def permits(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        seen.append(str(address))
        return True

    fetcher = Fetcher(ports=frozenset((port,)), resolve=resolve, permits=permits)
    assert fetcher.get(f"http://rebind.example:{port}/").data == b"secret"
    assert (asked, seen) == (["rebind.example"], ["127.0.0.1"])


def test_what_answers_properly_is_brought_with_its_true_type(serve: Serve) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(PNG)
    port = serve(answer + PNG)
    fetched = local(port).get(f"http://pictures.example:{port}/a b.png")
    assert (fetched.data, fetched.mime) == (PNG, "image/png")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_redirects_and_improper_answers_are_refused(serve: Serve, answer: bytes) -> None:
    port = serve(answer)
    with pytest.raises(FetchRefused):
        local(port, seconds=2).get(f"http://odd.example:{port}/")


def test_an_endless_body_is_cut_off_at_its_bound(serve: Serve) -> None:
    port = serve(b"HTTP/1.1 200 OK\r\n\r\n...")
    with pytest.raises(FetchRefused, match="larger than"):
        local(port, max_bytes=10_000).get(f"http://endless.example:{port}/")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\ndrip...", b"HTTP/1.1 200 OK\r\nX-drip: ..."])
def test_a_slow_drip_ends_when_the_time_is_over(serve: Serve, answer: bytes) -> None:
    port = serve(answer)
    began = time.monotonic()
    with pytest.raises(FetchRefused):
        local(port, seconds=0.6).get(f"http://slow.example:{port}/")
    assert time.monotonic() - began < 3


def test_the_public_internet_is_public() -> None:
    for address in ("93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"):
        assert is_public(ipaddress.ip_address(address))
