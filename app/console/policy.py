"""Which operators may do what: the one table of the console's pages, and the door that keeps to it.

A page that stands in no line is for those alone who may do everything. What one may not do is not found.
"""

from __future__ import annotations

from flask import Flask, abort, request
from flask_login import current_user

ROLES = {
    "all": "Everything",
    "support": "Support",
    "billing": "Billing",
    "read-only": "Read only",
}
MEANINGS = {
    "all": "Also makes, archives and restores organisations, and decides who the operators are.",
    "support": "Sees how everything stands, has failed work and copies done again, and visits organisations.",
    "billing": "Sees how everything stands, allows other amounts, suspends and resumes organisations.",
    "read-only": "Sees how everything stands and changes nothing.",
}

EVERYBODY = frozenset(ROLES)
SUPPORT = frozenset({"all", "support"})
BILLING = frozenset({"all", "billing"})
ALONE = frozenset({"all"})

PAGES = {
    "console.sign_in": EVERYBODY,
    "console.signing_in": EVERYBODY,
    "console.sign_out": EVERYBODY,
    "console.overview": EVERYBODY,
    "console.tenants_list": EVERYBODY,
    "console.tenant": EVERYBODY,
    "console.activity": EVERYBODY,
    "console.tenant_domains": EVERYBODY,
    "console.backups_list": EVERYBODY,
    "console.tenant_backups": EVERYBODY,
    "console.backup_order": EVERYBODY,
    "console.you": EVERYBODY,
    "console.change_password": EVERYBODY,
    "console.end_browser": EVERYBODY,
    "console.end_other_browsers": EVERYBODY,
    "console.security.show": EVERYBODY,
    "console.security.begin_app": EVERYBODY,
    "console.security.new_app": EVERYBODY,
    "console.security.new_passkey": EVERYBODY,
    "console.security.keep_passkey": EVERYBODY,
    "console.security.passkey_options": EVERYBODY,
    "console.security.new_codes": EVERYBODY,
    "console.security.remove": EVERYBODY,
    "console.set_cap": BILLING,
    "console.end_cap": BILLING,
    "console.suspend": BILLING,
    "console.resume": BILLING,
    "console.retry": SUPPORT,
    "console.copy_now": SUPPORT,
    "console.prove_now": SUPPORT,
    "console.look_at_domain": SUPPORT,
    "console.begin_visit": SUPPORT,
    "console.end_visit": SUPPORT,
    "console.look_at_moment": ALONE,
    "console.open_preview": ALONE,
    "console.discard_preview": ALONE,
    "console.go_back": ALONE,
    "console.new_tenant": ALONE,
    "console.archive": ALONE,
    "console.add_domain": ALONE,
    "console.make_domain_primary": ALONE,
    "console.remove_domain": ALONE,
    "console.platform_settings": ALONE,
    "console.operators_list": ALONE,
    "console.add_operator": ALONE,
    "console.give_operator_role": ALONE,
    "console.remove_operator": ALONE,
}


def init_app(app: Flask) -> None:
    """Let templates ask whether an operator may do something, so that nobody is shown a door that stays shut."""
    app.jinja_env.globals["operator_may"] = operator_may


def keep_to_role() -> None:
    """Answer 404 for what an operator's role does not hold; who is not signed in is asked to by the door before this."""
    if current_user.is_authenticated and not may(current_user.role, request.endpoint or ""):
        abort(404)


def operator_may(page: str) -> bool:
    """Tell whether the operator who asks may open `page` of the console, such as "suspend"."""
    return current_user.is_authenticated and may(current_user.role, f"console.{page}")


def may(role: str, endpoint: str) -> bool:
    """Tell whether operators of this role may open a page."""
    return role in PAGES.get(endpoint, ALONE)
