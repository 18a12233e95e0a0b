"""The console's door to visits: why an operator wants in, for how long, and the link that lets them in, once."""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask import abort, redirect, url_for
from flask_login import current_user
from sqlalchemy import delete
from werkzeug.wrappers import Response

from app.accounts import flash, fresh_required
from app.accounts.cookies import fingerprint
from app.accounts.visits import server_session
from app.console.forms import SuspensionForm, VisitForm
from app.console.views import address, blueprint, found, main_host, page, tenant_page
from app.tenancy import db, tenancy, utcnow
from app.tenancy.registry import Tenant, VisitLeave


@blueprint.post("/tenants/<slug>/visits")
@fresh_required
def begin_visit(slug: str) -> Response:
    """Give an operator leave to be inside an organisation, and lead them to its door by a link that is shown this once."""
    form, row = VisitForm(), found(slug)
    if row.state != "active" or row.preview_of is not None:
        abort(404)
    if not form.validate():
        return tenant_page(row, SuspensionForm(formdata=None), 422, visit_form=form)
    link = give_leave(row, form)
    asked = {"reason": form.why.data, "minutes": form.minutes.data, "to_change": form.wants_change.data}
    tenancy.ledger.record("support_visit_asked", row.id, actor=current_user.email, **asked)
    response = page("console/visit_ready.html", 201, tenant=row, link=link, minutes=form.minutes.data)
    # A form may not lead there by itself: that is another host.
    response.headers["Refresh"] = f"0; url={link}"
    return response


@blueprint.post("/tenants/<slug>/visits/<mark>/end")
def end_visit(slug: str, mark: str) -> Response:
    """End a visit, one's own or another operator's."""
    row = found(slug)
    gone = db.session.execute(delete(VisitLeave).where(VisitLeave.id == mark, VisitLeave.tenant_id == row.id))
    db.session.commit()
    if not gone.rowcount:  # type: ignore[attr-defined]
        abort(404)
    tenancy.ledger.record("support_visit_ended", row.id, actor=current_user.email)
    flash("success", "The visit is over.")
    return redirect(url_for("console.tenant", slug=slug), 303)


def give_leave(row: Tenant, form: VisitForm) -> str:
    """Write down that this session of the console may visit a tenant; returns the address at which it comes in."""
    token = secrets.token_urlsafe(32)
    db.session.execute(delete(VisitLeave).where(VisitLeave.expires_at <= utcnow()))
    db.session.add(
        VisitLeave(
            id=secrets.token_hex(16),
            session_hash=server_session().row.token_hash,
            tenant_id=row.id,
            link_hash=fingerprint(token),
            reason=form.why.data,
            wants_change=form.wants_change.data,
            expires_at=utcnow() + timedelta(minutes=form.minutes.data),
        )
    )
    db.session.commit()
    return f"{address(main_host(row))}/sign-in/visit/{token}"
