"""What open pages of the inbox get when something happens: the same for all who may see it, from the rows as they stand."""

from __future__ import annotations

from flask import render_template

from app.facilities import live
from app.facilities.events import Event
from app.inbox.folders import FOLDERS, Tally, marks_of, voices
from app.inbox.models import Conversation, Message
from app.inbox.policy import people
from app.tenancy import db

BEGUN = ("ConversationOpened", "MessageReceived")


@live.fragment(
    "ConversationOpened",
    "ConversationAssigned",
    "ConversationClosed",
    "ConversationReopened",
    "ConversationMarkedSpam",
    "MessageReceived",
    "ReplyWritten",
)
def conversation(event: Event) -> str:
    """Print its line for the lists it lies in, the counts of the folders, and how it stands."""
    found = db.session.get(Conversation, event.payload.get("conversation") or event.subject_id)
    if found is None:
        return ""
    shown = {"event": event, "begun": event.kind in BEGUN, "marks": marks_of(found), "counts": _counts(event, found)}
    shown |= {"voice": voices([found])[found.id], "people": people()}
    return render_template("inbox/desk/_live_conversation.html", conversation=found, **shown)


@live.fragment("MessageReceived", "ReplyWritten", "NoteWritten", "LetterSent", "LetterFailed", "LetterRetried")
def message(event: Event) -> str:
    """Print a message, with what has become of its letter."""
    found = db.session.get(Message, event.subject_id)
    return render_template("inbox/desk/_live_message.html", message=found) if found else ""


def _counts(event: Event, conversation: Conversation) -> dict[str, int]:
    """Return the numbers that may have changed, by the mark of their folder."""
    tally = Tally.now()
    holders = {event.payload.get("previous"), conversation.assignee_id, event.actor} - {None}
    counts = {folder: tally.of(folder) for folder in FOLDERS if folder != "mine"}
    return counts | {f"mine-{holder}": tally.of("mine", holder) for holder in holders}
