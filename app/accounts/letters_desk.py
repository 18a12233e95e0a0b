"""Where an organisation sees its letters: to whom, about what, and what has become of each; never what they say."""

from __future__ import annotations

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts.notices import flash
from app.accounts.policy import needs
from app.accounts.previews import is_preview
from app.facilities import outgoing
from app.facilities.outgoing import STATES, Outgoing
from app.facilities.pagination import paginate
from app.tenancy import db

PER_PAGE = 50

blueprint = Blueprint("letters_desk", __name__, url_prefix="/desk/settings/letters")


@blueprint.get("")
@needs("settings.manage")
def show() -> Response:
    """List the letters, a page at a time; of what is not theirs to know, nobody sees any."""
    state, mine = request.args.get("state", ""), Outgoing.seen_by(current_user.id)
    wanted = mine.where(Outgoing.stands_as(state)) if state in STATES else mine
    page = render_template(
        "accounts/desk/letters.html",
        found=paginate(wanted, request.args.get("page", 1, type=int), PER_PAGE),
        state=state if state in STATES else "",
        states=STATES,
        trouble=outgoing.trouble(mine),
    )
    return make_response(page)


@blueprint.post("/<int:letter_id>/attempts")
@needs("settings.manage")
def try_again(letter_id: int) -> Response:
    """Have a letter tried again that was set aside; out of a preview none leaves."""
    letter = db.session.scalar(Outgoing.seen_by(current_user.id).where(Outgoing.id == letter_id))
    if letter is None or is_preview():
        abort(404)
    is_tried = letter.try_again()
    db.session.commit()
    flash(*(("success", "It is tried again now.") if is_tried else ("info", "It is not set aside any more.")))
    return redirect(url_for(".show"), 303)
