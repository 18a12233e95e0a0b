"""The desk where members answer together: the folders, a conversation, replies, notes, and who looks after what."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.accounts import User, current_user, flash, needs
from app.facilities.pagination import paginate
from app.inbox import policy
from app.inbox.folders import FOLDERS, Tally, listed, mark, voices
from app.inbox.forms import AssignmentForm, NoteForm, ReplyForm, as_id
from app.inbox.models import Box, Conversation, Message
from app.tenancy import db
from app.tenancy.errors import DiskFull, QuotaExceeded, Refused

blueprint = Blueprint("inbox_desk", __name__, url_prefix="/desk/inbox")

PER_PAGE = 30
MESSAGES_PER_PAGE = 100


@blueprint.get("/")
@needs("inbox.answer")
def conversations() -> str:
    """List the conversations of a folder."""
    folder = request.args.get("folder", "open")
    if folder not in FOLDERS:
        abort(404)
    pagination = paginate(listed(folder, current_user.id), request.args.get("page", 1, type=int), PER_PAGE)
    shown = {"folder": folder, "mark": mark(folder, current_user.id), "address": Box.main_address(), "undo": _undo()}
    listing = {"pagination": pagination, "voices": voices(pagination.items, current_user.id)}
    return render_template("inbox/desk/conversations.html", tally=Tally.now(), folders=FOLDERS, **listing, **shown)


@blueprint.get("/<int:conversation_id>")
@needs("inbox.answer")
def conversation(conversation_id: int) -> Response:
    """Show a conversation."""
    return _page(find(conversation_id))


@blueprint.post("/<int:conversation_id>/replies")
@needs("inbox.answer")
def reply(conversation_id: int) -> Response:
    """Answer the visitor, unless somebody wrote meanwhile: then that is shown first."""
    conversation, form = find(conversation_id), ReplyForm()
    if not form.validate():
        return _page(conversation, form, status=422)
    is_new = Message.sent_as(current_user, form.client_id.data) is None
    if is_new and conversation.newest_message_id() > form.seen_id:
        return _page(conversation, form, newer_than=form.seen_id, status=409)
    try:
        message = conversation.reply(form.text.data, by=current_user, client_id=form.client_id.data)
        if is_new and request.form.get("then") == "closed":
            conversation.close(by=current_user)
        return _written(message, "Your reply is on its way.")
    except (Refused, QuotaExceeded, DiskFull) as refusal:
        return _refused(conversation_id, form, refusal)


@blueprint.post("/<int:conversation_id>/notes")
@needs("inbox.answer")
def note(conversation_id: int) -> Response:
    """Leave a note for colleagues."""
    conversation, form = find(conversation_id), NoteForm()
    if not form.validate():
        return _page(conversation, form, status=422)
    try:
        message = conversation.note(form.text.data, by=current_user, client_id=form.client_id.data)
        return _written(message, "Your note is there. Only colleagues see it.")
    except (Refused, QuotaExceeded, DiskFull) as refusal:
        return _refused(conversation_id, form, refusal)


@blueprint.post("/<int:conversation_id>/assignment")
@needs("inbox.answer")
def assign(conversation_id: int) -> Response:
    """Give it to a member to look after, or to nobody, unless it went to somebody else meanwhile."""
    conversation, form = find(conversation_id), AssignmentForm().offer(policy.people())
    if not form.validate():
        abort(422)
    assignee = current_user if "take" in request.form else db.session.get(User, form.assignee.data)
    if conversation.assignee_id not in (form.seen_id or None, assignee.id if assignee else None):
        return _page(conversation, moved=f"{_moved(conversation)} Look again before you change it.", status=409)
    conversation.assign_to(assignee, by=current_user)
    return _done(conversation, _looked_after(conversation))


@blueprint.post("/<int:conversation_id>/closing")
@needs("inbox.answer")
def close(conversation_id: int) -> Response:
    """Put it away as done; the page that follows offers to undo it."""
    conversation = find(conversation_id)
    conversation.close(by=current_user)
    return _put_away(conversation)


@blueprint.post("/<int:conversation_id>/reopening")
@needs("inbox.answer")
def reopen(conversation_id: int) -> Response:
    """Take it up again."""
    conversation = find(conversation_id)
    conversation.reopen(by=current_user)
    return _done(conversation, "It is open again.")


@blueprint.post("/<int:conversation_id>/spam")
@needs("inbox.answer")
def mark_spam(conversation_id: int) -> Response:
    """Put it among the spam; the page that follows offers to undo it."""
    conversation = find(conversation_id)
    conversation.mark_spam(by=current_user)
    return _put_away(conversation)


@blueprint.post("/<int:conversation_id>/messages/<int:message_id>/letter")
@needs("inbox.answer")
def send_again(conversation_id: int, message_id: int) -> Response:
    """Send a letter that failed once more."""
    message = policy.find_message(conversation_id, message_id) or abort(404)
    message.send_again(by=current_user)
    return _written(message, "It is tried once more.")


def find(conversation_id: int) -> Conversation:
    """Return the conversation; whoever answers may see them all."""
    return policy.find_conversation(conversation_id) or abort(404)


def _page(
    conversation: Conversation,
    sent: ReplyForm | NoteForm | None = None,
    *,
    newer_than: int | None = None,
    moved: str = "",
    status: int = 200,
) -> Response:
    """Show a conversation with its forms; one that was sent comes back as it was written."""
    before = as_id(request.args.get("before", ""))
    messages, earlier = conversation.messages(MESSAGES_PER_PAGE, before)
    shown = {"messages": messages, "earlier": earlier, "before": before, "sent": sent}
    shown |= {"newer_than": newer_than, "moved": moved}
    forms = _forms(conversation, sent, must_renew=newer_than is not None)
    return make_response(
        render_template("inbox/desk/conversation.html", conversation=conversation, **shown, **forms), status
    )


def _forms(conversation: Conversation, sent: ReplyForm | NoteForm | None, *, must_renew: bool) -> dict[str, Any]:
    newest_id = conversation.newest_message_id()
    if sent and (must_renew or sent.form_errors):
        sent.renew(newest_id)
    return {
        "reply": sent if isinstance(sent, ReplyForm) else ReplyForm(formdata=None, seen=str(newest_id)),
        "note": sent if isinstance(sent, NoteForm) else NoteForm(formdata=None),
        "people": policy.people(),
        "writes_note": isinstance(sent, NoteForm) or conversation.state == "spam",
    }


def _looked_after(conversation: Conversation) -> str:
    if conversation.assignee is None:
        return "Nobody looks after it for now."
    is_mine = conversation.assignee_id == current_user.id
    return "You look after it." if is_mine else f"{conversation.assignee.name} looks after it."


def _moved(conversation: Conversation) -> str:
    if conversation.assignee is None:
        return "It was let go meanwhile."
    is_mine = conversation.assignee_id == current_user.id
    return "It became yours meanwhile." if is_mine else f"{conversation.assignee.name} took it meanwhile."


def _undo() -> Conversation | None:
    """Return what has just been put away."""
    found = policy.find_conversation(as_id(request.args.get("undo", "")))
    return found if found and found.state in ("closed", "spam") else None


def _refused(conversation_id: int, form: ReplyForm | NoteForm, refusal: Refused | QuotaExceeded | DiskFull) -> Response:
    """Say why it could not be written, with the text kept."""
    db.session.rollback()
    form.form_errors.append(refusal.advice)
    return _page(find(conversation_id), form, status=refusal.status)


def _written(message: Message, said: str) -> Response:
    db.session.commit()
    flash("success", said)
    address = url_for(".conversation", conversation_id=message.conversation_id, _anchor=f"message-{message.id}")
    return redirect(address, 303)


def _done(conversation: Conversation, said: str) -> Response:
    db.session.commit()
    flash("success", said)
    return redirect(conversation.href, 303)


def _put_away(conversation: Conversation) -> Response:
    db.session.commit()
    return redirect(url_for(".conversations", undo=conversation.id), 303)
