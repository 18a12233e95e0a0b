"""Who is asking: each request's cookie, the server session it stands for, and the person of that session.

Everything here hangs on the request itself. Flask's `g` belongs to the application context, which two
requests to two houses may share, so nothing about a person is trusted from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from flask import Flask, Request, Response, g, request
from flask.sessions import NullSession, SessionInterface
from flask_login import LoginManager, current_user

from app.accounts import cookies
from app.accounts.cookies import DEVICE, PLATFORM, Token
from app.facilities import audit
from app.facilities.reader import Reader
from app.tenancy import current_tenant, tenancy
from app.tenancy.errors import NoTenant

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
FOR_PROGRAMS = "/api/"  # below which no cookie counts

# How a house finds a session by its token's hash: tenants by their own table, the platform by the console's.
finders: dict[str, Callable[[str], Any]] = {}


@dataclass(slots=True)
class Visit:
    """What is known about the person behind one request."""

    token: Token | None = None
    device: Token | None = None  # what the browser's device cookie says
    session: Any = None
    is_looked_up: bool = False
    foreign: list[str] = field(default_factory=list)  # names of cookies that belong to another house
    notices: list[tuple[str, str]] = field(default_factory=list)  # to be shown, this page or the next
    is_shown: bool = False
    due: Callable[[], Token | None] | None = None  # what is to be noted of whoever only reads
    marks: dict[str, str] = field(default_factory=dict)  # of a known browser, by the address asked about
    reader: Reader | None = None  # for whom its page is written


class RefusedSession(NullSession):
    """Flask's session, which one key would sign for every host: it stays empty, and refuses to be written."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            "Flask's session is not used here. Keep what belongs to a person in a row of the tenant's file."
        )

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = _refuse
    del _refuse


class NoSession(SessionInterface):
    """Opens no session and sends none."""

    null_session_class = RefusedSession

    def open_session(self, app: Flask, request: Request) -> None:
        return None


class People(LoginManager):
    """Flask-Login by the request's cookie alone: no Flask session and no remember cookie plays a part."""

    def _load_user(self) -> None:
        session = server_session()
        self._update_request_context_with_user(session.user if session else None)


def init_app(app: Flask) -> None:
    """Begin every request with nobody known, and forget cookies that belong to another house."""
    app.session_interface = NoSession()
    People(app, add_context_processor=False)
    app.jinja_env.globals["current_user"] = current_user
    app.before_request(begin)
    app.after_request(forget_foreign_cookie)
    app.after_request(keep_private)


def house() -> str:
    """Return the id of the tenant whose door this is, or "platform"."""
    try:
        return current_tenant().id
    except NoTenant:
        return PLATFORM


def this_visit() -> Visit:
    """Return what is known about this request's person."""
    return request.environ.setdefault("freehold.visit", Visit())


def begin() -> None:
    """Read the cookies. A good one of another house counts for nothing here, and is noted."""
    g.pop("_login_user", None)
    visit = request.environ["freehold.visit"] = Visit()
    if not request.path.startswith(FOR_PROGRAMS):
        visit.token, visit.device = own(cookies.sent_by(request)), own(cookies.sent_by(request, DEVICE))


def own(token: Token | None) -> Token | None:
    """Return a token that was made for this very house, and note one that was made for another."""
    here = house()
    if token is None or token.owner == here:
        return token
    this_visit().foreign.append(cookies.COOKIES[token.purpose])
    is_new = tenancy.ledger.record_meeting("foreign_cookie", "" if here == PLATFORM else here, token.owner)
    if is_new and here != PLATFORM:
        audit.note_in(current_tenant(), "foreign_cookie")
    return None


def server_session() -> Any:
    """Return the living session behind this request's cookie, or None. A write marks its person as seen."""
    visit = this_visit()
    if visit.token and not visit.is_looked_up:
        finder = finders[PLATFORM if visit.token.owner == PLATFORM else "tenant"]
        visit.session = finder(visit.token.hash)
        visit.is_looked_up = True
        if visit.session and request.method in UNSAFE:
            visit.session.touch()
    return visit.session


def forget_foreign_cookie(response: Response) -> Response:
    """Have the browser drop a cookie that was made for another house."""
    for name in this_visit().foreign:
        cookies.take_back(response, name)
    return response


def keep_private(response: Response) -> Response:
    """Keep what a signed-in person sees out of caches, but for files that never change under their name."""
    if this_visit().token and not is_unchanging(response):
        response.headers["Cache-Control"] = "private, no-store"
        response.vary.add("Cookie")
    return response


def is_unchanging(response: Response) -> bool:
    """Tell whether the answer is a file that is the same for everybody."""
    return bool(response.cache_control.immutable) or request.path.startswith("/static/")
