"""Where people make tokens for programs: their own on their profile, those of services in the settings."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, make_response, redirect, render_template, url_for
from flask_login import current_user
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import User, flash, member_required, needs, only_today
from app.accounts.freshness import fresh_required
from app.api.forms import TokenForm
from app.api.models import Token
from app.api.policy import MANAGE, scopes
from app.tenancy import db

blueprint = Blueprint("tokens_desk", __name__, url_prefix="/desk")
blueprint.before_request(only_today)


@blueprint.get("/profile/tokens/")
@member_required
def own() -> Response:
    """Show one's own tokens."""
    return own_page(TokenForm(formdata=None))


@blueprint.post("/profile/tokens/")
@member_required
@fresh_required
def make_own() -> Response:
    """Make a token for a program that acts in one's own name, and show it this once."""
    form = TokenForm()
    return made(form, ".own") if form.validate() else own_page(form, 422)


@blueprint.post("/profile/tokens/<int:token_id>/end")
@member_required
def end_own(token_id: int) -> Response:
    """End one of one's own."""
    token = db.session.get(Token, token_id)
    if token is None or token.user_id != me().id:
        abort(404)
    return ended(token, ".own")


@blueprint.get("/settings/tokens/")
@needs(MANAGE)
def everybodys() -> Response:
    """Show the tokens of services, and those of people."""
    return everybodys_page(TokenForm(formdata=None))


@blueprint.post("/settings/tokens/")
@needs(MANAGE)
@fresh_required
def make_for_service() -> Response:
    """Make a token for a program that acts in nobody's name, and show it this once."""
    form = TokenForm()
    return made(form, ".everybodys") if form.validate() else everybodys_page(form, 422)


@blueprint.post("/settings/tokens/<int:token_id>/end")
@needs(MANAGE)
def end_anybodys(token_id: int) -> Response:
    """End a service's token, or anybody's."""
    return ended(db.session.get(Token, token_id) or abort(404), ".everybodys")


def me() -> User:
    """Return whoever is signed in; somebody on a visit has no tokens, which would outlast it."""
    user = current_user._get_current_object()
    return user if isinstance(user, User) else abort(404)


def made(form: TokenForm, back: str) -> Response:
    """Make a token as the form says, and show it; its page is kept by nobody, and its address says nothing."""
    is_service = back == ".everybodys"
    token, key = Token.make(form.name.data, form.scopes.data, form.lifetime, by=me(), is_service=is_service)
    db.session.commit()
    return page("made.html", 201, token=token, key=str(key), back=url_for(back))


def ended(token: Token, back: str) -> Response:
    """End a token and say so."""
    token.end(by=me())
    db.session.commit()
    flash("success", f"“{token.name}” is good for nothing any more.")
    return redirect(url_for(back), 303)


def own_page(form: TokenForm, status: int = 200) -> Response:
    """Show one's own tokens, and the form for another."""
    return page("own.html", status, form=form, tokens=listed(Token.user_id == me().id))


def everybodys_page(form: TokenForm, status: int = 200) -> Response:
    """Show everybody's tokens, and the form for another service."""
    services, people = listed(Token.user_id.is_(None)), listed(Token.user_id.is_not(None))
    return page("everybodys.html", status, form=form, services=services, people=people)


def listed(which: Any) -> list[Token]:
    """Return such tokens, the newest first, those that are over last."""
    found = db.session.scalars(select(Token).where(which).order_by(Token.id.desc())).all()
    return sorted(found, key=lambda token: token.is_over)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page of tokens."""
    labels = {each.name: each.label for each in scopes()}
    return make_response(render_template(f"api/desk/{template}", labels=labels, **values), status)
