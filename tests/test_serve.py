"""The processes, real ones: started, watched and ended; and what the front keeps from web."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.content.models import Entry
from app.serve import front, web
from app.serve.folders import CannotServe, make_folders
from app.serve.processes import PROCESSES, Process, environment
from app.serve.supervisor import Supervisor
from app.tenancy import db, tenant_context
from tests.running import alive, descendants, free_port, until

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(home, config_of):
    return config_of(home, PORT=str(free_port()), FREEHOLD_WEB_WORKERS="2", FREEHOLD_WEB_THREADS="2")


def get(config, host, path="/", headers=None, timeout=20):
    """Return status and body of a page, asked of the front."""
    asked = urllib.request.Request(f"http://127.0.0.1:{config.port}{path}", headers={"Host": host, **(headers or {})})
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def environment_of(config):
    return {
        **environment(config),
        "FREEHOLD_HOME": str(config.home),
        "FREEHOLD_WEB_WORKERS": str(config.web_workers),
        "FREEHOLD_WEB_THREADS": str(config.web_threads),
    }


@contextmanager
def running(config, *modules, buffer=front.BUFFER):
    """Run web and front by themselves."""
    make_folders(config)
    started = []
    try:
        for module in modules:
            command = module.command(config)
            if module is front:
                (config.run / "Caddyfile").write_text(front.configuration(config, buffer=buffer))
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment_of(config), stderr=subprocess.DEVNULL))
        until(lambda: all(module.is_ready(config) for module in modules))
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=15)


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


@pytest.fixture
def long_post(app, alpha):
    """Give alpha a page of 900 kB, more than the sockets between take in."""
    with app.app_context(), tenant_context(alpha):
        entry = Entry.write("post", "Long", slug="long")
        entry.publish()
        entry.html = "<p>" + "word " * 180_000 + "</p>"
        db.session.commit()
    app.extensions["tenancy"].close()


def to_front(config):
    return lambda: socket.create_connection(("127.0.0.1", config.port), timeout=5)


def to_web(config):
    def connect():
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(web.socket_path(config)))
        return client

    return connect


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


def test_fifty_slow_clients_of_one_tenant_do_not_stop_another(config, alpha, beta):
    with running(config, web, front):
        until(lambda: get(config, beta.primary_host)[0] == 200)
        with fifty_slow_clients(to_front(config), alpha.primary_host):
            assert unanswered(config, beta.primary_host) == 0
            assert unanswered(config, alpha.primary_host) == 0


def test_without_the_buffers_of_the_front_fifty_slow_clients_stop_others(config, alpha, beta):
    """The guard is taken out: this is what the buffers are for."""
    with running(config, web, front, buffer=None):
        until(lambda: get(config, beta.primary_host)[0] == 200)
        with fifty_slow_clients(to_front(config), alpha.primary_host):
            assert unanswered(config, beta.primary_host) > 0


def test_without_the_front_fifty_slow_clients_stop_others(config, alpha, beta):
    with running(config, web, front):
        until(lambda: get(config, beta.primary_host)[0] == 200)
        with fifty_slow_clients(to_web(config), alpha.primary_host):
            assert unanswered(config, beta.primary_host) > 0


def test_fifty_slow_readers_of_one_tenant_do_not_stop_another(config, alpha, beta, long_post):
    with running(config, web, front):
        until(lambda: get(config, beta.primary_host)[0] == 200)
        assert len(get(config, alpha.primary_host, "/posts/long")[1]) > 900_000
        with fifty_slow_readers(to_front(config), alpha.primary_host):
            assert unanswered(config, beta.primary_host) == 0


def test_without_the_front_fifty_slow_readers_stop_others(config, alpha, beta, long_post):
    """The guard is taken out: the front reads the whole answer, so that web's threads need not wait for the reader."""
    with running(config, web, front):
        until(lambda: get(config, beta.primary_host)[0] == 200)
        with fifty_slow_readers(to_web(config), alpha.primary_host):
            assert unanswered(config, beta.primary_host) > 0


def test_the_front_adds_nothing_to_what_a_client_may_claim(config, alpha, beta):
    claims = {
        "X-Forwarded-Host": beta.primary_host,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Prefix": "/elsewhere",
        "X-Real-Ip": "203.0.113.9",
        "Forwarded": f"host={beta.primary_host};proto=https;for=203.0.113.9",
        "Script_name": "/elsewhere",
        "Path_info": "/sign-in",
    }
    with running(config, web, front):
        until(lambda: get(config, alpha.primary_host)[0] == 200)
        plain, claimed = get(config, alpha.primary_host), get(config, alpha.primary_host, headers=claims)
        assert claimed == plain
        assert get(config, "nobody.example", headers={"X-Forwarded-Host": beta.primary_host})[0] == 404
        # Detail is for this machine: the claim of another address is not believed, nor is one of this.
        assert b"{" in get(config, alpha.primary_host, "/readyz", claims)[1].split(b'"failing":')[1][:1]


def test_unknown_hosts_get_the_same_bytes_through_the_front(config):
    with running(config, web, front):
        until(lambda: get(config, "nobody.example")[0] == 404)
        answers = {get(config, host) for host in ("nobody.example", "alpha.localhost.evil", "10.0.0.1", "x" * 60)}
        assert len(answers) == 1


def test_two_host_headers_are_refused(config, alpha, beta):
    with running(config, web, front):
        until(lambda: get(config, alpha.primary_host)[0] == 200)
        with socket.create_connection(("127.0.0.1", config.port), timeout=10) as client:
            client.sendall(
                f"GET / HTTP/1.1\r\nHost: {alpha.primary_host}\r\nHost: {beta.primary_host}\r\n\r\n".encode()
            )
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_static_files_are_kept_for_good_only_when_their_address_says_which(config):
    with running(config, front):
        for query, kept in (("?v=abc", "public, max-age=31536000, immutable"), ("", "no-cache")):
            address = f"http://127.0.0.1:{config.port}/static/base.css{query}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.headers["Cache-Control"] == kept
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "Server" not in answer.headers
        for path in ("/static/../pyproject.toml", "/static/%2e%2e/pyproject.toml", "/static/..%2fpyproject.toml"):
            assert b"[project]" not in get(config, "alpha.localhost", path, timeout=30)[1]


def test_visitors_are_told_when_web_is_away(config):
    with running(config, front):
        status, body = get(config, "alpha.localhost", timeout=30)
        assert (status, body) == (503, b"This site is back in a moment.")


@contextmanager
def serving(config):
    """Run `freehold serve` and yield it when it says that all are up."""
    command = [sys.executable, "-m", "app.cli", "serve"]
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment_of(config), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    told = []
    reader = threading.Thread(target=lambda: told.extend(server.stderr), daemon=True)
    reader.start()
    server.told = told
    try:
        until(lambda: any("Serving on" in line for line in told) or server.poll() is not None)
        yield server
    finally:
        server.kill()
        server.wait()
        reader.join(15)
        server.stderr.close()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_every_process_is_gone_within_ten_seconds(config, alpha, ending):
    with serving(config) as server:
        assert get(config, alpha.primary_host)[0] == 200
        assert get(config, "anything.example", "/readyz")[0] in (200, 503)
        started = descendants(server.pid)
        assert len(started) >= 6  # valkey, web and its two workers, worker, front
        server.send_signal(ending)
        until(lambda: not alive(started) and server.poll() is not None, seconds=10)
        assert server.returncode == (-signal.SIGKILL if ending == signal.SIGKILL else 0)


def test_a_process_that_ends_is_started_again(config, alpha):
    with serving(config) as server:
        (master,) = [folder for folder in Path("/proc").glob("[0-9]*") if is_web(folder, server.pid)]
        os.kill(int(master.name), signal.SIGKILL)
        until(lambda: any("web" in line and "ended" in line for line in server.told))
        until(lambda: get(config, alpha.primary_host)[0] == 200)


def is_web(folder, parent):
    try:
        is_child = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
        return is_child and b"gunicorn" in (folder / "cmdline").read_bytes()
    except OSError:
        return False


def test_a_second_start_says_that_the_first_one_runs(config, monkeypatch):
    monkeypatch.setattr("app.serve.supervisor.TAKEOVER", 0.2)
    make_folders(config)
    first = Supervisor(config, (), print)
    first._take_lock()
    with pytest.raises(CannotServe, match="already serves"):
        Supervisor(config, (), print).serve()
    os.close(first._lock)


def test_a_taken_port_stops_the_start_and_names_another(config):
    with socket.socket() as other:
        other.bind(("127.0.0.1", config.port))
        other.listen()
        with pytest.raises(CannotServe, match=f"PORT={config.port + 1}"):
            Supervisor(config, PROCESSES, print).serve()


def test_a_process_that_never_comes_up_stops_the_start(config):
    broken = Process("broken", lambda config: [sys.executable, "-c", "raise SystemExit(3)"], lambda config: False)
    told = []
    with pytest.raises(CannotServe, match="broken ended 3 times"):
        Supervisor(config, (broken,), told.append).serve()
    assert any("exit code 3" in line for line in told)


def test_sockets_move_to_a_short_folder_when_their_path_is_too_long(config_of, tmp_path):
    deep = config_of(tmp_path / ("d" * 90))
    assert not deep.run.is_relative_to(tmp_path)
    make_folders(deep)
    assert deep.run.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(deep.run / "valkey.sock"))
    (deep.run / "valkey.sock").unlink()
    deep.run.rmdir()


def test_a_sockets_folder_of_somebody_else_is_refused(config_of, tmp_path):
    deep = config_of(tmp_path / ("e" * 90))
    deep.run.symlink_to(tmp_path)
    try:
        with pytest.raises(CannotServe, match="FREEHOLD_HOME"):
            make_folders(deep)
    finally:
        deep.run.unlink()
