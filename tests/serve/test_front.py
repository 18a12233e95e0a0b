"""The front, a real one: what it keeps from web, what it hands to live, and what a client can make it believe."""

import http.client
import json
import socket
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import SimpleNamespace

import pytest

from app import create_app
from app.content.models import Entry
from app.serve import front, live, web
from app.serve.folders import make_folders
from app.tenancy import db, tenant_context
from tests.running import free_port, until
from tests.serve.running import ask_for, connect, get, head_of, running
from tests.town import copied

MIB = 1 << 20
ALPHA, BETA = "alpha.localhost", "beta.localhost"


@contextmanager
def fifty_slow_clients(connect, host):
    """Have fifty clients send a form one byte at a time."""
    head = (
        f"POST /sign-in HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5000\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    clients, over = [connect() for _ in range(50)], threading.Event()
    for client in clients:
        client.sendall(head.encode())

    def drip():
        while not over.wait(0.3):
            for client in clients:
                try:
                    client.send(b"a")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip)
    dripping.start()
    time.sleep(1.5)
    try:
        yield
    finally:
        over.set()
        dripping.join()
        for client in clients:
            client.close()


@contextmanager
def fifty_slow_readers(connect, host):
    """Have fifty clients ask for a long page and read none of it."""
    clients = [connect() for _ in range(50)]
    for client in clients:
        client.sendall(f"GET /posts/long HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    time.sleep(3)
    try:
        yield
    finally:
        for client in clients:
            client.close()


@pytest.fixture(scope="module")
def served(furnished_home, tmp_path_factory, config_of):
    """Run the front before a real web of four threads, and yield the settings."""
    home = copied(furnished_home, tmp_path_factory.mktemp("served"))
    config = config_of(home, PORT=str(free_port()), FREEHOLD_WEB_WORKERS="2", FREEHOLD_WEB_THREADS="2")
    write_long_post(config)
    with running(config, web, front):
        yield config


def write_long_post(config):
    """Give alpha a page of 900 kB, more than the sockets between take in."""
    app = create_app(config)
    tenancy = app.extensions["tenancy"]
    with app.app_context(), tenant_context(tenancy.registry.by_slug("alpha")):
        entry = Entry.write("post", "Long", slug="long")
        entry.publish()
        entry.html = "<p>" + "word " * 180_000 + "</p>"
        db.session.commit()
    tenancy.close()


@pytest.fixture
def settings(served):
    """Return the settings when both tenants are answered, whatever the test before has done."""
    until(lambda: {get(served, host)[0] for host in (ALPHA, BETA)} == {200})
    return served


def to_front(config):
    return lambda: socket.create_connection(("127.0.0.1", config.port), timeout=5)


def to_web(config):
    return lambda: connect(web.socket_path(config))


def command_without_buffers(config):
    command = front.command(config)
    (config.run / "Caddyfile").write_text(front.configuration(config, buffer=None))
    return command


def unanswered(config, host):
    """Return how many of twenty visitors got no page within four seconds."""

    def visit():
        try:
            answers.append(get(config, host, timeout=4)[0])
        except OSError:
            answers.append(0)

    answers, visitors = [], [threading.Thread(target=visit) for _ in range(20)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    return len([status for status in answers if status != 200])


def test_fifty_slow_clients_of_one_tenant_do_not_stop_another(settings):
    with fifty_slow_clients(to_front(settings), ALPHA):
        assert unanswered(settings, BETA) == 0
        assert unanswered(settings, ALPHA) == 0


@pytest.mark.prove
def test_without_the_buffers_of_the_front_fifty_slow_clients_stop_others(config):
    """The guard is taken out: this is what the buffers are for. Other tenants web itself keeps a thread for (`test_fair`)."""
    unbuffered = SimpleNamespace(command=command_without_buffers, is_ready=front.is_ready)
    with running(config, web, unbuffered):
        until(lambda: get(config, BETA)[0] == 200)
        with fifty_slow_clients(to_front(config), ALPHA):
            assert unanswered(config, ALPHA) > 0


@pytest.mark.prove
def test_without_the_front_fifty_slow_clients_stop_others(settings):
    with fifty_slow_clients(to_web(settings), ALPHA):
        assert unanswered(settings, ALPHA) > 0


def test_fifty_slow_readers_of_one_tenant_do_not_stop_another(settings):
    assert len(get(settings, ALPHA, "/posts/long")[1]) > 900_000
    with fifty_slow_readers(to_front(settings), ALPHA):
        assert unanswered(settings, BETA) == 0
        assert unanswered(settings, ALPHA) == 0


@pytest.mark.prove
def test_without_the_front_fifty_slow_readers_stop_others(settings):
    """The guard is taken out: the front reads the whole answer, so that web's threads need not wait for the reader."""
    with fifty_slow_readers(to_web(settings), ALPHA):
        assert unanswered(settings, ALPHA) > 0


def test_the_front_adds_nothing_to_what_a_client_may_claim(settings):
    claims = {
        "X-Forwarded-Host": BETA,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Prefix": "/elsewhere",
        "X-Real-Ip": "203.0.113.9",
        "Forwarded": f"host={BETA};proto=https;for=203.0.113.9",
        "Script_name": "/elsewhere",
        "Path_info": "/sign-in",
    }
    plain, claimed = get(settings, ALPHA), get(settings, ALPHA, headers=claims)
    assert claimed == plain
    assert get(settings, "nobody.example", headers={"X-Forwarded-Host": BETA})[0] == 404
    # Detail is for this machine: the claim of another address is not believed, nor is one of this.
    assert b"{" in get(settings, ALPHA, "/readyz", claims)[1].split(b'"failing":')[1][:1]


def test_unknown_hosts_get_the_same_bytes_through_the_front(settings):
    answers = {get(settings, host) for host in ("nobody.example", "alpha.localhost.evil", "10.0.0.1", "x" * 60)}
    assert len(answers) == 1
    assert answers.pop()[0] == 404


def test_two_host_headers_are_refused(settings):
    with socket.create_connection(("127.0.0.1", settings.port), timeout=10) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {ALPHA}\r\nHost: {BETA}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_visitors_are_told_when_web_is_away(config):
    with running(config, front):
        status, body = get(config, "alpha.localhost", timeout=30)
        assert (status, body) == (503, b"This site is back in a moment.")


class House(ThreadingMixIn, UnixStreamServer):
    """Stands where web or live would listen, and answers who it is and what it was given."""

    daemon_threads = True

    def __init__(self, name, path):
        self.name, self.asked, self.bodies = name, [], {}
        Path(path).unlink(missing_ok=True)
        super().__init__(str(path), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *details):
        """Pass over a client that went away."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.name == "live" and self.path.lower().partition("?")[0].endswith("live"):
            return self.stream()
        return self.answer(self.take())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

    def take(self):
        """Read the body and note how much of it has come."""
        taken = 0
        for piece in self.pieces():
            taken += len(piece)
            self.server.bodies[self.path] = taken
        return taken

    def pieces(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read1(min(left, 65536))):
            left -= len(piece)
            yield piece

    def answer(self, taken):
        told = json.dumps({"by": self.server.name, "bytes": taken}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(3):
            self.wfile.write(b"data: %d %s\n\n" % (number, self.server.name.encode()))
            time.sleep(2)

    def log_message(self, *details):
        pass


@pytest.fixture(scope="module")
def houses(tmp_path_factory, config_of):
    """Run the front before two houses, and yield the settings with them."""
    config = config_of(tmp_path_factory.mktemp("front"), PORT=str(free_port()))
    make_folders(config)
    found = {module: House(module.__name__.rpartition(".")[2], module.socket_path(config)) for module in (web, live)}
    with running(config, front):
        yield SimpleNamespace(config=config, web=found[web], live=found[live])
    for house in found.values():
        house.shutdown()
        house.server_close()


def said(config, method, path, body=b"", headers=None, chunked=False):
    """Return the status of an answer and, where a house gave it, which one."""
    line = http.client.HTTPConnection("127.0.0.1", config.port, timeout=20)
    try:
        line.putrequest(method, path)
        for name, value in (headers or {}).items():
            line.putheader(name, value)
        if chunked:
            line.putheader("Transfer-Encoding", "chunked")
        elif body is not None and not any(name.lower() == "content-length" for name in headers or {}):
            line.putheader("Content-Length", str(len(body)))
        line.endheaders()
        with suppress(OSError):  # refused before all of it was read
            line.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body or b"")
        answer = line.getresponse()
        content = answer.read()
        return answer.status, json.loads(content)["by"] if content.startswith(b"{") else ""
    finally:
        line.close()


def test_static_files_are_kept_for_good_only_when_their_address_says_which(houses):
    for query, kept in (("?v=abc", "public, max-age=31536000, immutable"), ("", "no-cache")):
        address = f"http://127.0.0.1:{houses.config.port}/static/base.css{query}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.headers["Cache-Control"] == kept
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in answer.headers
    for path in ("/static/../pyproject.toml", "/static/%2e%2e/pyproject.toml", "/static/..%2fpyproject.toml"):
        assert b"[project]" not in get(houses.config, ALPHA, path, timeout=30)[1]


@pytest.mark.parametrize(("secure", "told"), [("yes", ["max-age=31536000"]), ("no", None)])
def test_files_that_the_front_itself_answers_hold_to_https_too(tmp_path, config_of, secure, told):
    config = config_of(tmp_path, PORT=str(free_port()), FREEHOLD_SECURE=secure)
    make_folders(config)
    with running(config, front):
        address = f"http://127.0.0.1:{config.port}/static/base.css"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.headers.get_all("Strict-Transport-Security") == told


@pytest.mark.parametrize(
    ("method", "path", "size", "by"),
    [
        ("GET", "/", 0, "web"),
        ("GET", "/desk/", 0, "web"),
        ("GET", "/livery", 0, "web"),
        ("GET", "/filesystem", 0, "web"),
        ("GET", "/posts/live", 0, "web"),
        ("GET", "/files/abc/picture.png", 0, "live"),
        ("POST", "/desk/content/imports/", 0, "web"),
        ("POST", "/desk/content/imports/", MIB, "web"),
        ("POST", "/desk/content/imports/", MIB + 1, "live"),
        ("PUT", "/desk/x", 5 * MIB, "live"),
        ("PATCH", "/desk/x", 5 * MIB, "live"),
        ("POST", "/sign-in", MIB, "web"),
        ("POST", "/contact", 100, "web"),
        ("POST", "/live", 100, "web"),
        ("POST", "/files/abc/picture.png", 100, "web"),
    ],
)
def test_what_may_be_long_goes_to_live_and_the_rest_to_web(houses, method, path, size, by):
    assert said(houses.config, method, path, b"x" * size) == (200, by)


@pytest.mark.parametrize("size", [1, 5 * MIB])
def test_a_body_of_a_length_not_told_goes_to_live_from_the_desk_alone(houses, size):
    assert said(houses.config, "POST", "/desk/x", b"x" * size, chunked=True) == (200, "live")
    status, by = said(houses.config, "POST", "/contact", b"x" * size, chunked=True)
    assert (status, by) == ((200, "web") if size < MIB else (413, ""))


@pytest.mark.parametrize("path", ["/", "/sign-in", "/contact", "/files/x", "/desk", "/deskx/y", "/desk/../contact"])
def test_visitors_do_not_send_large_bodies(houses, path):
    before = len(houses.live.bodies)
    assert said(houses.config, "POST", path, b"x" * (MIB + 1))[0] == 413
    assert len(houses.live.bodies) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/event-stream"},
        {"Last-Event-ID": "0123abcd-5"},
        {"Connection": "Upgrade", "Upgrade": "websocket"},
        {"X-Forwarded-Uri": "/live", "X-Original-Url": "/live", "X-Rewrite-Url": "/live"},
        {"X-Forwarded-Prefix": "/files", "X-Http-Method-Override": "POST"},
        {"X-Accel-Redirect": "/live", "X-Accel-Buffering": "no"},
        {"Expect": "100-continue"},
        {"Transfer-Encoding": "identity"},
    ],
)
def test_no_header_chooses_who_answers(houses, headers):
    status, by = said(houses.config, "POST", "/desk/x", b"x", headers)
    assert (status, by) in ((200, "web"), (400, ""), (501, ""))
    if "Transfer-Encoding" not in headers:
        assert said(houses.config, "GET", "/", headers=headers) == (200, "web")


@pytest.mark.parametrize(("length", "by"), [("0000005", "web"), ("0002000000", "live")])
def test_a_length_is_read_as_a_number(houses, length, by):
    body = b"x" * int(length)
    assert said(houses.config, "POST", "/desk/x", body, {"Content-Length": length}) == (200, by)


@pytest.mark.parametrize("length", ["-1", "+5", "1e9", "5, 6", "99999999999999999999", "five"])
def test_a_length_that_is_none_is_refused(houses, length):
    assert said(houses.config, "POST", "/desk/x", b"", {"Content-Length": length})[0] == 400


@pytest.mark.parametrize("path", ["/live", "/live?after=0123abcd-5", "/%6cive", "/LIVE", "//live", "/./live"])
def test_no_way_of_writing_it_brings_a_stream_to_web(houses, path):
    houses.web.asked.clear()
    with socket.create_connection(("127.0.0.1", houses.config.port), timeout=10) as client:
        client.sendall(ask_for(path, "alpha.localhost"))
        head_of(client)
    assert houses.web.asked == []


def test_news_is_passed_on_at_once_and_as_it_is(houses):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", houses.config.port), timeout=10) as client:
        client.sendall(ask_for("/live", "alpha.localhost", "Accept-Encoding: zstd, gzip, br\r\n"))
        head, rest = head_of(client)
        while b"data: 0" not in rest:
            rest += client.recv(1000)
    assert time.monotonic() - began < 1.8
    assert "Content-Encoding" not in head
    assert b"data: 1" not in rest


def test_a_large_body_is_passed_on_as_it_comes(houses):
    with socket.create_connection(("127.0.0.1", houses.config.port), timeout=10) as client:
        client.sendall(b"POST /desk/slow HTTP/1.1\r\nHost: alpha.localhost\r\nContent-Length: 8000000\r\n\r\n")
        client.sendall(b"x" * 200_000)
        until(lambda: houses.live.bodies.get("/desk/slow", 0) >= 200_000, seconds=5)


def test_a_small_body_waits_at_the_front_until_it_is_whole(houses):
    with socket.create_connection(("127.0.0.1", houses.config.port), timeout=10) as client:
        client.sendall(b"POST /desk/slow-and-small HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 200001\r\n\r\n")
        client.sendall(b"x" * 200_000)
        time.sleep(1)
        assert "POST /desk/slow-and-small" not in houses.web.asked
        client.sendall(b"x")
        assert head_of(client)[0].startswith("HTTP/1.1 200 ")


def test_open_pages_wait_for_live_to_come_back(config):
    """They ask again and again by themselves; meanwhile the front keeps them waiting, and pages are served."""
    make_folders(config)
    with running(config, front):
        with socket.create_connection(("127.0.0.1", config.port), timeout=20) as client:
            client.sendall(ask_for("/live", "alpha.localhost"))
            time.sleep(1)
            house = House("live", live.socket_path(config))
            assert head_of(client)[0].startswith("HTTP/1.1 200 ")
        house.shutdown()
        house.server_close()
