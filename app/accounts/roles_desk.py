"""The desk's page of roles: what each may do, and where owners make their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, abort, make_response, redirect, render_template, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts.forms import MadeRoleForm
from app.accounts.freshness import fresh_required
from app.accounts.models import Role, User
from app.accounts.models.role import offered
from app.accounts.notices import flash
from app.accounts.policy import needs, permissions
from app.accounts.previews import only_today
from app.tenancy import db
from app.tenancy.errors import Refused

blueprint = Blueprint("roles", __name__, url_prefix="/desk/people/roles")
blueprint.before_request(only_today)


@blueprint.get("/")
@needs("people.manage")
def show() -> Response:
    """Show every role and what it may do."""
    return page("roles.html", roles=Role.every(), permissions=permissions())


@blueprint.route("/new", methods=["GET", "POST"])
@needs("roles.manage")
@fresh_required
def new_role() -> Response:
    """Make a role."""
    form = MadeRoleForm(offered())
    if not form.validate_on_submit():
        return page("role.html", 422 if form.errors else 200, form=form, role=None)
    return kept(form, None, lambda: Role.make(form.name.data, form.permissions.data, by=me()))


@blueprint.route("/<int:role_id>", methods=["GET", "POST"])
@needs("roles.manage")
@fresh_required
def role(role_id: int) -> Response:
    """Change a role that was made here."""
    role = find(role_id)
    form = MadeRoleForm(offered(), name=role.name, permissions=sorted(role.grants))
    if not form.validate_on_submit():
        return page("role.html", 422 if form.errors else 200, form=form, role=role)
    return kept(form, role, lambda: role.change(form.name.data, form.permissions.data, by=me()))


@blueprint.post("/<int:role_id>/removal")
@needs("roles.manage")
@fresh_required
def remove(role_id: int) -> Response:
    """Take a role out that nobody has."""
    role = find(role_id)
    try:
        role.remove(by=me())
        db.session.commit()
        flash("success", f"The role {role.name} is removed.")
    except Refused as refusal:
        db.session.rollback()
        flash("danger", refusal.advice)
    return redirect(url_for(".show"), 303)


def find(role_id: int) -> Role:
    """Return a role that was made here, or answer 404."""
    return db.session.get(Role, role_id) or abort(404)


def kept(form: MadeRoleForm, role: Role | None, act: Callable[[], object]) -> Response:
    """Act and lead to the list, or show the form again with what is in the way."""
    try:
        act()
        db.session.commit()
    except Refused as refusal:
        db.session.rollback()
        form.form_errors.append(refusal.advice)
        return page("role.html", 422, form=form, role=role)
    flash("success", f"The role {form.name.data} is kept.")
    return redirect(url_for(".show"), 303)


def me() -> User:
    """Return whoever is signed in."""
    return current_user._get_current_object()


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page of roles."""
    return make_response(render_template(f"accounts/desk/{template}", **values), status)
