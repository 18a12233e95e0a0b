"""Visits made inside this process: an application is called as a server would call it, with no server between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from werkzeug.test import EnvironBuilder

Application = Callable[..., Iterable[bytes]]


def environs(visits: Sequence[str]) -> list[dict[str, Any]]:
    """Make the WSGI environment of each "host path"."""
    pairs = [visit.split() for visit in visits]
    return [EnvironBuilder(path=path, headers=[("Host", host)]).get_environ() for host, path in pairs]


def call(application: Application, environ: dict[str, Any]) -> None:
    """Make one request and read its answer; raises when it was refused."""

    def start_response(status: str, headers: object, exc_info: object = None) -> None:
        if not status.startswith("200"):
            raise RuntimeError(f"{environ['HTTP_HOST']}{environ['PATH_INFO']} answered {status}.")

    answer = application({**environ}, start_response)
    try:
        b"".join(answer)
    finally:
        close = getattr(answer, "close", None)
        if close:
            close()
