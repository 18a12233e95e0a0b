"""Freehold: a home for many small organisations on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app
from flask import Request as FlaskRequest
from werkzeug.routing import IntegerConverter, Map, MapAdapter

from app.config import Config


class Id(IntegerConverter):
    """A row's number in an address: what no file could hold is not found."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map, max=(1 << 63) - 1)


class Request(FlaskRequest):
    """A request whose uploads lie sealed while they come in: Werkzeug would write those above 500 kB to /tmp as they are."""

    def _get_file_stream(self, *args: Any, **kwargs: Any) -> Any:
        from app.facilities.storage import Spool

        return Spool(current_app.config["FREEHOLD"].instance)


class Freehold(Flask):
    """The application. Its URL map has two sides: tenants' pages, and the console's under the subdomain "platform"."""

    request_class = Request

    def create_url_adapter(self, request: FlaskRequest | None) -> MapAdapter | None:
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind_to_environ(request.environ, subdomain=request.environ.get("freehold.side", ""))

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func` as it is: no view is async, and Flask would look at a dozen functions a request to find that out."""
        return func


def create_app(config: Config | None = None) -> Freehold:
    """Make the application for one installation; raises `ConfigError` or `CannotStart`, which say what to mend."""
    from app import accounts, api, backups, branding, chat, console, content, errors, inbox, ops, pages
    from app.facilities import cache, live, logs, queue, rates, settings
    from app.tenancy import Tenancy

    config = config or Config.load(os.environ)
    app = Freehold(__name__, static_folder="../static", template_folder="../templates")
    app.config.from_mapping(_flask_settings(config))
    app.url_map.converters["int"] = Id

    logs.init_app(app)
    Tenancy(config).init_app(app)
    errors.init_app(app)
    pages.init_app(app)

    cache.init_app(app)
    queue.init_app(app)
    rates.init_app(app)
    live.init_app(app)
    settings.init_app(app)

    accounts.init_app(app)
    backups.init_app(app)
    api.init_app(app)
    branding.init_app(app)
    content.init_app(app)
    inbox.init_app(app)
    chat.init_app(app)
    console.init_app(app)
    ops.init_app(app)
    return app


def _flask_settings(config: Config) -> dict[str, Any]:
    return {
        "FREEHOLD": config,
        "MAX_CONTENT_LENGTH": 64 << 20,
        "MAX_FORM_MEMORY_SIZE": 2 << 20,
        "TRAP_HTTP_EXCEPTIONS": False,
        "TEMPLATES_AUTO_RELOAD": False,
        "PROPAGATE_EXCEPTIONS": False,
    }
