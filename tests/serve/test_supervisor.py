"""`freehold serve`, a real one: all processes started, watched and ended."""

import os
import signal
import socket
import sys
import time

import pytest

from app.serve import supervisor
from app.serve.folders import CannotServe, make_folders
from app.serve.processes import PROCESSES, Process
from app.serve.supervisor import Supervisor
from tests.running import alive, descendants, until
from tests.serve.running import ask_for, get, head_of, serving

NAMES = [process.name for process in PROCESSES]


@pytest.mark.parametrize(
    "ending", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.prove)]
)
def test_however_it_ends_every_process_is_gone_within_ten_seconds(config, alpha, ending):
    with serving(config) as server:
        assert get(config, alpha.primary_host)[0] == 200
        assert get(config, "anything.example", "/readyz")[0] in (200, 503)
        started = descendants(server.pid)
        assert len(started) >= 12  # one for each, and two more each of web and worker, one of live
        server.send_signal(ending)
        until(lambda: not alive(started) and server.poll() is not None, seconds=10)
        assert server.returncode == (-signal.SIGKILL if ending == signal.SIGKILL else 0)


def process_of(server, name):
    """Return the process id that was told last for that name."""
    told = [line for line in server.told if line.split()[:2] == [name, "up"]]
    return int(told[-1].rsplit(" ", 1)[1].rstrip(")\n"))


def times_up(server, name):
    return len([line for line in server.told if line.split()[:2] == [name, "up"]])


def test_they_start_in_order_and_each_one_that_is_killed_comes_back_by_itself(config, alpha):
    with serving(config) as server:
        ups = [line.split()[0] for line in server.told if " up after " in line]
        assert sorted(ups) == sorted(NAMES)
        assert max(ups.index("valkey"), ups.index("web")) < min(ups.index("worker"), ups.index("archivist"))
        assert ups.index("ask") < ups.index("front")
        for name in NAMES:
            os.kill(process_of(server, name), signal.SIGKILL)
            until(lambda name=name: times_up(server, name) == 2)
        until(lambda: get(config, alpha.primary_host, "/readyz")[0] == 200)
        assert get(config, alpha.primary_host)[0] == 200
        assert get(config, alpha.primary_host, "/live") == (401, b"Sign in first.")
        assert not [name for name in NAMES if times_up(server, name) != 2]


@pytest.fixture
def cookies(app, signed_in, alpha):
    """Return the header of each of five browsers that are signed in at alpha; one may have a dozen streams."""
    found = [signed_in(alpha).get_cookie("freehold", domain=alpha.primary_host).value for _ in range(5)]
    app.extensions["tenancy"].close()
    return [f"Cookie: freehold={value}\r\n" for value in found]


def open_stream(config, host, cookie):
    """Return a connection on which events come, when the first has."""
    client = socket.create_connection(("127.0.0.1", config.port), timeout=20)
    client.sendall(ask_for("/live", host, cookie))
    head, rest = head_of(client)
    assert head.startswith("HTTP/1.1 200 "), head
    while b"event: reset" not in rest:
        rest += client.recv(4096)
    return client


def test_with_fifty_streams_open_all_is_over_within_ten_seconds(config, alpha, cookies):
    with serving(config) as server:
        streams = [open_stream(config, alpha.primary_host, cookie) for cookie in cookies for _ in range(10)]
        started = descendants(server.pid)
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        until(lambda: not alive(started) and server.poll() is not None, seconds=10)
        assert server.returncode == 0
        assert time.monotonic() - began < 10
        assert all(ended(stream) for stream in streams)
        assert not [line for line in server.told if "by force" in line]


def ended(stream):
    """Read a stream to its end, and tell whether it has one."""
    with stream:
        while stream.recv(65536):
            pass
    return True


def watching(config, process, monkeypatch):
    """Return a supervisor that has started `process` and asks it at every look, and what it tells."""
    monkeypatch.setattr(supervisor, "CHECK", 0.0)
    told = []
    make_folders(config)
    found = Supervisor(config, (process,), told.append)
    found._take_lock()
    return found, found.watched[0], told


def test_one_that_runs_and_does_not_answer_is_told(config, monkeypatch):
    answers = iter([True, True, False, False, True, False, False, False, False, True, True])
    quiet = Process("quiet", lambda config: ["sleep", "60"], lambda config: next(answers))
    found, watched, told = watching(config, quiet, monkeypatch)
    try:
        for _ in range(12):
            found._look_after(watched)
    finally:
        found._end_all()
        os.close(found._lock)
    assert [line.split(maxsplit=1)[1].split(" ")[0] for line in told] == ["up", "has", "answers"]


def test_one_that_promises_signs_of_life_and_hangs_is_started_again(config, monkeypatch):
    starts, questions = [], []

    def is_ready(config):
        questions.append(len(starts))
        return questions.count(len(starts)) == 1 or len(starts) == 2

    hung = Process("hung", lambda config: starts.append(1) or ["sleep", "60"], is_ready, gives_signs=True)
    found, watched, told = watching(config, hung, monkeypatch)
    try:
        until(lambda: found._look_after(watched) or len([line for line in told if " up " in line]) == 2)
    finally:
        found._end_all()
        os.close(found._lock)
    assert "no sign of life" in told[2]
    assert any("SIGKILL" in line for line in told[3:])


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
