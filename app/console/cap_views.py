"""The console's doors to exceptions: a cap of its own for one organisation, and its end."""

from __future__ import annotations

from flask import abort, redirect, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts import flash, fresh_required
from app.console import caps
from app.console.forms import CapForm, SuspensionForm
from app.console.views import blueprint, found, tenant_page


@blueprint.post("/tenants/<slug>/caps")
@fresh_required
def set_cap(slug: str) -> Response:
    """Let an organisation have another amount of one meter than its plan allows."""
    form, row = CapForm(), found(slug)
    if not form.validate():
        return tenant_page(row, SuspensionForm(formdata=None), 422, cap_form=form)
    caps.grant(row, form.meter.data, form.cap, form.why.data, form.moment, current_user.email)
    flash("success", "Set. It holds from now on.")
    return redirect(url_for("console.tenant", slug=slug, _anchor="use"), 303)


@blueprint.post("/tenants/<slug>/caps/<name>/end")
@fresh_required
def end_cap(slug: str, name: str) -> Response:
    """Let the plan hold again."""
    if not caps.end(found(slug), name, current_user.email):
        abort(404)
    flash("success", "The plan holds again.")
    return redirect(url_for("console.tenant", slug=slug, _anchor="use"), 303)
