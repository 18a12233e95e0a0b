"""The console's page of operators: who there is, what they may do, who is new and who goes."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from flask import abort, redirect, url_for
from flask_login import current_user
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import flash, fresh_required, hash_password
from app.console import operators
from app.console.forms import OperatorForm, OperatorRoleForm
from app.console.policy import MEANINGS, ROLES
from app.console.views import blueprint, page
from app.tenancy import db, tenancy
from app.tenancy.errors import Refused
from app.tenancy.registry import Operator


@blueprint.get("/operators/")
def operators_list() -> Response:
    """List who runs the platform."""
    return list_page(OperatorForm(formdata=None, role="support"))


@blueprint.post("/operators/")
@fresh_required
def add_operator() -> Response:
    """Add an operator, and show the password that was made for them, once."""
    form, password = OperatorForm(), secrets.token_urlsafe(15)
    if not form.validate():
        return list_page(form, 422)
    db.session.rollback()
    hashed = hash_password(password)
    try:
        operator = operators.create(form.email.data, hashed, form.name.data, form.role.data)
    except Refused as refusal:
        form.form_errors.append(refusal.advice)
        return list_page(form, 422)
    db.session.commit()
    tell("operator_added", operator.email, role=operator.role)
    return page("console/operator_made.html", 201, operator=operator, password=password)


@blueprint.post("/operators/<int:operator_id>/role")
@fresh_required
def give_operator_role(operator_id: int) -> Response:
    """Change what an operator may do."""
    form, operator = OperatorRoleForm(), other(operator_id)
    if not form.validate():
        abort(404)
    role = form.role.data
    said = f"{operator.name} signs in again and then has the role “{ROLES[role]}”."
    told = {"role": role, "before": operator.role}
    return done("operator_role_changed", operator, lambda: operators.give_role(operator, role), said, **told)


@blueprint.post("/operators/<int:operator_id>/removal")
@fresh_required
def remove_operator(operator_id: int) -> Response:
    """Let an operator in no more."""
    operator = other(operator_id)
    said = f"{operator.name} is no operator any more, and is signed out everywhere."
    return done("operator_removed", operator, lambda: operators.remove(operator), said)


def done(kind: str, operator: Operator, act: Callable[[], None], said: str, **detail: str) -> Response:
    """Act, note it and say so, or say why it cannot be."""
    email = operator.email
    try:
        act()
        db.session.commit()
        tell(kind, email, **detail)
        flash("success", said)
    except Refused as refusal:
        db.session.rollback()
        flash("danger", refusal.advice)
    return redirect(url_for("console.operators_list"), 303)


def tell(kind: str, subject: str, **detail: str) -> None:
    """Note in the ledger what was done to an operator, and by whom."""
    tenancy.ledger.record(kind, actor=current_user.email, subject=subject, **detail)


def other(operator_id: int) -> Operator:
    """Return another operator than oneself, or answer 404: nobody does this to themselves."""
    operator = db.session.get(Operator, operator_id)
    return operator if operator and operator.id != current_user.id else abort(404)


def list_page(form: OperatorForm, status: int = 200) -> Response:
    """Show the operators, with the form for a new one."""
    listed = db.session.scalars(select(Operator).order_by(Operator.email)).all()
    return page("console/operators.html", status, listed=listed, form=form, roles=ROLES, meanings=MEANINGS)
