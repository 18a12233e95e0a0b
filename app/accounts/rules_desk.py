"""How the people of an organisation sign in: who has to have a second factor, and whether a letter may do."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts.admission import keep_out_of_caches
from app.accounts.forms import RulesForm
from app.accounts.freshness import fresh_required
from app.accounts.models import ASKED_OF, SignInRules
from app.accounts.notices import flash
from app.accounts.policy import needs
from app.accounts.previews import only_today
from app.facilities import audit
from app.tenancy import current_tenant, db

blueprint = Blueprint("sign_in_rules", __name__, url_prefix="/desk/settings/security")
blueprint.before_request(only_today)
blueprint.after_request(keep_out_of_caches)


@blueprint.get("/")
@needs("security.manage")
def show() -> Response:
    """Show what holds now."""
    rules = SignInRules.mine()
    return page(RulesForm(formdata=None, second_factor=rules.second_factor, by_letter=rules.by_letter))


@blueprint.post("/")
@needs("security.manage")
@fresh_required
def decide() -> Response:
    """Let other rules hold from now on, for those who are in as well."""
    form = RulesForm()
    if not form.validate():
        return page(form, 422)
    before = SignInRules.mine().told()
    SignInRules.decide(form.second_factor.data, form.by_letter.data)
    audit.note("sign_in_rules_set", actor=current_user.email, before=before, after=SignInRules.mine().told())
    db.session.commit()
    flash("success", "Saved. It holds at once.")
    return redirect("/desk/settings/security/", 303)


def page(form: RulesForm, status: int = 200) -> Response:
    """Show the rules, beside what the plan asks for in any case."""
    asked = current_tenant().second_factor
    told = ASKED_OF[asked].lower() if asked else ""
    return make_response(render_template("accounts/desk/sign_in_rules.html", form=form, plan_asks=told), status)
