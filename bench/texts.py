"""What the organisations of the benchmark write. `$name` and `$place` are theirs."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """One page or post, before it is anybody's."""

    slug: str
    title: str
    summary: str
    markdown: str


PAGES = (
    Text(
        "welcome",
        "Welcome to $name",
        "Who we are and when to find us.",
        """\
$name is run by the people who use it. We meet in $place every week of the year, and everybody who turns up
with a little patience and a sense of humour is welcome.

## When to find us

| Day | Time | What |
|---|---|---|
| Tuesday | 18:30 | Newcomers' evening |
| Thursday | 19:00 | The usual crowd |
| Saturday | 10:00 | Open morning, tea from eleven |

Come once without saying anything to anybody. If you like it, come twice and tell us your name.
""",
    ),
    Text(
        "about",
        "About us",
        "How $name began and who keeps it going.",
        """\
It began with six neighbours round a kitchen table in $place and a biscuit tin for the money. The tin is
still in use; it holds the spare keys.

Today $name has a committee of nine, elected each spring, and about a hundred and forty members. Nobody is
paid. Accounts are read out in full at the annual meeting and pinned to the board for a month after it.
""",
    ),
    Text(
        "join",
        "Join",
        "What membership costs and what it brings.",
        """\
Membership is **£36 a year**, £18 for those under 25 or over 65, and nothing for anybody for whom that is
too much: have a word with the treasurer, who will not ask why.

1. Come to a newcomers' evening.
2. Fill in the form on the hall table.
3. Have your name read out, to polite applause.
""",
    ),
    Text(
        "find-us",
        "Find us",
        "The way to our door in $place.",
        """\
We are at the end of Mill Lane in $place, past the chapel, through the green gate. The 14 bus stops at the
corner. There are two parking places by the door for people who need them; everybody else, please, the car
park by the weir.
""",
    ),
    Text(
        "hire",
        "Hire the room",
        "A room for forty with a kitchen.",
        """\
The room seats forty, or sixty standing and on good terms. It has a kitchen, a piano that holds its tuning,
and a door wide enough for a wheelchair.

- Members: £8 an hour
- Neighbours: £12 an hour
- Everybody else: £20 an hour
""",
    ),
    Text(
        "contact",
        "Contact",
        "How to reach somebody who knows.",
        """\
Write to us and a person will answer, usually within two days. In an emergency on the premises, ring the
number on the green gate: it goes to whoever has the keys that week.
""",
    ),
)

POSTS = (
    Text(
        "a-new-year-in-place",
        "A new year in $place",
        "What the committee has in mind for the months ahead.",
        """\
The committee met on the first dry evening of January, and for once everybody had read the papers
beforehand. Here is what was decided, so that nobody has to rely on rumour.

## The roof comes first

The estimate for the north side is £4,300. We have £2,900 set aside for it, and the remainder is promised by
two members who do not wish to be thanked. Work starts in March if the weather agrees, and **the side door
will be shut for about ten days**.

## A second evening

The Tuesday newcomers' evening was full four times out of five before Christmas. From February there will be
one on Wednesdays as well, led by whoever led it last week and did not complain loudly enough.

> Thank you to everybody who swept, mended, counted, baked or simply stayed to stack the chairs.

Minutes are on the board by the kitchen, and copies can be had from the secretary.
""",
    ),
    Text(
        "the-spring-open-day",
        "The spring open day",
        "Doors open at ten; bring a neighbour.",
        """\
Our open day is on the last Saturday of the month, from ten until the tea runs out. Last year two hundred
and eleven people came through the door of $name, and thirty-four of them came back.

## What there will be

- A tour every half hour, starting from the green gate
- Something to try for children, and something to try for people who are afraid of looking foolish
- Soup at noon, cake at three
- The raffle, drawn by the oldest person present who is willing to say so

## What we need

We still lack **two people for the door** between one and three, and anybody who can carry a table. If you
can bake, please write on the label what is in it.

Parking in Mill Lane is impossible on any Saturday; the weir is five minutes on foot and prettier.
""",
    ),
    Text(
        "thank-you-to-our-volunteers",
        "Thank you to our volunteers",
        "Four hundred and eighty hours, and how they were spent.",
        """\
Somebody on the committee likes counting, and so we know that volunteers gave $name four hundred and eighty
hours between January and March. That is the working time of one person for three months, given by
fifty-two.

## Where the hours went

| What | Hours |
|---|---|
| Opening up and closing | 156 |
| Teaching newcomers | 122 |
| Mending | 97 |
| Kitchen | 64 |
| Letters and accounts | 41 |

Nobody is asked to do more than they offer. If you have an hour a month, there is a job of one hour a month.
Speak to anybody with a yellow badge; if they do not know, they know who does.
""",
    ),
    Text(
        "the-roof-is-done",
        "The roof is done",
        "On time, nearly on budget, and dry.",
        """\
On Thursday it rained for eleven hours and not a drop came in. We stood underneath in coats, out of habit,
and then one by one took them off.

The work took nine days. The final bill was £4,420, of which £120 was for a beam that nobody had looked at
since it was put up. It has been replaced with oak from a tree that came down in $place in the storms, sawn
at cost by a member's brother-in-law.

## What comes next

The windows on the north side can wait for a year, says the builder, *but not for three*. The fund for them
stands at £310 and the biscuit tin.

The side door is open again. Please lift it slightly as you close it.
""",
    ),
    Text(
        "minutes-of-the-annual-meeting",
        "Minutes of the annual meeting",
        "Officers, accounts and one long discussion.",
        """\
Sixty-three members were present; nine sent apologies. The chair opened the meeting at half past seven and
closed it at nine, which was noted with approval.

## Officers

All officers were willing to go on, except the treasurer, who after eleven years was given a clock. Her
successor was elected without opposition and has already found the receipts.

## Accounts

Income was £21,740 and spending £20,905. The reserve stands at five months' costs; the aim is six. The
accounts were accepted, with one abstention on grounds of arithmetic.

## Any other business

There was a long discussion about the heating. It was resolved, by 41 votes to 17, that the thermostat is to
be touched by the caretaker alone. Those who feel the cold are invited to sit by the kitchen.
""",
    ),
    Text(
        "summer-hours",
        "Summer hours",
        "When we are open in July and August.",
        """\
From the first of July until the end of August $name keeps its summer hours. The evenings start half an hour
later, the Saturday mornings an hour earlier, and the whole of the second week in August we are shut for
cleaning.

- **Tuesday and Wednesday**: 19:00 to 21:30
- **Thursday**: 19:30, until the light goes
- **Saturday**: 9:00 to 13:00

During cleaning week, everybody who can hold a brush is asked for two hours. Lunch is provided, and there is
always something interesting behind the piano.

If you are visiting $place over the summer you are our guest: come twice without paying anything, and tell
us how things are done where you come from.
""",
    ),
    Text(
        "a-letter-from-a-newcomer",
        "A letter from a newcomer",
        "What it was like to walk in without knowing anybody.",
        """\
We were sent this letter in June, and its author allows us to print it.

> I had walked past the green gate for two years. I am not a joiner of things. When I did go in, nobody made
> a fuss. A man showed me where the cups were and asked whether I would mind holding the other end of
> something. An hour later I noticed that I was enjoying myself.
>
> I had been told that one needs to know somebody. One does not. One needs to be able to hold the other end.

There is a newcomers' evening every Tuesday and Wednesday at $name, and there is always something with
another end.

## For those who bring somebody

Members who bring a friend for the first time need not sign anything beforehand. Put the name in the book by
the door, so that we know how many of us there are if the alarm goes.
""",
    ),
    Text(
        "the-grant-and-what-we-will-do-with-it",
        "The grant, and what we will do with it",
        "£8,000 over two years, for people under twenty-five.",
        """\
The county's fund for small organisations has granted us **£8,000 over two years**. It was asked for with
one purpose, and will be spent on that alone: to bring people under twenty-five to $name, and keep them.

## How

1. Free membership for anybody still at school, from September.
2. A minibus on the first Saturday of each month, from the three villages without a bus.
3. Training for six members in looking after young people properly, with the checks that go with it.

A report of what was done and what it cost will be published here every six months. If you know a school, a
youth club or a family in $place we should talk to, please say so.
""",
    ),
    Text(
        "autumn-programme",
        "The autumn programme",
        "Ten evenings, three Saturdays and a supper.",
        """\
The programme for the autumn is on the board, on the back of the door, and here.

| Date | What | Who |
|---|---|---|
| 12 September | First evening of the season | Everybody |
| 26 September | Repairs and preparations | Those who can |
| 10 October | Visit from our friends across the river | Everybody |
| 24 October | Evening for newcomers and their questions | Newcomers |
| 7 November | Fireworks seen from the roof, if dry | Those with a ticket |
| 21 November | Harvest supper | Everybody |

The supper needs cooks. There is a list in the kitchen with a pencil on a string; please write down what you
will bring rather than what you hope to.

Dates may move. The page you are reading is always right; the poster by the bus stop is right until it
rains.
""",
    ),
    Text(
        "looking-back-and-forward",
        "Looking back and forward",
        "The year in a few numbers, and a wish.",
        """\
At the end of the year it is the custom at $name to write down what happened, so that in ten years somebody
can smile at it.

## The numbers

- 148 members, 19 more than a year ago
- 211 visitors on the open day, in spite of the hail
- 1,940 hours given, and never enough chairs
- one roof, dry

## The wish

That the green gate stays open. Everything else can be mended, and in $place there is usually somebody who
knows how.

We are shut from the twenty-third until the second. If the alarm goes, the keys are where they always are. A
good new year to everybody who came in, and to everybody who is still walking past.
""",
    ),
)
