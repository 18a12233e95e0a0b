"""The browsers that people have signed in with: one that is known needs no second factor, and tells when it was copied.

A device's cookie changes its value at each sign-in and, while it is used, each day. A page that is read notes so, and that
its person is here, in a transaction of its own: at most every five minutes, and by navigation alone, so that a page
which refreshes itself keeps nobody signed in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

import structlog
from flask import Flask, current_app, has_request_context, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from app.accounts import cookies, previews, stays
from app.accounts.cookies import DEVICE, SESSION, Token
from app.accounts.models import DEVICE_LIFETIME, Device, Session, User
from app.accounts.visits import UNSAFE, this_visit
from app.tenancy import current_tenant, db, tenant_context
from app.tenancy.errors import FreeholdError

log = structlog.get_logger(__name__)


def init_app(app: Flask) -> None:
    """Keep up what is known of the browsers in which people read."""
    app.after_request(keep_up)


def enter(user: User, response: Response, *, is_proved: bool = True) -> Response:
    """Sign a person in with this browser, which is known from now on; commits."""
    device, value = at_hand(user)
    token = user.sign_in(request.user_agent.string, device, is_proved=is_proved)
    longest = stays.of(user).longest
    db.session.commit()
    cookies.give(response, cookies.COOKIES[SESSION], str(token), longest)
    if value:
        give(response, value)
    return response


def at_hand(user: User) -> tuple[Device | None, Token | None]:
    """Return this browser as a device of `user`, and the value that it is to keep from now on if that is another."""
    if previews.is_preview():
        return None, None  # which is gone tomorrow
    device, shown = known(user), this_visit().device
    return (device, device.rotate(shown)) if device and shown else Device.add(user, request.user_agent.string)


def known(user: User) -> Device | None:
    """Return this browser when `user` has fully signed in with it before; a copied cookie ends its device instead.

    Outside of a request there is no browser.
    """
    device = met(this_visit().device) if has_request_context() else None
    return device if device and device.user_id == user.id else None


def met(shown: Token | None) -> Device | None:
    """Return the device of which this is a good value; one of which it is an earlier value ends, the caller commits."""
    device = Device.of(shown)
    if device is None or shown is None or device.knows(shown):
        return device
    device.end_family()
    return None


def mark_of(email: str) -> str:
    """Return a mark of this browser when it is known as one of the person's with this address, else "".

    It leaves no transaction open: what follows may take its time.
    """
    visit = this_visit()
    if visit.device and email not in visit.marks:
        device = Device.of(visit.device)
        is_theirs = device is not None and device.knows(visit.device) and device.user.email == email
        visit.marks[email] = str(device.id) if device and is_theirs else ""
        db.session.rollback()
    return visit.marks.get(email, "")


def session_here(token_hash: str) -> Session | None:
    """Return the living session with this token's hash, unless its browser shows a copied device cookie: then both end."""
    session, visit = Session.find(token_hash), this_visit()
    if session is None:
        return None
    device = session.device
    shown = visit.device if device and visit.device and device.is_of(visit.device) else None
    if device and shown and not device.knows(shown):
        db.session.rollback()  # which gives the file back, where this request had it
        at_once(partial(met, shown))
        return None
    if session.is_due or (device and shown and device.is_due(shown)):
        visit.due = partial(note_reader, token_hash, shown)
    return session


def keep_up(response: Response) -> Response:
    """Note that somebody is here who only reads, and change the value of their device's cookie when it is time to."""
    due = this_visit().due
    value = at_once(due) if due and is_navigation() and response.mimetype == "text/html" else None
    if value:
        give(response, value)
    return response


def note_reader(token_hash: str, shown: Token | None) -> Token | None:
    """Mark the session as alive, and return the next value of its device's cookie when it is time for one."""
    session, device = Session.find(token_hash), Device.of(shown)
    if session is None:
        return None
    session.touch()
    return device.take_up(shown) if device and shown and device.knows(shown) else None


def is_navigation() -> bool:
    """Tell whether a person went to this page, rather than a page fetching something."""
    return request.method not in UNSAFE and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def give(response: Response, value: Token) -> None:
    """Have the browser keep a device's value."""
    cookies.give(response, cookies.COOKIES[DEVICE], str(value), DEVICE_LIFETIME)


def at_once(work: Callable[[], Any]) -> Any:
    """Do and commit something beside this request, which only reads; what hinders it is logged, and it is done the next time."""
    app, tenant = current_app._get_current_object(), current_tenant()  # type: ignore[attr-defined]

    def do() -> Any:
        with app.app_context(), tenant_context(tenant):
            found = work()
            db.session.commit()
            return found

    try:
        return Context().run(do)
    except (FreeholdError, SQLAlchemyError) as error:
        log.warning("reader_not_noted", tenant=tenant.id, error=str(error))
        return None
