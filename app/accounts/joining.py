"""Joining by oneself: who has an address at a domain that the owners approved gets a link by letter, and comes in by it.

Nothing is stored until they do: the link carries the address and an end, under a key of the tenant. It works once, as
nobody joins with an address that is here, nor by a link from before its person was let go.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from flask import Blueprint, Flask, abort, make_response, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import letters, throttle
from app.accounts.addresses import normal_address
from app.accounts.admission import admit
from app.accounts.forms import HelpForm, NewPasswordForm
from app.accounts.freshness import fresh_required
from app.accounts.models import Invitation, JoinDomain, User
from app.accounts.models.invitation import JOINED
from app.accounts.notices import flash
from app.accounts.passwords import Hashed, hash_password
from app.accounts.policy import needs
from app.accounts.previews import is_preview
from app.accounts.views import too_many
from app.accounts.visits import house
from app.facilities import audit, events
from app.facilities.audit import Audit
from app.facilities.audit_chain import BROUGHT_BACK
from app.tenancy import current_tenant, db, tenancy
from app.tenancy.errors import FreeholdError, Refused
from app.tenancy.jobs import job, later

LINK_LIFETIME = timedelta(days=1)
ROLE = "member"

blueprint = Blueprint("joining", __name__)


def init_app(app: Flask) -> None:
    """Open the doors, and let the sign-in page say whether there is one."""
    app.jinja_env.globals["may_join"] = is_open
    app.register_blueprint(blueprint)


def is_open() -> bool:
    """Tell whether anybody may join by themselves at the current tenant."""
    return not is_preview() and bool(JoinDomain.every())


@blueprint.before_request
def only_where_allowed() -> None:
    """Have no such door where no domain is approved."""
    is_desk = request.path.startswith("/desk/")
    if is_preview() or not (is_desk or is_open()):
        abort(404)


@blueprint.after_request
def keep_private(response: Response) -> Response:
    """Keep these pages out of every cache."""
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.route("/sign-in/join", methods=["GET", "POST"])
def ask() -> Response:
    """Promise a letter. Whether one leaves, only its job decides, so that every address gets the same answer."""
    form = HelpForm()
    if not form.is_submitted() or not form.validate():
        return make_response(render_template("accounts/join.html", form=form), 422 if form.errors else 200)
    try:
        throttle.count_call_for_help(house(), form.email.data)
    except throttle.REFUSALS as refusal:
        return too_many(form, refusal, "accounts/join.html")
    later("accounts.send_join_link", email=form.email.data.strip().casefold())
    db.session.commit()
    return redirect(url_for(".sent"), 303)


@blueprint.get("/sign-in/join/sent")
def sent() -> Response:
    """Say what happens next, the same to everybody."""
    return make_response(render_template("accounts/join_sent.html"))


@blueprint.route("/sign-in/join/<token>", methods=["GET", "POST"])
def join(token: str) -> Response:
    """Let whoever the letter reached choose name and password, and come in. Reading the page spends nothing."""
    email = address_in(token)
    if email is None or not may_join(email):
        return gone()
    form = NewPasswordForm(email)
    if not form.is_submitted() or not form.validate():
        page = render_template("accounts/join_here.html", form=form, email=email)
        return make_response(page, 422 if form.errors else 200)
    User.require_room()
    db.session.rollback()
    hashed = hash_password(form.password.data)
    if not may_join(email):
        return gone()
    user = come_in(email, form.name.data, hashed)
    flash("success", f"Welcome to {current_tenant().name}!")
    return admit(user, "")


@blueprint.get("/desk/settings/joining")
@needs("security.manage")
def domains() -> Response:
    """List the approved domains."""
    return domains_page()


@blueprint.post("/desk/settings/joining")
@needs("security.manage")
@fresh_required
def approve() -> Response:
    """Let people of one more domain join."""
    typed = request.form.get("name", "")[:254]
    try:
        JoinDomain.approve(typed, by=current_user)
        db.session.commit()
    except Refused as refusal:
        db.session.rollback()
        return domains_page(422, refusal.advice, typed)
    flash("success", "Approved. Its people find the way on the sign-in page.")
    return redirect(url_for(".domains"), 303)


@blueprint.post("/desk/settings/joining/<int:domain_id>/removal")
@needs("security.manage")
def remove(domain_id: int) -> Response:
    """Let nobody join by a domain any more."""
    domain = db.session.get(JoinDomain, domain_id) or abort(404)
    domain.remove(by=current_user)
    db.session.commit()
    flash("success", f"Nobody joins by {domain.name} any more. Who has joined stays.")
    return redirect(url_for(".domains"), 303)


@job("accounts.send_join_link", timeout=120)
def send_join_link(email: str) -> None:
    """Send a link to an address that may join; nobody learns whether it may."""
    try:
        address = normal_address(email)
        User.require_room()
    except FreeholdError:
        return
    if not may_join(address):
        return
    letters.send(letters.join_letter(address, token_for(address), secrets.token_hex(12)))


def may_join(email: str) -> bool:
    """Tell whether somebody may join with this address: approved, and not here in any state."""
    return JoinDomain.holds(email) and User.by_email(email) is None


def come_in(email: str, name: str, hashed: Hashed) -> User:
    """Add the person, in the place of an invitation where they had one; raises `QuotaExceeded` when there is no room."""
    invitation = Invitation.by_email(email)
    if invitation and not invitation.is_over:
        return invitation.accept(name, hashed)
    user = User.join(email, name, ROLE, hashed)
    db.session.flush()
    events.record(JOINED, user.id, audience="may:people.see", by=user.id)
    audit.note("person_joined_by_domain", actor=user.email, subject=user.email, role=user.role)
    return user


def token_for(email: str) -> str:
    """Return what a link carries: the address and an end, signed for this tenant alone."""
    facts = json.dumps([email, int(time.time() + LINK_LIFETIME.total_seconds())])
    body = urlsafe_b64encode(facts.encode()).decode().rstrip("=")
    return f"{body}.{_signature(body)}"


def address_in(token: str) -> str | None:
    """Return the address that a link was sent to, None when it is not ours or has run out."""
    body, _, mac = token.partition(".")
    if not hmac.compare_digest(_signature(body).encode(), mac.encode()):
        return None
    email, end = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    made_at = datetime.fromtimestamp(end, UTC) - LINK_LIFETIME
    return email if time.time() < end and not is_over(email, made_at) else None


def is_over(email: str, since: datetime) -> bool:
    """Tell whether a link of then is over: its person was let go, or a copy was brought back that knows not who was."""
    left = Audit.kind.in_(("person_removed", "person_left")) & (Audit.subject == email)
    ends = left | (Audit.kind == BROUGHT_BACK)
    return db.session.scalar(select(Audit.id).where(ends, Audit.at >= since).limit(1)) is not None


def domains_page(status: int = 200, problem: str = "", typed: str = "") -> Response:
    """Show the approved domains, with what was wrong with one that was typed."""
    page = render_template("accounts/desk/joining.html", domains=JoinDomain.every(), problem=problem, typed=typed)
    return make_response(page, status)


def gone() -> Response:
    """Say that a link no longer works: the same for whatever reason."""
    db.session.rollback()
    return make_response(render_template("accounts/join_gone.html"), 404)


def _signature(body: str) -> str:
    return hmac.new(tenancy.keys.tenant_subkey(current_tenant().id, "join-link"), body.encode(), sha256).hexdigest()
