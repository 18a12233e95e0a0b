"""One thread through all: visitors write, members talk and answer, letters leave, while processes are killed at any moment.

What was answered exists once, nothing exists twice, and open pages have seen it all in its order.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any, NamedTuple

import pytest
import redis
from lxml.html import fromstring
from sqlalchemy import or_, select, update

from app.chat import Line
from app.content.models import Submission
from app.facilities.events import NOBODY, Event
from app.inbox import Conversation, Message
from app.tenancy import db, utcnow
from app.tenancy.due import Due
from tests.printed import filled_in
from tests.running import alive, children, descendants, until
from tests.town import SLUGS, Answer, Town, copied, seconds_until, town_at

ROUNDS_IN_CI, ROUNDS_OF_PROOF = 10, 200
BUSY = 1.2  # seconds of coming and going in a round, at least
CAUGHT_UP, NOTHING_DUE = 5.0, 10.0  # seconds after everything is up again
PATIENCE = 60.0  # seconds that somebody goes on to send the same form again
AGAIN_AFTER = 0.2  # seconds
LONGEST_BACKOFF = 1.0  # seconds until a reader comes back
SILENCE = 30.0  # seconds without a beat
PAUSE = 0.1  # seconds between two things that one person does
MOST = 6  # things that one person does in a round

FAILURES = (OSError, http.client.HTTPException)


# People.


class Person(threading.Thread):
    """Does something again and again until told to stop. What is not answered is sent again, the same, until it is."""

    def __init__(self, town: Town, slug: str, name: str = "") -> None:
        super().__init__(daemon=True)
        self.town, self.slug, self.name_of = town, slug, name
        self.caller = town.caller(slug, name)
        self.answered: list[str] = []
        self.troubles: list[str] = []
        self.is_busy, self.is_done = threading.Event(), False
        self.is_idle = threading.Event()
        self.is_idle.set()

    def run(self) -> None:
        while not self.is_done:
            if not self.is_busy.wait(0.1):
                continue
            self.is_idle.clear()
            try:
                for _ in range(MOST):
                    if self.is_busy.is_set():
                        self.act()
                        time.sleep(PAUSE)
                self.is_busy.clear()
            except Exception as trouble:
                self.troubles.append(f"{type(self).__name__} of {self.slug}: {trouble!r}")
                self.is_busy.clear()
            self.is_idle.set()

    def act(self) -> None:
        raise NotImplementedError

    def insist(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer that is no failure of the house."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(*FAILURES):
                answer = ask()
                if answer.status < 400:
                    return answer
                if answer.status < 500:
                    raise AssertionError(f"{answer.status}: {answer.text[:2000]}")
            time.sleep(AGAIN_AFTER)
        raise AssertionError("nobody answered")

    def send(self, path: str, form: dict[str, Any], words: str) -> None:
        """Send a form of `words` until it is answered."""
        self.insist(lambda: self.caller.post(path, form))
        self.answered.append(words)


class Visitor(Person):
    """Writes by the contact form, each time from another address."""

    def act(self) -> None:
        number = len(self.answered)
        self.caller.address = f"127.{10 + SLUGS.index(self.slug)}.{number // 250}.{number % 250 + 1}"
        words = f"Form {number} to {self.slug}"
        page = self.insist(lambda: self.caller.get("/contact")).text
        about = {"name": f"Visitor {number}", "email": f"v{number}@visitor.test", "subject": words, "text": words}
        self.send("/contact", filled_in(page, "email", **about), words)


class Talker(Person):
    """Says lines in `general`."""

    def __init__(self, town: Town, slug: str, name: str) -> None:
        super().__init__(town, slug, name)
        self.room = f"/desk/chat/rooms/{town.general(slug)}"

    def act(self) -> None:
        words = f"Line {len(self.answered)} of {self.name_of} at {self.slug}"
        page = self.insist(lambda: self.caller.get(self.room)).text
        self.send(f"{self.room}/lines", filled_in(page, "text", text=words), words)


class Answerer(Person):
    """Replies in whatever conversation is open."""

    def act(self) -> None:
        listed = fromstring(self.insist(lambda: self.caller.get("/desk/inbox/")).text)
        for address in listed.xpath("//ul[contains(@class, 'conversations')]//a[@class='list-title']/@href")[:1]:
            words = f"Reply {len(self.answered)} at {self.slug}"
            page = self.insist(lambda address=address: self.caller.get(address)).text
            self.send(f"{address}/replies", filled_in(page, "seen", text=words), words)


class Reader(threading.Thread):
    """Hears the stream as a browser does: comes back with the last id it had, and counts what it gets."""

    def __init__(self, town: Town, slug: str, name: str) -> None:
        super().__init__(daemon=True)
        self.caller, self.slug = town.caller(slug, name), slug
        page = fromstring(self.caller.get("/desk/").text)
        self.position = self.began = page.xpath("//body/@data-live")[0]
        self.seen: list[int] = []
        self.troubles: list[str] = []
        self.is_done = False

    def run(self) -> None:
        backoff = 0.1
        while not self.is_done:
            heard = 0
            with suppress(*FAILURES):
                heard = self.listen()
            backoff = 0.1 if heard else min(backoff * 2, LONGEST_BACKOFF)
            time.sleep(backoff)

    def listen(self) -> int:
        """Take what one connection brings; returns how many messages those were."""
        line, answer = self.caller.call(
            "GET", f"/live?after={self.began}", timeout=SILENCE, **{"Last-Event-ID": self.position}
        )
        heard = 0
        try:
            if answer.status != 200:
                self.troubles += [f"refused with {answer.status}"] if answer.status < 500 else []
                return 0
            message: dict[str, str] = {}
            while said := answer.readline():
                if said.strip():
                    name, _, value = said.decode().rstrip("\n").partition(": ")
                    message[name] = value
                else:
                    self.take(message)
                    heard, message = heard + 1, {}
        finally:
            line.close()
        return heard

    def take(self, message: dict[str, str]) -> None:
        self.position = message.get("id", self.position)
        if message["event"] == "message":
            self.seen.append(int(self.position.partition("-")[2]))
            json.loads(message["data"])
        elif message["event"] != "beat":
            self.troubles.append(f"{message['event']} {message['data']} after {len(self.seen)} events")


@pytest.fixture(scope="module")
def town(furnished_home, tmp_path_factory) -> Iterator[Town]:
    with town_at(copied(furnished_home, tmp_path_factory.mktemp("thread"))) as town:
        yield town


class Crowd(NamedTuple):
    """Everybody who comes and goes, and everybody who looks on."""

    town: Town
    people: list[Person]
    readers: list[Reader]

    def are_busy(self) -> None:
        for person in self.people:
            person.is_busy.set()

    def finish(self) -> None:
        """Let each end what they are at, until it is answered."""
        for person in self.people:
            person.is_busy.clear()
        for person in self.people:
            assert person.is_idle.wait(PATIENCE + 30), f"{type(person).__name__} hangs"

    def answered(self, kind: type[Person], slug: str) -> list[str]:
        return [
            words for each in self.people if isinstance(each, kind) and each.slug == slug for words in each.answered
        ]

    def troubles(self) -> list[str]:
        return [trouble for each in (*self.people, *self.readers) for trouble in each.troubles]


@pytest.fixture
def crowd(town: Town) -> Iterator[Crowd]:
    people: list[Person] = []
    for slug in SLUGS:
        people += [Visitor(town, slug), Talker(town, slug, "ann"), Talker(town, slug, "ben")]
        people.append(Answerer(town, slug, "owner"))
    crowd = Crowd(town, people, [Reader(town, slug, name) for slug in SLUGS for name in ("owner", "ann")])
    for each in (*crowd.people, *crowd.readers):
        each.start()
    yield crowd
    for person in crowd.people:
        person.is_busy.clear()
        person.is_done = True
    for reader in crowd.readers:
        reader.is_done = True


# Blows. Each says which processes it has ended.

Blow = Callable[[Town, random.Random], "list[int]"]


def killed(*pids: int) -> list[int]:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(pids)


def main_process(name: str) -> Blow:
    return lambda town, chance: killed(town.process(name))


def one_of(name: str) -> Blow:
    return lambda town, chance: killed(chance.choice(children(town.process(name))))


def work_horse(town: Town, chance: random.Random) -> list[int]:
    """Kill a job in the middle; where none is met within two seconds, a worker."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        workers = children(town.process("worker"))
        horses = [horse for worker in workers for horse in children(worker)]
        if horses:
            return killed(horses[0])
    return killed(chance.choice(workers))


def valkey_stops(town: Town, chance: random.Random) -> list[int]:
    pid = town.process("valkey")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 3))
    os.kill(pid, signal.SIGCONT)
    return []


def valkey_shuts_down(town: Town, chance: random.Random) -> list[int]:
    pid = town.process("valkey")
    with redis.Redis.from_url(town.config.valkey_url) as client:
        client.shutdown(nosave=True)
    return [pid]


def valkey_forgets(town: Town, chance: random.Random) -> list[int]:
    with redis.Redis.from_url(town.config.valkey_url) as client:
        client.flushall()
    return []


def everything(town: Town, chance: random.Random) -> list[int]:
    """Kill all there is at once, as a machine does that loses its power, and start again."""
    ended = killed(town.server.pid, *descendants(town.server.pid))
    town.server.wait()
    town.start()
    return ended


BLOWS: dict[str, Blow] = {
    "web": main_process("web"),
    "a web worker": one_of("web"),
    "live": main_process("live"),
    "the worker of live": one_of("live"),
    "worker": main_process("worker"),
    "a worker": one_of("worker"),
    "a job": work_horse,
    "archivist": main_process("archivist"),
    "valkey": main_process("valkey"),
    "front": main_process("front"),
    "ask": main_process("ask"),
    "valkey stops for a while": valkey_stops,
    "valkey shuts down": valkey_shuts_down,
    "valkey forgets all": valkey_forgets,
    "everything": everything,
}


@pytest.mark.timeout(900)
def test_nothing_answered_is_lost_and_nothing_happens_twice(crowd):
    withstand(crowd, ROUNDS_IN_CI, pace=6)  # beside browsers and other tests


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_nothing_is_lost_in_two_hundred_rounds(crowd):
    times = withstand(crowd, ROUNDS_OF_PROOF, pace=4)
    late = [each for each in times if each["caught up"] > CAUGHT_UP or each["nothing due"] > NOTHING_DUE]
    assert len(late) <= ROUNDS_OF_PROOF // 20


def withstand(crowd: Crowd, rounds: int, pace: int) -> list[dict[str, float]]:
    """Let blows of every kind fall, look after each at all that there is, and return how long it took to be well.

    `pace` is how many times as long it may take on a machine that has other things to do.
    """
    seed = int(os.environ.get("FREEHOLD_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    chance = random.Random(seed)
    kinds: list[str] = []
    found = []
    for number in range(rounds):
        kinds = kinds or chance.sample(list(BLOWS), len(BLOWS))
        name = kinds.pop()
        told = f"round {number}, {name}, FREEHOLD_TEST_SEED={seed}"
        times = strike(crowd, name, chance, told, pace)
        print(f"{told}: " + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in times.items()), flush=True)
        found.append(times)
    return found


def strike(crowd: Crowd, name: str, chance: random.Random, told: str, pace: int) -> dict[str, float]:
    """Have one blow fall while all are busy; assert that all is well again in time, and return the times."""
    town = crowd.town
    crowd.are_busy()
    time.sleep(chance.uniform(0.1, BUSY))
    ended = BLOWS[name](town, chance)
    time.sleep(chance.uniform(0, BUSY))
    crowd.finish()
    up = seconds_until(lambda: town.is_up() and not alive(ended), 60, lambda: (told, town.server.told[-20:]))
    assert crowd.troubles() == [], told
    caught_up = seconds_until(lambda: not behind(crowd), CAUGHT_UP * pace, lambda: (told, behind(crowd)))
    nothing_due = caught_up + seconds_until(
        lambda: not stuck(town), NOTHING_DUE * pace - caught_up, lambda: (told, stuck(town))
    )
    seconds_until(lambda: not behind(crowd), CAUGHT_UP * pace, lambda: (told, behind(crowd)))
    for slug in SLUGS:
        look_at(crowd, slug, told)
    hours_pass(town)
    return {"up": up, "caught up": caught_up, "nothing due": nothing_due}


# What is there.


def visible(town: Town, slug: str, after: str) -> list[int]:
    """Return the ids of the events that members may see, after a position."""
    with town.inside(slug):
        later = select(Event.id).where(Event.audience != NOBODY, Event.id > int(after.partition("-")[2]))
        return list(db.session.scalars(later.order_by(Event.id)))


def behind(crowd: Crowd) -> list[str]:
    """Return which readers have not seen all, and what each lacks."""
    found = []
    for reader in crowd.readers:
        lacking = [id_ for id_ in visible(crowd.town, reader.slug, reader.began) if id_ not in set(reader.seen)]
        found += [f"{reader.slug} lacks {lacking[:10]}"] if lacking else []
    return found


def stuck(town: Town) -> list[str]:
    """Return the work that is not done."""
    found = []
    for slug in SLUGS:
        with town.inside(slug):
            late = or_(Due.schedule.is_(None), Due.set_aside_at.is_not(None), Due.run_at < utcnow())
            rows = db.session.scalars(select(Due).where(late)).all()
            found += [f"{slug} {row.id} {row.job} {row.holder!r} {row.attempts} {row.error}" for row in rows]
    return found


def look_at(crowd: Crowd, slug: str, told: str) -> None:
    """Assert that everything that was answered exists once, and nothing beside it."""
    with crowd.town.inside(slug):
        forms = {row.id: row.text for row in db.session.scalars(select(Submission))}
        conversations = {row.id: row.submission_id for row in db.session.scalars(select(Conversation))}
        messages = db.session.scalars(select(Message)).all()
        lines = db.session.scalars(select(Line)).all()
        happened = db.session.execute(select(Event.kind, Event.subject)).all()
    assert sorted(forms.values()) == sorted(crowd.answered(Visitor, slug)), told
    assert sorted(conversations.values()) == sorted(forms), told
    assert sorted(words.text for words in messages if words.kind == "in") == sorted(forms.values()), told
    expected = [f"conversation:{id_}" for id_ in conversations]
    assert sorted(line.told_for for line in lines if line.kind == "told") == sorted(expected), told
    assert sorted(line.source for line in lines if line.kind == "said") == sorted(crowd.answered(Talker, slug)), told
    replies = [message for message in messages if message.kind == "out"]
    assert sorted(reply.text for reply in replies) == sorted(crowd.answered(Answerer, slug)), told
    assert {reply.letter_state for reply in replies} <= {"sent"}, told
    assert letters_of(crowd.town, slug) == sorted(reply.letter_id for reply in replies), told
    assert [fact for fact, times in Counter(happened).items() if times > 1 and fact[0] != "LineEdited"] == [], told
    for reader in crowd.readers:
        if reader.slug == slug:
            assert reader.seen == visible(crowd.town, slug, reader.began), told


def letters_of(town: Town, slug: str) -> list[str]:
    """Return the names of the replies that left a tenant's house, one for each that lies in the outbox."""
    mine = [file for file in town.letters() if file.name.startswith(f"{slug}.")]
    names = [message_from_bytes(file.read_bytes(), policy=policy.SMTP)["Message-ID"].strip() for file in mine]
    return sorted(name for name in names if not name.startswith("<new_device."))  # each signs in by several browsers


def hours_pass(town: Town) -> None:
    """Move what visitors sent into the past, so that there is room for more within the hour."""
    for slug in SLUGS:
        with town.inside(slug, writes=True):
            db.session.execute(update(Submission).values(created_at=utcnow() - timedelta(hours=2)))


# A full disk.


@pytest.fixture
def cramped(home, small_disk) -> Iterator[Town]:
    """Serve an installation whose tenants' data lie on a small disk."""
    with town_at(home) as town:
        yield town


def fill(folder) -> None:
    """Leave no room on the disk of that folder."""
    with open(folder / "ballast", "wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))


def held(town: Town) -> dict[str, list[Any]]:
    """Return what stands in alpha's file."""
    with town.inside("alpha"):
        columns = (Submission.text, Conversation.submission_id, Message.text, Line.source, Event.kind)
        return {str(column): list(db.session.scalars(select(column).order_by(column))) for column in columns}


def test_on_a_full_disk_forms_say_so_and_nothing_is_half_stored(cramped, small_disk):
    visitor, ann, owner = cramped.caller("alpha"), cramped.caller("alpha", "ann"), cramped.caller("alpha", "owner")
    words = "Kept words, and many more. ".ljust(19_000, "x")
    about = {"name": "Vera", "email": "vera@visitor.test", "subject": "A first one", "text": "First words"}
    form = filled_in(visitor.get("/contact").text, "email", **about)
    assert visitor.post("/contact", form).status == 303
    seconds_until(lambda: not stuck(cramped), NOTHING_DUE * 6, lambda: stuck(cramped))
    room = f"/desk/chat/rooms/{cramped.general('alpha')}"
    line = filled_in(ann.get(room).text, "text", text="A line", client_id="one")
    reply = filled_in(owner.get("/desk/inbox/1").text, "seen", text="A reply")
    before = held(cramped)
    fill(small_disk)
    attempts = [
        (visitor, "/contact", {**form, "subject": "A second one", "text": words}),
        (ann, f"{room}/lines", line),
        (owner, "/desk/inbox/1/replies", reply),
    ]
    for who, path, sent in attempts:
        answer = who.post(path, sent)
        assert answer.status == 507, (path, fromstring(answer.text).text_content()[:3000])
        assert "Traceback" not in answer.text
    refused = visitor.post(attempts[0][1], attempts[0][2])
    assert "no room left" in refused.text
    assert words in refused.text
    assert visitor.get("/contact").status == 200
    assert held(cramped) == before
    (small_disk / "ballast").unlink()
    for who, path, sent in [*attempts, *attempts]:
        until(lambda who=who, path=path, sent=sent: who.post(path, sent).status == 303, seconds=20)
    seconds_until(lambda: not stuck(cramped), NOTHING_DUE * 6, lambda: stuck(cramped))
    after = held(cramped)
    assert after["Submission.text"] == ["First words", words]
    assert len(after["Conversation.submission_id"]) == 2
    assert after["Message.text"] == sorted(["First words", words, "A reply"])
    assert len(after["Line.source"]) == 3  # two that tell of conversations, and the line
    assert len(cramped.letters()) == 1
