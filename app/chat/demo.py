"""Believable talk for the three demo organisations, with what the inbox rang for in between."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import select

from app.accounts import User
from app.chat.handlers import tell_of_conversation
from app.chat.models import Line, Room
from app.chat.models.room import GENERAL
from app.chat.planting import plant
from app.facilities.events import Event
from app.inbox import find_conversation
from app.tenancy import db, tenancy, tenant_context, utcnow
from app.tenancy.errors import UnknownHost

MARK = "demo"
RING = timedelta(seconds=2)  # from a visitor's form to the line that tells of it


class Said(NamedTuple):
    """A line that somebody wrote so many `hours` ago."""

    room: str
    hours: float
    who: str  # what stands before the @ of their address
    text: str


class Place(NamedTuple):
    """A room beside the one that everybody has, and who started it; `others` are let into a closed one."""

    name: str
    who: str
    others: tuple[str, ...] = ()


ROOMS = {
    "riverside": (Place("boats", "tom"), Place("committee", "owner", ("hannah",))),
    "foodbank": (Place("rota", "jo"), Place("board", "owner", ("amara",))),
    "meridian": (Place("building circle", "ingrid"), Place("money", "yusuf", ("owner",))),
}
SAID = {
    "riverside": (
        Said(GENERAL, 96, "owner", "Welcome to our own rooms, everybody. No more lists on the fridge."),
        Said(GENERAL, 95.6, "hannah", "The fridge will miss us. The **junior camp** list stays there, though: parents sign it."),
        Said(GENERAL, 70.5, "hannah", "Course for beginners is full now, two sisters took the last places."),
        Said(GENERAL, 26.4, "tom", "School visit: I can do a Tuesday. One more pair of eyes would be good."),
        Said(GENERAL, 26.3, "owner", "Mine. Which Tuesday?"),
        Said(GENERAL, 3.2, "tom", "River board is at *amber*. Sculls stay in, eights may go out with a launch."),
        Said(GENERAL, 0.4, "hannah", "I answer the one about the wheelchair tonight, unless somebody is quicker."),
        Said("boats", 60, "tom", "Rudder cable of *Patience II* is done. Please try it gently before you trust it."),
        Said("boats", 58.5, "owner", "Tried. It steers, which is new."),
        Said("boats", 5, "tom", "Missing from the rigging box:\n\n- the 10 mm spanner\n- both spirit levels\n- my patience"),
        Said("committee", 30, "owner", "Gerald Whitcombe gives £500 for the roof. Shall he cut the ribbon?"),
        Said("committee", 29.5, "hannah", "Yes, and seat him next to Margaret. They rowed in the same boat."),
    ),
    "foodbank": (
        Said(GENERAL, 100, "owner", "This is our new place to talk. The notebook by the door retires."),
        Said(GENERAL, 99.7, "amara", "But the kettle stays."),
        Said(GENERAL, 92, "jo", "Bread from Canal Street three times a week! Sam fetches it on Mondays and Fridays."),
        Said(GENERAL, 47, "jo", "New on Saturday: Leah, sixteen, perhaps with a friend. Please show them the first-aid box."),
        Said(GENERAL, 28, "amara", "Reminder after today's letter: **no surnames in writing**, not here either."),
        Said(GENERAL, 2.5, "jo", "We are out of nappies in size 4. Northgate has some, I cycle over at noon."),
        Said(GENERAL, 0.5, "amara", "Monday has the better gluten-free shelf, I can answer that one."),
        Said("rota", 50, "jo", "Who can swap with Dorothy on Monday? Her grandson is being born, more or less now."),
        Said("rota", 49.8, "owner", "I take the door."),
        Said("rota", 20, "jo", "It is a girl. Dorothy is back on Wednesday."),
        Said("board", 40, "amara", "The year in numbers is out, and the library would like us on Tuesdays too. On the agenda?"),
        Said("board", 39, "owner", "First item."),
    ),
    "meridian": (
        Said(GENERAL, 90, "owner", "Our own rooms, at last. Knocking on doors is still allowed."),
        Said(GENERAL, 89, "yusuf", "The rent statements are out. Questions to the circle, please, not to my door at ten."),
        Said(GENERAL, 20, "ingrid", "Lift: the engineer comes on Thursday between eight and noon. It stands still for an hour."),
        Said(GENERAL, 19.5, "owner", "I put a note on every floor."),
        Said(GENERAL, 5, "ingrid", "The Courier would like to visit us for a day. For the next meeting, I think."),
        Said(GENERAL, 1.9, "yusuf", "The blue tandem has an owner! Flat 30, any memories?"),
        Said("building circle", 74, "ingrid", "Boiler: three offers are in. I put them side by side in the green folder."),
        Said("building circle", 73, "yusuf", "The middle one, if the guarantee is really ten years."),
        Said("building circle", 11, "ingrid", "Valves changed so far: 19, 31, 23. That leaves thirty-eight."),
        Said("money", 44, "yusuf", "Reserve after the boiler: £96,000 with the middle offer. Fine, but no pizza oven."),
        Said("money", 43.5, "owner", "I shall tell them gently."),
    ),
}  # fmt: skip


def fill(slug: str) -> None:
    """Put rooms and lines into the chat of the demo tenant of that slug, once."""
    tenant = tenancy.registry.by_slug(slug)
    if tenant is None:
        raise UnknownHost(slug)
    with tenant_context(tenant):
        if not _is_here():
            if Room.named(GENERAL) is None:  # the organisation was here before there was chat
                plant(tenant.name)
            for place in ROOMS[slug]:
                _open(place)
            _talk(SAID[slug])
        db.session.commit()


def _is_here() -> bool:
    return db.session.scalar(select(Line.id).where(Line.client_id.startswith(MARK)).limit(1)) is not None


def _open(place: Place) -> None:
    who = _person(place.who)
    room = Room.start(place.name, by=who, closed=bool(place.others))
    for other in place.others:
        room.invite(_person(other), by=who)


def _talk(said: tuple[Said, ...]) -> None:
    """Write everything in the order in which it would have come, each line with its own time."""
    now = utcnow()
    acts = [(now - timedelta(hours=each.hours), partial(_say, each)) for each in said]
    for event in db.session.scalars(select(Event).where(Event.kind == "ConversationOpened")).all():
        conversation = find_conversation(event.subject_id)
        if conversation is not None and conversation.state != "spam":
            acts.append((conversation.created_at + RING, partial(_tell, event)))
    for at, act in sorted(acts, key=lambda pair: pair[0]):
        act().created_at = at


def _say(said: Said) -> Line:
    return _room(said.room).say(said.text, by=_person(said.who), client_id=f"{MARK}-{said.hours}")


def _tell(event: Event) -> Line:
    tell_of_conversation(event)
    return db.session.scalars(select(Line).where(Line.told_for == f"conversation:{event.subject_id}")).one()


def _room(name: str) -> Room:
    room = Room.named(name)
    assert room is not None
    return room


def _person(name: str) -> User:
    return db.session.scalars(select(User).where(User.email.startswith(f"{name}@"))).one()
