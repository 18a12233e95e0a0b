"""Live, a real one: many slow connections, none of which holds up another; and what lies on the disk meanwhile."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from app.accounts import User
from app.chat import Room
from app.content.models import Import, Media
from app.facilities import storage
from app.serve import front, live, web
from app.serve.folders import make_folders
from app.tenancy import db, tenant_context
from tests.printed import printed_token
from tests.running import alive, descendants, until
from tests.serve.running import ROOT, ask_for, connect, environment_of, get, head_of, running, start

SECRET = b"minutes of the closed meeting "


def to_live(config):
    return connect(live.socket_path(config))


def seconds_to_answer(config, host, path="/healthz"):
    """Return how long live takes to answer somebody."""
    began = time.monotonic()
    with to_live(config) as line:
        line.sendall(ask_for(path, host, "Connection: close\r\n"))
        head, _ = head_of(line)
        assert head.startswith("HTTP/1.1 200 "), head
    return time.monotonic() - began


@pytest.fixture
def cookie(app, signed_in, alpha):
    """Return the header of somebody who is signed in at alpha."""
    found = signed_in(alpha).get_cookie("freehold", domain=alpha.primary_host)
    app.extensions["tenancy"].close()
    return f"Cookie: freehold={found.value}\r\n"


@pytest.fixture
def beta_cookie(app, signed_in, beta):
    """Return the header of somebody who is signed in at beta."""
    found = signed_in(beta).get_cookie("freehold", domain=beta.primary_host)
    app.extensions["tenancy"].close()
    return f"Cookie: freehold={found.value}\r\n"


def test_it_serves_the_same_pages_as_web(config, alpha):
    with running(config, live, web):
        bodies = []
        for module in (live, web):
            with connect(module.socket_path(config)) as line:
                line.sendall(ask_for("/", alpha.primary_host, "Connection: close\r\n"))
                head, rest = head_of(line)
                assert head.startswith("HTTP/1.1 200 ")
                while piece := line.recv(65536):
                    rest += piece
                bodies.append(rest)
        assert bodies[0] == bodies[1]


def test_it_lets_itself_open_as_many_files_as_it_has_connections(config, beta):
    """The shell that starts it allows 256; two thousand connections come that say nothing."""
    make_folders(config)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = start(live, config, preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (256, hard)))
    lines = []
    try:
        until(lambda: live.is_ready(config))
        seconds_to_answer(config, beta.primary_host)
        for _ in range(2000):
            lines.append(to_live(config))
            lines[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert seconds_to_answer(config, beta.primary_host) < 3
    finally:
        for line in lines:
            line.close()
        process.terminate()
        process.wait(timeout=15)


@pytest.mark.parametrize(("hard", "answer"), [(2500, "708"), (1800, "CannotServe")])
def test_where_few_files_may_be_open_it_takes_fewer_connections_or_says_what_to_do(config, hard, answer):
    program = (
        f"import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1000, {hard}))\n"
        "from app.config import Config; from app.serve import live\n"
        "print(live.connections(Config.load(os.environ)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment_of(config), capture_output=True, text=True
    )
    assert answer in told.stdout + told.stderr
    assert told.returncode == 0 or "ulimit -Hn" in told.stderr


def test_it_ends_soon_with_connections_open(config, alpha, cookie):
    with running(config, live) as (process,):
        lines = [to_live(config) for _ in range(60)]
        for line in lines[:10]:
            line.sendall(ask_for("/live", alpha.primary_host, cookie))
            assert head_of(line)[0].startswith("HTTP/1.1 200 ")
        for line in lines[10:]:
            line.sendall(b"POST /desk/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        workers, began = descendants(process.pid), time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=6)
        assert time.monotonic() - began < 5
        assert not alive(workers)
        for line in lines:
            line.close()


@contextmanager
def locked(tenancy, tenant):
    """Hold the write lock of a tenant's file, as a long migration would."""
    with closing(tenancy.placements.open(tenant)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def test_a_locked_file_of_one_tenant_holds_up_nobody_elses_answers(config, tenancy, alpha, beta):
    with running(config, live), locked(tenancy, alpha):
        seconds_to_answer(config, beta.primary_host, "/")
        body = b"email=a%40b.example&password=long+enough+password"
        waiting = [to_live(config) for _ in range(5)]
        for line in waiting:
            line.sendall(
                f"POST /sign-in HTTP/1.1\r\nHost: {alpha.primary_host}\r\nContent-Length: {len(body)}\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()
                + body
            )
        took = []
        for _ in range(40):
            took.append(seconds_to_answer(config, beta.primary_host, "/"))
            time.sleep(0.02)
        assert max(took) < 2.5  # each of the five would hold all for five seconds
        for line in waiting:
            line.close()


@contextmanager
def taken(tenancy, tenant):
    """Have a tenant's file alone, so that nobody can open it."""
    tenancy.close()
    with closing(tenancy.placements.open_file(tenant.id, guarded=False)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")
        holder.execute("PRAGMA locking_mode = NORMAL")
        holder.execute("PRAGMA journal_mode = WAL")


@contextmanager
def open_stream(config, tenant, cookie):
    """Open a page's stream, and read the answer as far as its first message."""
    with to_live(config) as line:
        line.sendall(ask_for("/live", tenant.primary_host, cookie))
        head, rest = head_of(line)
        assert head.startswith("HTTP/1.1 200 "), head
        while b"event: reset" not in rest:
            rest += line.recv(65536)
        yield line


def test_a_file_that_nobody_can_open_stops_no_stream_of_another_tenant(
    app, config, tenancy, alpha, beta, cookie, beta_cookie
):
    with running(config, live), open_stream(config, beta, beta_cookie) as line, ExitStack() as waiting:
        with taken(tenancy, alpha):
            for _ in range(5):
                other = waiting.enter_context(to_live(config))
                other.sendall(ask_for("/live", alpha.primary_host, cookie))
            took = []
            for number in range(8):
                said = say(app, beta, f"word-{number}")
                while f"word-{number}".encode() not in line.recv(65536):
                    pass
                took.append(time.monotonic() - said)
            assert max(took) < 2.5  # each of the five, waiting as SQLite does, would hold all for five seconds


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.prove)])
def test_connections_that_never_read_stop_no_stream(app, config, alpha, beta, cookie, beta_cookie, count):
    """A fifth of them are streams of somebody signed in; the others ask and leave the answer where it is."""
    with running(config, live), open_stream(config, beta, beta_cookie) as line, ExitStack() as silent:
        for number in range(count):
            other = silent.enter_context(to_live(config))
            other.sendall(ask_for("/live", alpha.primary_host, "" if number % 5 else cookie))
        say(app, alpha, "to those who sleep")
        say(app, beta, "to those who wake")
        heard = b""
        while b"to those who wake" not in heard:
            heard += line.recv(65536)
        assert b"sleep" not in heard
        assert seconds_to_answer(config, beta.primary_host) < 10


def say(app, tenant, text):
    """Write a line into `general`; return when, in monotonic seconds."""
    with app.app_context(), tenant_context(tenant):
        owner = db.session.scalars(select(User)).first()
        Room.general().say(text, by=owner, client_id=text)
        db.session.commit()
    return time.monotonic()


@pytest.fixture
def big_file(app, alpha):
    """Give alpha a document of 8 MB, and return its address."""
    with app.app_context(), tenant_context(alpha):
        stored = storage.put(os.urandom(8 << 20))
        db.session.add(Media(name="big.bin", mime=stored.mime, stored_name=stored.name))
        db.session.commit()
        address = f"/files/{stored.name}/big.bin"
    app.extensions["tenancy"].close()
    return address


def test_fifty_who_never_read_their_file_hold_up_nobody(config, alpha, beta, cookie, big_file):
    with running(config, live):
        readers = [to_live(config) for _ in range(50)]
        for line in readers:
            line.sendall(ask_for(big_file, alpha.primary_host, cookie))
            assert line.recv(15) == b"HTTP/1.1 200 OK"
        assert seconds_to_answer(config, beta.primary_host) < 3
        assert seconds_to_answer(config, alpha.primary_host) < 3
        for line in readers:
            line.close()


def test_others_get_their_turn_while_a_large_file_goes_out(config, alpha, beta, cookie, big_file):
    over, took = threading.Event(), []

    def read_on():
        while not over.is_set():
            with to_live(config) as line:
                line.sendall(ask_for(big_file, alpha.primary_host, cookie + "Connection: close\r\n"))
                while line.recv(1 << 20):
                    pass

    with running(config, live):
        for host in (alpha.primary_host, beta.primary_host):  # what only the first visitor waits for
            seconds_to_answer(config, host, "/")
        reading = threading.Thread(target=read_on)
        reading.start()
        for _ in range(50):
            took.append(seconds_to_answer(config, beta.primary_host))
        over.set()
        reading.join()
    assert max(took) < 1


# Uploads.


@contextmanager
def half_an_upload(config, tenant, cookie, size=6 << 20):
    """Send a large export's first half through the front; yield the line and what is still to be sent."""
    header = dict([cookie.strip().split(": ", 1)])
    page = get(config, tenant.primary_host, "/desk/content/imports/", header)[1].decode()
    edge = "edgeofthepart"
    fields = (
        f'--{edge}\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{printed_token(page)}\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="old.xml"\r\n'
        "Content-Type: text/xml\r\n\r\n"
    )
    body = fields.encode() + SECRET * (size // len(SECRET)) + f"\r\n--{edge}--\r\n".encode()
    with socket_to_front(config) as line:
        line.sendall(
            f"POST /desk/content/imports/ HTTP/1.1\r\nHost: {tenant.primary_host}\r\n{cookie}"
            f"Content-Length: {len(body)}\r\nContent-Type: multipart/form-data; boundary={edge}\r\n\r\n".encode()
        )
        line.sendall(body[: len(body) // 2])
        yield line, body[len(body) // 2 :]


def socket_to_front(config):
    return socket.create_connection(("127.0.0.1", config.port), timeout=20)


def nameless_files(pids, folder):
    """Return the paths of open files under `folder` that have no name any more."""
    found = []
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith(str(folder)) and target.endswith("(deleted)"):
                found.append(descriptor)
    return found


def test_an_upload_on_its_way_cannot_be_read_on_the_disk(config, home, app, alpha, cookie):
    with running(config, live, web, front) as (process, *_):
        workers = descendants(process.pid)
        with half_an_upload(config, alpha, cookie) as (line, rest):
            (spool,) = until(lambda: nameless_files(workers, home))
            until(lambda: spool.stat().st_size > 2 << 20)
            assert SECRET not in spool.read_bytes()
            assert not nameless_files(workers, "/tmp/tmp")
            line.sendall(rest)
            assert head_of(line)[0].startswith("HTTP/1.1 303 ")
        until(lambda: not nameless_files(workers, home), seconds=5)
    with app.app_context(), tenant_context(alpha):
        run = db.session.scalars(select(Import)).one()
        assert storage.read(run.stored_name) == SECRET * ((6 << 20) // len(SECRET))


def test_an_upload_on_its_way_holds_up_no_writer_of_its_organisation(config, home, tenancy, alpha, cookie):
    """A form that is taken in inside a transaction would lock the file for as long as a slow phone takes."""
    with running(config, live, web, front) as (process, *_):
        workers = descendants(process.pid)
        with half_an_upload(config, alpha, cookie):
            until(lambda: nameless_files(workers, home))
            began = time.monotonic()
            with locked(tenancy, alpha):
                assert time.monotonic() - began < 2


def send_on(line):
    """Send until nobody listens any more, as browsers do."""
    with suppress(OSError):
        while True:
            line.sendall(b"y" * 10_000)


def test_an_upload_that_is_too_large_is_refused_with_a_page(config, alpha, cookie):
    with running(config, live, web, front):
        with socket_to_front(config) as line:
            line.sendall(
                f"POST /desk/content/imports/ HTTP/1.1\r\nHost: {alpha.primary_host}\r\n{cookie}"
                "Content-Length: 900000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
            )
            line.sendall(b"--x\r\n")
            sending = threading.Thread(target=send_on, args=(line,))
            sending.start()
            head, _ = head_of(line)
            line.shutdown(socket.SHUT_RDWR)
            sending.join()
            assert head.startswith("HTTP/1.1 413 ")
            assert "text/html" in head
