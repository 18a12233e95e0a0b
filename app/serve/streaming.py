"""What live's gunicorn worker loads: gevent has made the standard library cooperative, and here our own waiting becomes so."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
import structlog

from app.config import Config
from app.serve import live
from app.tenancy import database

if TYPE_CHECKING:
    from app import Freehold

log = structlog.get_logger(__name__)


def create() -> Freehold:
    """Return the same application as web's, made for one thread that serves many."""
    config = Config.load(os.environ)
    raise_descriptor_limit(live.connections(config) + live.descriptors_beside(config))
    database.be_cooperative(aside)
    from wsgi import app  # here, because it is made when it is imported

    app.extensions["freehold.live"].begin()

    if live.connections(config) < config.live_connections:
        log.warning("few_connections", wanted=config.live_connections, possible=live.connections(config))
    return app


def aside(work: Callable[[], Any]) -> Any:
    """Do `work` in a thread of gevent's small pool, while this greenlet waits and the others go on."""
    return gevent.get_hub().threadpool.apply(work)


def raise_descriptor_limit(needed: int) -> None:
    """Let this process open that many files, when it may not yet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
