"""No other site may act in a visitor's name: who sent a form is checked first, then the token printed in it.

Signed-in forms carry the token of their server session. Public forms carry a signed time of rendering, so
that the pages they stand on need no cookie and stay cacheable.
"""

from __future__ import annotations

import hmac
import re
import time
from urllib.parse import SplitResult, urlsplit

from flask import Flask, Response, abort, make_response, render_template, request
from markupsafe import Markup

from app.accounts.cookies import sign
from app.accounts.visits import FOR_PROGRAMS, UNSAFE, house, server_session, this_visit

FIELD = "csrf_token"
HEADER = "X-CSRF-Token"
RENDERED_WITHIN = 24 * 3600  # seconds between the rendering of a public form and its sending
LONGEST_REPEATED = 1 << 20  # bytes of a form
NOT_REPEATED = ("password", "token", "secret", "code")  # fields whose values never come back in a page
UNSEEN = frozenset({"act", "client_id", "holder", "kind", "line", "next", "seen", "source_format"})  # that forms hide


def init_app(app: Flask) -> None:
    """Refuse forged writes before any view runs, and let templates print the tokens."""
    app.before_request(refuse_forged)
    app.jinja_env.globals.update(csrf_field=csrf_field, signed_time_field=signed_time_field)


def refuse_forged() -> Response | None:
    """Let a write pass when it comes from this very host and, for a signed-in person, carries their token."""
    if request.method not in UNSAFE or is_by_token():
        return None
    if not came_from_here():
        abort(403, "This was sent from another site, so nothing was changed.")
    if this_visit().token is None:
        return None
    # The form first, then the session: what comes slowly must have come before the tenant's file is locked for this write.
    given = request.form.get(FIELD, "")
    session = server_session()
    if session and not is_same(session.csrf, request.headers.get(HEADER) or given):
        return kept("The page you were on had grown too old to be sent, so nothing was changed.")
    return None


def is_by_token() -> bool:
    """Tell whether a program asks, by a token that it alone adds; a browser, which adds cookies by itself, is no such program."""
    return request.path.startswith(FOR_PROGRAMS) and "Authorization" in request.headers and not request.cookies


def came_from_here() -> bool:
    """Tell whether the browser says this host's own page sent it. Other programs say nothing."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    return site in ("same-origin", "none") and (origin is None or parts_here(origin) is not None)


def parts_here(address: str) -> SplitResult | None:
    """Return the parts of an address on this very host, None for any other and for what is no address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts if parts.netloc == request.host else None


def kept(reason: str, title: str = "Please send this once more") -> Response:
    """Answer 403 with a page that hands back what was typed, so that nobody writes twice. Uploads are not read for it."""
    is_short = request.content_length is not None and request.content_length <= LONGEST_REPEATED
    sent = request.form.items(multi=True) if is_short else ()
    typed = [
        (name.replace("_", " ").capitalize(), value)
        for name, value in sent
        if value.strip() and name not in UNSEEN and not any(word in name for word in NOT_REPEATED)
    ]
    page = render_template("accounts/kept.html", title=title, reason=reason, typed=typed, back=page_before())
    response = make_response(page, 403)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def page_before() -> str:
    """Return the path of this host's page that the request came from, else that of the sign-in page."""
    before = parts_here(request.referrer or "")
    return before.path if before and re.match(r"/(?![/\\])", before.path) else "/sign-in"


def token() -> str:
    """Return what a form on this page has to carry."""
    session = server_session()
    return session.csrf if session else signed_time()


def is_good(given: str) -> bool:
    """Tell whether a form carries what this visitor's page printed."""
    session = server_session()
    return is_same(session.csrf, given) if session else is_recent(given)


def signed_time() -> str:
    """Return the present second, signed for this house."""
    now = str(int(time.time()))
    return f"{now}.{sign('form-time', f'{house()}.{now}')}"


def is_recent(given: str) -> bool:
    """Tell whether `given` was signed here within the last day."""
    second, _, mac = given.partition(".")
    if not is_same(sign("form-time", f"{house()}.{second}"), mac):
        return False
    return 0 <= time.time() - int(second) <= RENDERED_WITHIN


def is_same(expected: str, given: str) -> bool:
    """Compare without telling by the time taken where the two differ."""
    return hmac.compare_digest(expected.encode(), given.encode())


def csrf_field() -> Markup:
    """Print the hidden field that every form of a signed-in person carries."""
    return _hidden(token())


def signed_time_field() -> Markup:
    """Print the hidden field of a public form."""
    return _hidden(signed_time())


def _hidden(value: str) -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, value)
