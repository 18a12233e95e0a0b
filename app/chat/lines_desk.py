"""Writing, changing and removing lines."""

from __future__ import annotations

from flask import abort, make_response, redirect, render_template
from werkzeug.wrappers import Response

from app.accounts import current_user, flash, needs
from app.chat import log, policy
from app.chat.desk import blueprint, find_room, room_page, wants_piece
from app.chat.forms import LineForm
from app.chat.models import Line
from app.tenancy import db


@blueprint.post("/rooms/<int:room_id>/lines")
@needs("chat.talk")
def say(room_id: int) -> Response:
    """Write a line; the same form sent twice writes one."""
    room, form = find_room(room_id), LineForm()
    if not form.validate():
        return room_page(room, form, 422)
    line = room.say(form.text.data, by=current_user, client_id=form.client_id.data)
    shown = log.show(line)
    db.session.commit()
    if wants_piece():
        return make_response(render_template("chat/_line.html", shown=shown), 201)
    return redirect(f"{room.href}#newest", 303)


@blueprint.route("/lines/<int:line_id>", methods=["GET", "POST"])
@needs("chat.talk")
def line(line_id: int) -> Response:
    """Change a line of one's own."""
    line = find_line(line_id)
    if line.is_removed:
        return redirect(line.href, 303)
    form = LineForm(data={"text": line.source})
    if not form.validate_on_submit():
        return _line_page(form, line)
    if not policy.may_edit(current_user, line):
        abort(403, "These are somebody else's words. You can remove them, but not change them.")
    line.edit(form.text.data, by=current_user)
    db.session.commit()
    return redirect(line.href, 303)


@blueprint.post("/lines/<int:line_id>/removal")
@needs("chat.talk")
def remove_line(line_id: int) -> Response:
    """Take the text of a line away for good."""
    line = find_line(line_id)
    line.remove(by=current_user)
    db.session.commit()
    flash("success", "The line was removed.")
    return redirect(line.href, 303)


def find_line(line_id: int) -> Line:
    """Return the line when the person who asks may do something about it."""
    line = db.session.scalar(policy.visible_lines(current_user).where(Line.id == line_id)) or abort(404)
    if not policy.may_remove_line(current_user, line):
        abort(403, "These are somebody else's words. Only their author, and moderators, can do something about them.")
    return line


def _line_page(form: LineForm, line: Line) -> Response:
    shown, may_edit = log.show(line), policy.may_edit(current_user, line)
    page = render_template("chat/line.html", form=form, shown=shown, may_edit=may_edit)
    return make_response(page, 422 if form.errors else 200)
