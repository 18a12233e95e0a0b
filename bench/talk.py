"""People of the benchmark's organisations: they sign in, and they talk.

`python -m bench.talk sign-in HOUSES PEOPLE [ROLE]` signs so many people in at each of the first houses and tells a "host cookie
position" line for each. `python -m bench.talk speak HOUSES RATE SECONDS` has them write so many lines a second and tells when (s
since 1970) each event was committed, by host and id, how long it took (s), and how far the speakers were behind their pace (p95,
ms). Both print a line when they begin and a line of JSON at the end.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from functools import cache

import sqlalchemy

from app import create_app
from app.accounts import User
from app.accounts.cookies import cookie_name
from app.accounts.passwords import Hashed, hash_password
from app.chat import Room
from app.facilities import events
from app.facilities.events import Event
from app.tenancy import ResolvedTenant, db, tenancy, tenant_context
from app.tenancy.binding import BoundSession
from bench.village import organisations

SAID = (
    "Has anybody seen the key to the boathouse? It was on the hook *this morning*.",
    "I can do Saturday, but **not before ten**.",
    "The minutes are on the board, and a copy is in the kitchen for those who never look at the board.",
    "Thank you all for yesterday! We are 140 pounds nearer to the new roof.",
)

PASSWORD = "four chairs by the green gate"  # of everybody here

Committed = dict[str, list[tuple[int, float]]]

recorded: list[int] = []  # ids of events, as they are written


def houses(count: int) -> list[ResolvedTenant]:
    """Return the first so many organisations."""
    found = [tenancy.registry.by_slug(organisation.slug) for organisation in organisations(count)]
    return [tenant for tenant in found if tenant is not None]


def sign_in(tenant: ResolvedTenant, people: int, role: str = "member") -> list[str]:
    """Sign so many people in at a house, as the sign-in form would; "host cookie position" for each of them."""
    with tenant_context(tenant):
        tokens = [person(number, role).sign_in("bench") for number in range(people)]
        db.session.commit()
        name, position = cookie_name(), events.position()
        return [f"{tenant.primary_host} {name}={token} {position}" for token in tokens]


def person(number: int, role: str) -> User:
    """Return the n-th person with this role in the current tenant, who joins when there is none."""
    known = User.by_email(address(number, role))
    if known is None:
        known = User.join(address(number, role), f"{role.title()} {number}", role, hashed())
        db.session.flush()
    return known


def address(number: int, role: str) -> str:
    """Return the mail address of such a person."""
    return f"{role}-{number}@bench.test"


@cache
def hashed() -> Hashed:
    """Return everybody's password as it is stored, hashed once."""
    return hash_password(PASSWORD)


def speak(tenants: list[ResolvedTenant], rate: float, seconds: float) -> tuple[Committed, list[float]]:
    """Write lines at a steady rate; when each was committed, by host, and how late each was begun (s)."""
    committed: Committed = {tenant.primary_host: [] for tenant in tenants}
    moments: list[float] = []
    events.react("LinePosted")(note)
    # First of all that happens after a commit: the bell rings there too.
    sqlalchemy.event.listen(BoundSession, "after_commit", lambda _: moments.append(time.time()), insert=True)
    lateness, began = [], time.monotonic()
    for number, tenant in enumerate(itertools.islice(turns(tenants), round(rate * seconds))):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        lateness.append(time.monotonic() - began - number / rate)
        say(tenant, number)
        committed[tenant.primary_host].append((recorded[-1], moments[-1]))
    return committed, lateness


def note(event: Event) -> None:
    """Keep the id of an event that is about to be committed."""
    recorded.append(event.id)


def say(tenant: ResolvedTenant, number: int) -> None:
    """Write a line in the house's general room."""
    with tenant_context(tenant):
        room, speaker = Room.named("general"), User.by_email(address(0, "member"))
        assert room is not None
        assert speaker is not None
        room.say(f"{SAID[number % len(SAID)]} ({number})", by=speaker)
        db.session.commit()


def turns(tenants: list[ResolvedTenant]) -> Iterator[ResolvedTenant]:
    """Give every house its turn, in an order shuffled anew each time."""
    chance = random.Random(7)
    while True:
        yield from chance.sample(tenants, len(tenants))


def main(act: str, count: str, *numbers: str) -> None:
    """Do what the command line says and print it."""
    with create_app().app_context():
        tenants = houses(int(count))
        print("ready", flush=True)
        if act == "sign-in":
            told: object = [sign_in(tenant, int(numbers[0]), *numbers[1:]) for tenant in tenants]
        else:
            began = time.monotonic()
            committed, lateness = speak(tenants, float(numbers[0]), float(numbers[1]))
            late = 1000 * sorted(lateness)[len(lateness) * 95 // 100]
            told = {"committed": committed, "late": late, "seconds": time.monotonic() - began}
        print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
