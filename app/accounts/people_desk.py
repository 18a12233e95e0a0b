"""The desk's page of people: who is here and, for those who decide about them, inviting, giving roles, and letting go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import Select, func, or_, select
from werkzeug.wrappers import Response

from app.accounts import letters
from app.accounts.forms import Form, InvitationForm, RemovalForm, RoleForm
from app.accounts.freshness import fresh_required
from app.accounts.models import Factor, Invitation, Role, User
from app.accounts.notices import flash
from app.accounts.policy import may, needs
from app.accounts.previews import only_today
from app.facilities.pagination import paginate
from app.tenancy import current_tenant, db
from app.tenancy.errors import Refused

blueprint = Blueprint("people", __name__, url_prefix="/desk/people")
blueprint.before_request(only_today)

PER_PAGE = 50
FEW = 20  # people that need no search


@blueprint.get("/")
@needs("people.see")
def people() -> Response:
    """List who is here and, for those who decide about it, who is invited."""
    search = request.args.get("q", "").strip()[:100]
    invited = select(Invitation).order_by(Invitation.created_at.desc(), Invitation.id.desc())
    found = paginate(listed(search), request.args.get("page", 1, type=int), PER_PAGE)
    return page(
        "people.html",
        found=found,
        proved=with_factor(found.items) if may("people.manage") else set(),
        search=search,
        is_long=count_listed() > FEW,
        invitations=db.session.scalars(invited).all() if may("people.manage") else [],
        taken=User.places_taken(),
        most=current_tenant().max_users,
    )


@blueprint.get("/invitations/new")
@needs("people.manage")
def new_invitation() -> Response:
    """Ask who is to come in."""
    return page("invite.html", form=InvitationForm(givable()), is_full=is_full())


@blueprint.post("/invitations/")
@needs("people.manage")
@fresh_required
def invite() -> Response:
    """Invite somebody, and show the link once: letters may not leave today."""
    User.require_room()
    form = InvitationForm(givable())
    if not form.validate():
        return page("invite.html", 422, form=form)
    try:
        invitation = Invitation.send(form.email.data, form.role.data, form.name.data, by=me())
    except Refused as refusal:
        form.form_errors.append(refusal.advice)
        return page("invite.html", 422, form=form)
    return invited(invitation, 201)


@blueprint.post("/invitations/<int:invitation_id>/letter")
@needs("people.manage")
@fresh_required
def send_again(invitation_id: int) -> Response:
    """Send an invitation once more, with a link of its own."""
    invitation = find_invitation(invitation_id)
    invitation.send_again(by=me())
    return invited(invitation)


@blueprint.post("/invitations/<int:invitation_id>/withdrawal")
@needs("people.manage")
@fresh_required
def withdraw(invitation_id: int) -> Response:
    """Take an invitation back."""
    invitation = find_invitation(invitation_id)
    return done(lambda: invitation.withdraw(by=me()), f"The invitation of {invitation.email} is withdrawn.")


@blueprint.get("/<int:user_id>")
@needs("people.manage")
def person(user_id: int) -> Response:
    """Show one person and what can be done."""
    return person_page(find(user_id))


@blueprint.post("/<int:user_id>/role")
@needs("people.manage")
@fresh_required
def give_role(user_id: int) -> Response:
    """Change what a person may do."""
    form, person = RoleForm(givable()), find(user_id)
    if not form.validate():
        return person_page(person, 422, form=form)
    said = f"{person.name} has the role {Role.of(form.role.data).name} now, and signs in again."
    return done(lambda: person.give_role(form.role.data, by=me()), said, person)


@blueprint.post("/<int:user_id>/deactivation")
@needs("people.manage")
@fresh_required
def deactivate(user_id: int) -> Response:
    """Let a person sign in no more."""
    person = find(user_id)
    return done(lambda: person.deactivate(by=me()), f"{person.name} is signed out and cannot sign in any more.", person)


@blueprint.post("/<int:user_id>/reactivation")
@needs("people.manage")
@fresh_required
def reactivate(user_id: int) -> Response:
    """Let a person sign in again."""
    person = find(user_id)
    return done(lambda: person.reactivate(by=me()), f"{person.name} can sign in again.", person)


@blueprint.route("/<int:user_id>/removal", methods=["GET", "POST"])
@needs("people.manage")
@fresh_required
def remove(user_id: int) -> Response:
    """Say what becomes of a person's work, and remove them once their address was typed."""
    person = find(user_id)
    if person.id == current_user.id:
        return redirect(url_for("profile.leave"), 303)
    form = RemovalForm(person.email)
    if not form.validate_on_submit():
        return page("removal.html", 422 if form.errors else 200, form=form, person=person)
    return done(lambda: person.remove(by=me()), f"{person.name} is removed. What they wrote stays, with their name.")


def listed(search: str = "") -> Select[Any]:
    """Select who is here, by name; those who decide about them find people by their address too."""
    here = select(User).where(User.state != "removed").order_by(func.lower(User.name), User.id)
    if not may("people.manage"):
        here = here.where(User.state == "active")
    if not search:
        return here
    matches = [User.name.icontains(search, autoescape=True)]
    if may("people.manage"):
        matches.append(User.email.icontains(search, autoescape=True))
    return here.where(or_(*matches))


def count_listed() -> int:
    """Return how many the whole list has."""
    return db.session.scalar(select(func.count()).select_from(listed().order_by(None).subquery())) or 0


def with_factor(people: Iterable[User]) -> set[int]:
    """Return the ids of those who have a second factor."""
    ids = [person.id for person in people]
    return set(db.session.scalars(select(Factor.person_id).where(Factor.person_id.in_(ids))))


def is_full() -> bool:
    """Tell whether every place of the plan is taken; asking for one would be refused."""
    most = current_tenant().max_users
    return most is not None and User.places_taken() >= most


def find(user_id: int) -> User:
    """Return a person of this organisation, or answer 404."""
    person = db.session.get(User, user_id)
    return person if person and person.state != "removed" else abort(404)


def find_invitation(invitation_id: int) -> Invitation:
    """Return an invitation that was not yet accepted, or answer 404."""
    return db.session.get(Invitation, invitation_id) or abort(404)


def givable() -> list[Role]:
    """Return the roles that whoever asks may give."""
    return [role for role in Role.every() if me().held_role.covers(role)]


def me() -> User:
    """Return whoever is signed in."""
    return current_user._get_current_object()


def done(act: Callable[[], None], said: str, person: User | None = None) -> Response:
    """Act and say so, or say why it cannot be; then show where one came from."""
    try:
        act()
        db.session.commit()
        flash("success", said)
    except Refused as refusal:
        db.session.rollback()
        flash("danger", refusal.advice)
    return redirect(url_for("people.person", user_id=person.id) if person else url_for("people.people"), 303)


def invited(invitation: Invitation, status: int = 200) -> Response:
    """Show the link of an invitation, this once."""
    db.session.commit()
    return page("invited.html", status, invitation=invitation, link=letters.invitation_link(invitation))


def person_page(person: User, status: int = 200, form: Form | None = None) -> Response:
    """Show a person with what can be done about them."""
    form = form or RoleForm(givable(), formdata=None, role=person.role)
    is_above = not me().held_role.covers(person.held_role)
    return page("person.html", status, person=person, form=form, is_above=is_above, proved=with_factor([person]))


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page of people."""
    roles = {role.key: role.name for role in Role.every()}
    return make_response(render_template(f"accounts/desk/{template}", roles=roles, **values), status)
