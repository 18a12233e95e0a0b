"""Believable conversations for the three demo organisations: what visitors wrote, and how members answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from app.accounts import User
from app.content import Submission
from app.inbox.models import Conversation, Message
from app.tenancy import db, tenancy, tenant_context, utcnow
from app.tenancy.errors import UnknownHost

SPAM = "a field that only programs see was filled in"


@dataclass(frozen=True)
class Turn:
    """One thing said further: by a member as a reply or a note, or by the visitor ("visitor"), `hours` after the one before."""

    kind: str  # reply, note, visitor
    who: str  # what stands before the @ of a member's address
    hours: float
    text: str


@dataclass(frozen=True)
class Thread:
    """A conversation that a visitor began `hours` ago, and how it went on."""

    name: str
    subject: str
    hours: float
    text: str
    turns: tuple[Turn, ...] = ()
    assignee: str = ""
    ends: str = ""  # closed, spam

    @property
    def email(self) -> str:
        """The visitor's address, at a domain that no letter ever reaches."""
        return f"{self.name.lower().replace(' ', '.')}@visitor.test"


THREADS = {
    "riverside": (
        Thread(
            "Nadia Rahman",
            "Two places on the next course?",
            75,
            "Hello,\n\nmy sister and I would like to learn to row. Are there two places left on the next course? We can both "
            "swim, and one of us can even get up before nine.\n\nNadia",
            (
                Turn("note", "tom", 1, "There were three left on Sunday. Hannah, you have the list, don't you?"),
                Turn(
                    "reply",
                    "hannah",
                    4,
                    "Dear Nadia,\n\nyes, there are two places and I have put you both down. We begin on Saturday at nine on "
                    "the landing stage. Bring clothes that may get wet, and others for afterwards.\n\nHannah",
                ),
                Turn("visitor", "", 19, "Wonderful, thank you! Is there somewhere to leave bicycles?"),
            ),
            assignee="hannah",
        ),
        Thread(
            "Gerald Whitcombe",
            "Something for the roof",
            122,
            "Good morning. I rowed with you from 1961 to 1968 and read about the roof. I should like to give five hundred "
            "pounds, if there is a way that does not involve the internet.",
            (
                Turn(
                    "reply",
                    "owner",
                    20,
                    "Dear Mr Whitcombe,\n\nthat is more than kind. A cheque to Riverside Rowing Club, Wharf Lane, reaches "
                    "our treasurer Lin Zhao. And do come by: your initials are still on the beam over the door.",
                ),
            ),
        ),
        Thread(
            "Marcus Bell",
            "Wetsuit, small",
            150,
            "I think the wetsuit in the drying room is my son's. It should say BELL in the collar.",
            (
                Turn("reply", "hannah", 3, "It does! It hangs by the kitchen door with his name on it."),
                Turn("visitor", "", 26, "Collected. Thank you for not throwing it away."),
            ),
            ends="closed",
        ),
        Thread(
            "Joan Pettigrew",
            "Year 5 would like to see a boathouse",
            27,
            "I teach at St Anne's, twenty minutes' walk from you. Could twenty-six nine-year-olds look at your boats some "
            "weekday morning in spring? They are well behaved near water, on the whole.",
            (
                Turn(
                    "note",
                    "tom",
                    2,
                    "We did this two years ago: two groups, life jackets on from the gate, nobody near the launches. "
                    "I can do a Tuesday. Who else is free on a weekday?",
                ),
            ),
        ),
        Thread(
            "Elif Kaya",
            "Open day with a wheelchair",
            0.7,
            "My father would love to come to your open day. He uses a wheelchair. Can he get to the water, and is there a "
            "lavatory he can use?",
        ),
        Thread(
            "Rank Booster",
            "Your website is not on page one",
            41,
            "Dear webmaster, we noticed your website is not on page one. Reply now for a free audit.",
            ends="spam",
        ),
    ),
    "foodbank": (
        Thread(
            "Piotr Zielinski",
            "Bread, three times a week",
            98,
            "I have the bakery on Canal Street. On Mondays, Wednesdays and Fridays there are twenty to thirty loaves left at "
            "six in the evening. They are yours if somebody fetches them.",
            (
                Turn("note", "jo", 2, "Marek has the van on Wednesdays. Mondays and Fridays by bicycle trailer?"),
                Turn(
                    "reply",
                    "amara",
                    5,
                    "Dear Mr Zielinski,\n\nthank you, yes! Marek comes on Wednesday with the van, and on the other days Sam "
                    "with a red trailer. Would a quarter past six suit you?\n\nAmara Nwosu",
                ),
            ),
            assignee="amara",
        ),
        Thread(
            "Leah Morgan",
            "An hour or two on Saturdays",
            52,
            "I would like to help. I am sixteen, I can lift things, and I have Saturday mornings until one. Is that too young?",
            (
                Turn(
                    "reply",
                    "jo",
                    3,
                    "Hello Leah,\n\nnot at all, from sixteen on we only need a parent's signature. Come this Saturday at half "
                    "past ten and ask for me. Wear shoes that can take a dropped tin.\n\nJo",
                ),
                Turn("visitor", "", 15, "Great! My mum signs tonight. Can I bring a friend?"),
            ),
            assignee="jo",
        ),
        Thread(
            "Northgate Surgery",
            "Parcels for two of our patients",
            30,
            "We have two patients who cannot leave the house this month. May we pass on their names to you, with their "
            "consent, for the delivery round?\n\nReception, Northgate Surgery",
            (
                Turn(
                    "note",
                    "amara",
                    1,
                    "Yes, but by telephone, please, and nothing in writing here but the first name and the street. "
                    "What people tell us stays at the table.",
                ),
            ),
        ),
        Thread(
            "Harriet Cole",
            "Harvest at Oak Street School",
            160,
            "The children have collected 212 tins and one pineapple. When can we bring them?",
            (
                Turn(
                    "reply",
                    "jo",
                    4,
                    "On Wednesday from two o'clock, and we will put the kettle on. Thank every one of them!",
                ),
                Turn("visitor", "", 48, "Delivered, pineapple included. They counted the tins again on your tables."),
            ),
            ends="closed",
        ),
        Thread(
            "Tomasz Wolny",
            "Food without gluten",
            1.2,
            "My daughter must not eat gluten. Is there something for her on Mondays, or is another day better?",
        ),
        Thread(
            "Golden Coins",
            "Donate 10,000 to your charity",
            66,
            "We wish to donate. Kindly send wallet and bank details to process the donation today.",
            ends="spam",
        ),
    ),
    "meridian": (
        Thread(
            "Aisha Khan",
            "How long is the list?",
            80,
            "Good evening, we are two adults and a baby, and we should love to live with you. How long is the waiting list "
            "for three rooms at the moment, and is it true that one has to sing?",
            (
                Turn(
                    "reply",
                    "yusuf",
                    14,
                    "Dear Aisha,\n\nfor three rooms it is about two years, a little less when somebody falls in love. Come to "
                    "the next open courtyard and put your names down. Nobody has to sing; some cannot be stopped.\n\nYusuf",
                ),
            ),
            assignee="yusuf",
        ),
        Thread(
            "Flat Twenty Three",
            "Drip under the kitchen sink",
            21,
            "It drips into a bowl, about one bowl a night. The cupboard is still dry. Number 23, home after five.",
            (
                Turn("note", "ingrid", 1, "Same valve as in 19 and 31. I have two spare ones in the boiler house."),
                Turn(
                    "reply", "ingrid", 0.2, "I come tonight at half past five with a new valve. Please leave the bowl."
                ),
                Turn("visitor", "", 9, "Dry. You were gone before the tea was ready, so we owe you one."),
            ),
            assignee="ingrid",
        ),
        Thread(
            "Daniel Osei",
            "Common room for a wedding in May",
            170,
            "Flat 8 told us that the common room can be rented. We are marrying on the second Saturday in May, with seventy "
            "guests and a small brass band. Would that be possible?",
            (
                Turn("note", "yusuf", 5, "Free that day. Seventy is fine; the band until ten, because of the rule."),
                Turn(
                    "reply",
                    "yusuf",
                    2,
                    "Dear Daniel,\n\nit is yours for £90. Music until ten, please, and the courtyard until eleven. "
                    "The keys are with Ben in flat 12.\n\nCongratulations!",
                ),
                Turn("visitor", "", 30, "Perfect, the money is on its way. You are all invited to the cake."),
            ),
            ends="closed",
        ),
        Thread(
            "Ruth Adeyemi",
            "A day at Meridian, for the Courier",
            26,
            "I write for the Courier and should like to spend a day with you for a piece on housing without landlords. "
            "No photographs of anybody who does not want one.",
            (Turn("note", "ingrid", 6, "I am for it. But that is for the meeting to say, not for me. Rosa?"),),
        ),
        Thread(
            "Felix Brandt",
            "Blue tandem",
            2.3,
            "The blue tandem in your bicycle shed is mine! I lent it to somebody in flat 30 the summer before last. "
            "May I come and fetch it on Sunday?",
        ),
        Thread(
            "Quick Cash Homes",
            "We buy your building",
            50,
            "Dear owner, we buy any building in any condition for cash. Answer within 24 hours.",
            ends="spam",
        ),
    ),
}


def fill(slug: str) -> None:
    """Put conversations into the inbox of the demo tenant of that slug, once."""
    tenant = tenancy.registry.by_slug(slug)
    if tenant is None:
        raise UnknownHost(slug)
    with tenant_context(tenant):
        for thread in sorted(THREADS[slug], key=lambda thread: -thread.hours):
            if not _is_here(thread):
                _write(thread)
        db.session.commit()


def _is_here(thread: Thread) -> bool:
    return db.session.scalar(select(Submission.id).where(Submission.email == thread.email)) is not None


def _write(thread: Thread) -> None:
    form = Submission.receive(
        "demo",
        name=thread.name,
        email=thread.email,
        subject=thread.subject,
        text=thread.text,
        spam=SPAM if thread.ends == "spam" else "",
    )
    conversation = db.session.scalars(select(Conversation).where(Conversation.submission_id == form.id)).one()
    [first], _ = conversation.messages(1)
    at = utcnow() - timedelta(hours=thread.hours)
    form.created_at = conversation.created_at = at
    _date(conversation, first, at)
    for turn in thread.turns:
        at += timedelta(hours=turn.hours)
        _date(conversation, _say(conversation, turn), at)
    if thread.assignee:
        conversation.assign_to(_person(thread.assignee), by=_person(thread.assignee))
    if thread.ends == "closed":
        conversation.close(by=conversation.assignee or _person("owner"))


def _say(conversation: Conversation, turn: Turn) -> Message:
    if turn.kind == "visitor":
        return conversation.receive(turn.text, conversation.contact)
    verb = conversation.reply if turn.kind == "reply" else conversation.note
    return verb(turn.text, by=_person(turn.who))


def _date(conversation: Conversation, message: Message, at: datetime) -> None:
    message.created_at = at
    if message.kind != "note":
        conversation.last_message_at = at


def _person(name: str) -> User:
    return db.session.scalars(select(User).where(User.email.startswith(f"{name}@"))).one()
