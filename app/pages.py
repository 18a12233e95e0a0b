"""What every page has in common: addresses of static files that change with their content, and security headers."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, Response, current_app

from app.config import BY_HTTPS

STATIC = Path(__file__).resolve().parent.parent / "static"

# No inline script or style, nothing from elsewhere (https://www.w3.org/TR/CSP3/).
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


def init_app(app: Flask) -> None:
    app.after_request(harden)
    app.jinja_env.globals["asset"] = asset
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_url_rule("/static/<path:filename>", "platform_static", app.send_static_file, subdomain="platform")


def harden(response: Response) -> Response:
    """Add the security headers that a view has not set itself; whoever comes by https comes back by it."""
    set_already = {name for name, _ in response.headers}
    wanted = (*HEADERS, BY_HTTPS) if current_app.config["FREEHOLD"].secure else HEADERS
    response.headers.extend([header for header in wanted if header[0] not in set_already])
    return response


@cache
def asset(path: str) -> str:
    """Return the address of a static file, with a mark of its content so that browsers may keep it for good."""
    mark = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={mark}"
