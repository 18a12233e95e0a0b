"""Ask: which hosts may have a certificate, told by one file and nothing else."""

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

from app.serve import ask
from app.serve.folders import make_folders
from tests.running import until
from tests.serve.running import ask_for, connect, head_of, start


@pytest.fixture
def config(tmp_path, config_of):
    config = config_of(tmp_path)
    make_folders(config)
    ask.allowed_hosts(config).write_text("acme.example\nxn--mnchen-3ya.example\n10.0.0.7\n")
    return config


@contextmanager
def asking(config, **options):
    process = start(ask, config, **options)
    try:
        until(lambda: ask.is_ready(config))
        yield process
    finally:
        process.kill()
        process.wait()


def answer(config, request):
    with connect(ask.socket_path(config)) as line:
        line.sendall(request)
        return head_of(line)


def status(config, query):
    return int(answer(config, ask_for(f"/?{query}", "front"))[0].split()[1])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("domain=acme.example", 200),
        ("domain=ACME.Example", 200),
        ("domain=acme.example.", 200),
        ("domain=xn--mnchen-3ya.example", 200),
        ("domain=www.acme.example", 404),
        ("domain=acme.exampl", 404),
        ("domain=acme.example..", 404),
        ("domain=", 404),
        ("domain=.", 404),
        ("domain=*.example", 404),
        ("domain=acme.example%0A", 404),
        ("domain=acme.example%20xn--mnchen-3ya.example", 404),
        ("domain=acme.example&domain=evil.example", 404),
        ("domain=" + "a" * 60_000, 404),
        ("host=acme.example", 404),
        ("", 404),
    ],
)
def test_only_a_host_on_the_list_may_have_a_certificate(config, query, expected):
    with asking(config):
        assert status(config, query) == expected


def test_every_refusal_reads_the_same(config):
    with asking(config):
        refusals = {answer(config, ask_for(f"/?domain={host}", "front")) for host in ("a.example", "b", "x" * 300)}
        assert len(refusals) == 1


def test_a_changed_list_counts_at_once(config):
    with asking(config):
        assert status(config, "domain=new.example") == 404
        fresh = ask.allowed_hosts(config).with_suffix(".new")
        fresh.write_text("new.example\n")
        fresh.replace(ask.allowed_hosts(config))
        assert status(config, "domain=new.example") == 200
        assert status(config, "domain=acme.example") == 404


def test_what_the_list_said_last_holds_while_it_cannot_be_read(config):
    with asking(config):
        assert status(config, "domain=acme.example") == 200
        ask.allowed_hosts(config).unlink()
        assert status(config, "domain=acme.example") == 200
        ask.allowed_hosts(config).mkdir()
        assert status(config, "domain=acme.example") == 200


def test_without_a_list_nobody_may(config):
    ask.allowed_hosts(config).unlink()
    with asking(config):
        assert status(config, "domain=acme.example") == 404


def test_a_list_of_rubbish_harms_nobody(config):
    ask.allowed_hosts(config).write_bytes(os.urandom(100_000) + b"\nacme.example\n")
    with asking(config):
        assert status(config, "domain=acme.example") == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\1\2\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /?domain=acme.example HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /?domain=" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"",
    ],
)
def test_strange_questions_do_not_stop_it(config, request_):
    with asking(config):
        with connect(ask.socket_path(config)) as line:
            try:
                line.sendall(request_)
                line.shutdown(socket.SHUT_WR)
                assert not line.recv(4096).startswith((b"HTTP/1.1 2", b"HTTP/1.0 2"))
            except OSError:
                pass
        assert status(config, "domain=acme.example") == 200


def test_fifty_who_never_finish_their_question_hold_up_nobody(config):
    with asking(config):
        slow = [connect(ask.socket_path(config)) for _ in range(50)]
        for line in slow:
            line.sendall(b"GET /?domain=acme")
        began = time.monotonic()
        assert status(config, "domain=acme.example") == 200
        assert time.monotonic() - began < 3  # they get five seconds
        for line in slow:
            line.close()


def test_it_needs_none_of_our_packages(config, tmp_path):
    """A broken update of the application must not take the certificates with it."""
    broken = tmp_path / "broken"
    for name in ("app", "flask", "click"):
        (broken / name).mkdir(parents=True)
        (broken / name / "__init__.py").write_text("raise ImportError('broken')")
    environment = {**os.environ, "PYTHONPATH": str(broken), "PYTHONHOME": ""}
    with asking(config, env=environment, cwd=broken):
        assert status(config, "domain=acme.example") == 200


def test_one_that_was_killed_is_followed_by_another_on_the_same_socket(config):
    with asking(config) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        with asking(config):
            assert status(config, "domain=acme.example") == 200


def test_nobody_else_on_the_machine_can_ask(config):
    with asking(config, stderr=subprocess.DEVNULL):
        assert ask.socket_path(config).stat().st_mode & 0o077 == 0
