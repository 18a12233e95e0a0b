"""What ask runs: `python -I asking.py SOCKET FILE`. It imports the standard library only.

`GET /?domain=HOST` is answered 200 when HOST is a line of FILE, else 404, with no body: who asks learns nothing else.
While FILE cannot be read, what it said last still holds.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from urllib.parse import parse_qs, urlsplit

PATIENCE = 5.0  # seconds for a question to arrive


class Allowed:
    """The hosts in a file of one host a line; it is read again when it has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark: tuple[int, ...] = ()
        self._hosts: frozenset[str] = frozenset()

    def __contains__(self, host: str) -> bool:
        self._look()
        return host.lower().removesuffix(".") in self._hosts

    def _look(self) -> None:
        try:
            found = self._file.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if mark != self._mark:
                hosts = self._file.read_text("utf-8", "replace").split()
                self._mark, self._hosts = mark, frozenset(hosts)
        except OSError:
            return


class Server(ThreadingMixIn, UnixStreamServer):
    """A thread for each question, so that a slow one holds up no other."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, socket: str, file: Path) -> None:
        self.allowed = Allowed(file)
        super().__init__(socket, Answer)

    def server_bind(self) -> None:
        """Take the place of one that was killed."""
        Path(str(self.server_address)).unlink(missing_ok=True)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a question whose asker is gone."""


class Answer(BaseHTTPRequestHandler):
    """One question."""

    timeout = PATIENCE
    server: Server

    def do_GET(self) -> None:
        """Answer whether the host may have a certificate."""
        asked = parse_qs(urlsplit(self.path).query).get("domain", [])
        self.send_response_only(200 if len(asked) == 1 and asked[0] in self.server.allowed else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, form: str, *details: object) -> None:
        """Say nothing: anybody can make up names to be asked about."""


def main() -> None:
    """Answer until ended."""
    os.umask(0o077)
    with Server(sys.argv[1], Path(sys.argv[2])) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
