"""Runs the processes for the tests of this folder, and asks them."""

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from app.config import SETTINGS
from app.serve.folders import make_folders
from app.serve.processes import environment
from tests.running import until

ROOT = Path(__file__).parents[2]


def get(config, host, path="/", headers=None, timeout=20):
    """Return status and body of a page, asked of the front."""
    asked = urllib.request.Request(f"http://127.0.0.1:{config.port}{path}", headers={"Host": host, **(headers or {})})
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def connect(path):
    """Return a connection to the socket at `path`."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


def ask_for(path, host, headers=""):
    """Return a request as it goes over the line."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()


def head_of(client):
    """Return the status and the headers of an answer, up to the empty line, and what came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode(), rest


def environment_of(config):
    """Return the environment in which a process has these settings."""
    given = {setting.name: str(getattr(config, setting.field)) for setting in SETTINGS}
    return {**environment(config), **given}


def start(module, config, **options):
    """Run one process by itself."""
    return subprocess.Popen(
        module.command(config), **{"cwd": ROOT, "env": environment_of(config), "stderr": subprocess.DEVNULL, **options}
    )


@contextmanager
def running(config, *modules):
    """Run these processes by themselves, and yield them."""
    make_folders(config)
    started = []
    try:
        for module in modules:
            started.append(start(module, config))
        until(lambda: all(module.is_ready(config) for module in modules))
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=15)


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
