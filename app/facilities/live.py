"""Open pages hear what happens: each event of a tenant, as HTML, to those who may see it at that moment.

A `House` is a tenant with open streams. It looks into the tenant's file when its bell rings, and whenever the file's time
stamps have moved, twice a second; so a lost ring costs half a second. Each look asks again who is still signed in, whether the
tenant is still served, and for each event who may see it now. A fragment is rendered once for all of them whose dates and
times are written alike. Who reads too slowly is let go and resumes where they were. This runs in the process `live`, on
greenlets; it blocks on nothing of one tenant.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis
import structlog
from flask import Flask, current_app

from app.facilities import doorbell, events, queue
from app.facilities.events import Event, Position
from app.facilities.reader import Reader, written_for
from app.tenancy import ResolvedTenant, Tenancy, current_tenant, db, tenant_context, utcnow
from app.tenancy.errors import FreeholdError
from app.tenancy.placements import Signature

log = structlog.get_logger(__name__)

TICK = 0.5  # seconds between two looks at the time stamps
BEAT = 20.0  # seconds of silence after which a stream says that it is there
BATCH = 200  # events read at once
LONGEST_REPLAY = 500  # events; who has missed more begins anew
LARGEST_FRAME = 128 << 10  # bytes; what is larger, pages fetch by themselves
LAST_WORDS = 10.0  # seconds in which a stream that has ended may still be read
MOST_WAITING = 512 << 10  # bytes that may wait for one reader
PER_SESSION, PER_TENANT = 12, 2000  # streams
REPORT = 2.0  # seconds between two reports of this process

Fragment = Callable[[Event], str]
Frame = bytes

_fragments: dict[str, list[Fragment]] = {}
# Which of these sessions (ids) are still signed in at the current tenant; accounts says so.
_still_here: list[Callable[[frozenset[int]], set[int]]] = []


class TooManyStreams(FreeholdError):
    """One organisation has as many streams open as it may."""

    code = "too_many_streams"
    status = 429
    title = "Too many open pages"
    advice = "Close a few of them; this one works without news until then."
    retry_after = 30


def fragment(*names: str) -> Callable[[Fragment], Fragment]:
    """Register what open pages get for events of these kinds: HTML for all who may see it, "" for nothing.

    It is printed from the rows as they stand, so applying it twice, or late, does no harm.
    """

    def register(printer: Fragment) -> Fragment:
        for name in names:
            known = _fragments.setdefault(name, [])
            if not any((printer.__module__, printer.__name__) == (old.__module__, old.__name__) for old in known):
                known.append(printer)
        return printer

    return register


def knows_sessions(still_here: Callable[[frozenset[int]], set[int]]) -> None:
    """Have `still_here(session ids)` say which of them are still signed in at the current tenant."""
    _still_here[:] = [still_here]


@dataclass(eq=False)
class Stream:
    """One open page, or browser: whose it is, what it has been given, and what waits for it."""

    session_id: int
    person: int
    position: Position
    until: datetime  # when the session is over
    reader: Reader  # how its page is written
    waiting: deque[Frame] = field(default_factory=deque)
    size: int = 0  # bytes waiting
    is_ended: bool = False
    ended_at: float = 0.0  # monotonic seconds
    is_let_go: bool = False  # did not read
    is_resumed: bool = False  # has everything up to the end of the log, as this process has read it
    news: threading.Event = field(default_factory=threading.Event)
    cut: Callable[[], None] = lambda: None  # breaks the connection of one who does not read

    def give(self, frame: Frame, at: Position | None = None) -> None:
        """Let `frame` wait to be read; whoever lets too much wait is let go."""
        if self.is_ended:
            return
        if self.size + len(frame) > MOST_WAITING:
            self.is_let_go = True
            self.end()
            self.cut()
            return
        if at is not None:
            self.position = at
        self.waiting.append(frame)
        self.size += len(frame)
        self.news.set()

    def end(self, reason: str = "") -> None:
        """Close the stream after what waits, telling the page why when there is a reason not to come back."""
        if reason:
            self.give(message("end", {"reason": reason}))
        self.is_ended, self.ended_at = True, time.monotonic()
        self.news.set()

    def frames(self) -> Iterator[Frame]:
        """Yield what is to be written, with a beat when there was nothing for a while."""
        while True:
            while self.waiting:
                frame = self.waiting.popleft()
                self.size -= len(frame)
                yield frame
            if self.is_ended:
                return
            self.news.clear()
            if self.waiting or self.is_ended or self.news.wait(BEAT):
                continue
            if utcnow() >= self.until:
                self.end("signed out")
            elif not self.waiting:  # a place that is ahead of what waits would have it taken for known
                yield message("beat", {}, self.position)


@dataclass(eq=False)
class House:
    """One tenant with open streams."""

    tenant_id: str
    streams: dict[Stream, None] = field(default_factory=dict)  # in the order of their opening
    position: Position | None = None
    signature: Signature | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)  # one look, or the end of one arrival, at a time
    arrival: threading.Lock = field(default_factory=threading.Lock)  # one catches up at a time: others want live too
    wants_look: bool = False
    is_looking: bool = False


@dataclass
class Counters:
    """What this process has done since it began."""

    rings: int = 0
    strange_rings: int = 0
    events: int = 0
    frames: int = 0
    let_go: int = 0
    failures: int = 0
    lags: deque[float] = field(default_factory=lambda: deque(maxlen=1000))  # seconds from the event to the stream


class Hub:
    """All open streams of this process."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._tenancy: Tenancy = app.extensions["tenancy"]
        self._houses: dict[str, House] = {}
        self._guard = threading.Lock()
        self._is_running = False
        self._is_over = threading.Event()
        self.counters = Counters()

    def begin(self) -> None:
        """Begin to listen, to watch and to report, once; the first stream does it too."""
        with self._guard:
            if self._is_running:
                return
            self._is_running = True
        for task in (self._watch, self._listen, self._tell):
            threading.Thread(target=task, name=f"live-{task.__name__}", daemon=True).start()

    def end(self) -> None:
        """Stop to listen, to watch and to report, and end every stream; the pages come back to whoever is there next."""
        self._is_over.set()
        for house in list(self._houses.values()):
            for stream in list(house.streams):
                stream.end()

    def open(self, session_id: int, person: int, until: datetime, after: Position | None, reader: Reader) -> Stream:
        """Open a stream for the current tenant that goes on after that place, or begins anew when it cannot.

        A browser that has too many loses its oldest. Raises `TooManyStreams` when the whole organisation has. The stream is
        subscribed first and then reads what it missed, so nothing falls between.
        """
        tenant = current_tenant()
        stream = Stream(session_id, person, after or Position("", 0), until, reader)
        self.begin()
        with self._guard:
            house = self._houses.setdefault(tenant.id, House(tenant.id))
            if len(house.streams) >= PER_TENANT:
                raise TooManyStreams(f"{tenant.slug} has {len(house.streams)} streams open here.")
            house.streams[stream] = None
        own = [other for other in list(house.streams) if other.session_id == session_id and not other.is_ended]
        for oldest in own[:-PER_SESSION]:
            oldest.end()
            oldest.cut()
        db.session.rollback()  # whoever waits for their turn holds no connection
        try:
            with house.arrival:
                self._resume(house, stream, after)
        except BaseException:
            self.close(tenant.id, stream)
            raise
        return stream

    def close(self, tenant_id: str, stream: Stream) -> None:
        """Forget a stream."""
        stream.is_ended = True
        with self._guard:
            house = self._houses.get(tenant_id)
            if house is not None:
                house.streams.pop(stream, None)
                if not house.streams:
                    del self._houses[tenant_id]

    def report(self) -> dict[str, Any]:
        """Return what an operator wants to know: streams, rings, lag (ms), in sum and by tenant."""
        lags = sorted(self.counters.lags)
        by_tenant = {house.tenant_id: len(house.streams) for house in list(self._houses.values())}
        return {
            "at": int(time.time()),
            "streams": sum(by_tenant.values()),
            "by_tenant": by_tenant,
            "rings": self.counters.rings,
            "strange_rings": self.counters.strange_rings,
            "events": self.counters.events,
            "frames": self.counters.frames,
            "let_go": self.counters.let_go,
            "failures": self.counters.failures,
            "lag_p50": round(lags[len(lags) // 2] * 1000) if lags else None,
            "lag_p95": round(lags[len(lags) * 95 // 100] * 1000) if lags else None,
        }

    def _resume(self, house: House, stream: Stream, after: Position | None) -> None:
        """Give a new stream what it missed, in the context of its request."""
        end = events.position()
        if after is None or not events.can_resume(after, end) or end.id - after.id > LONGEST_REPLAY:
            stream.give(message("reset", {"reason": "too long ago" if after else "no position"}, end), end)
        else:
            stream.give(message("beat", {}, after), after)
            self._replay(stream, end)
        # What came meanwhile needs a newer view of the file, and no look of the house beside it.
        db.session.rollback()
        with house.lock:
            end = events.position()
            if end.epoch != stream.position.epoch:
                stream.give(message("reset", {"reason": "restored"}, end), end)
            self._replay(stream, end)
            if house.position is None:
                house.position = stream.position
            stream.is_resumed = True
        house.signature = None  # the next tick looks, once for all who have come

    def _replay(self, stream: Stream, end: Position) -> None:
        while stream.position.id < end.id and (found := events.since(stream.position.id, BATCH)):
            for event in found:
                if stream.is_ended:
                    return
                self._give(event, [stream], stream.position.epoch)
                time.sleep(0)  # other tenants' turn
            stream.position = Position(stream.position.epoch, found[-1].id)

    def _watch(self) -> None:
        """Look at the time stamps of all houses, and once at those that have changed."""
        while not self._is_over.is_set():
            began = time.monotonic()
            for house in list(self._houses.values()):
                self._cut_silent(house)
                signature = self._tenancy.placements.signature(house.tenant_id)
                is_new = signature is None or signature != house.signature
                if is_new or house.tenant_id not in self._tenancy.registry.serving():
                    # One that is too young may hide the next write, so it is looked at again.
                    house.signature = signature if signature and signature.is_settled else None
                    self._ask_look(house)
            self._is_over.wait(max(0.05, TICK - (time.monotonic() - began)))

    def _cut_silent(self, house: House) -> None:
        """Break the connections of those whose stream is over and who do not read even that."""
        for stream in list(house.streams):
            if stream.is_ended and time.monotonic() - stream.ended_at > LAST_WORDS:
                stream.cut()

    def _listen(self) -> None:
        """Hear the bell; when Valkey is away, the time stamps do without."""
        while not self._is_over.is_set():
            try:
                with self._app.app_context():
                    ears = queue.patient_connection()
                for tenant_id in doorbell.listen(ears):
                    self._hear(tenant_id)
            except (redis.RedisError, OSError):
                self._is_over.wait(1.0)

    def _hear(self, tenant_id: str | None) -> None:
        house = self._houses.get(tenant_id or "")
        if house is not None:
            self.counters.rings += 1
            self._ask_look(house)
        elif tenant_id is None or self._tenancy.registry.placement(tenant_id) is None:
            self.counters.strange_rings += 1

    def _ask_look(self, house: House) -> None:
        """Have the house look into its file; asked again while it does, it looks once more."""
        with self._guard:
            house.wants_look = True
            if house.is_looking:
                return
            house.is_looking = True
        threading.Thread(target=self._look_while_wanted, args=(house,), daemon=True).start()

    def _look_while_wanted(self, house: House) -> None:
        while self._is_wanted(house):
            try:
                with house.lock:
                    Context().run(self._look, house)
            except FreeholdError as refusal:
                log.info("live_waits", tenant=house.tenant_id, why=refusal.code)
                house.signature = None
            except Exception:
                self.counters.failures += 1
                house.signature = None
                log.exception("live_failed", tenant=house.tenant_id)

    def _is_wanted(self, house: House) -> bool:
        with self._guard:
            house.is_looking = house.wants_look and bool(house.streams)
            house.wants_look = False
            return house.is_looking

    def _look(self, house: House) -> None:
        tenant = self._tenancy.registry.by_id(house.tenant_id)
        if tenant is None or tenant.state != "active":
            for stream in list(house.streams):
                stream.end("paused" if tenant and tenant.state == "suspended" else "closed")
            return
        if tenant.placement != "ready":
            return
        with self._app.app_context(), tenant_context(tenant, origin="live", writes=False):
            self._let_out(house)
            self._bring_news(house, tenant)

    def _let_out(self, house: House) -> None:
        """End the streams of those who are no longer signed in."""
        streams = list(house.streams)  # others join while the file is asked, and their sessions are not asked about
        present = _still_here[0](frozenset(stream.session_id for stream in streams))
        for stream in streams:
            if stream.session_id not in present:
                stream.end("signed out")

    def _bring_news(self, house: House, tenant: ResolvedTenant) -> None:
        end = events.position()
        if house.position is None:
            return
        if house.position.epoch != end.epoch:
            house.position = end
            for stream in list(house.streams):
                stream.give(message("reset", {"reason": "restored"}, end), end)
            return
        while house.position.id < end.id and (found := events.since(house.position.id, BATCH)):
            for event in found:
                readers = [each for each in readers_of(house) if each.position.id < event.id]
                self._give(event, readers, end.epoch)
                self.counters.events += 1
                self.counters.lags.append(max((utcnow() - event.created_at).total_seconds(), 0.0))
            house.position = Position(end.epoch, found[-1].id)
            for reader in readers_of(house):
                reader.position = max(reader.position, house.position, key=lambda at: at.id)

    def _give(self, event: Event, streams: list[Stream], epoch: str) -> None:
        """Give an event to those of `streams` whose person may see it now, written for each kind of reader once."""
        allowed = events.may_see(event.audience, {stream.person for stream in streams})
        at, frames = Position(epoch, event.id), dict[Reader, Frame]()
        for stream in streams:
            if stream.person in allowed:
                frame = frames.get(stream.reader) or frames.setdefault(stream.reader, written(event, at, stream.reader))
                stream.give(frame, at)
                self.counters.frames += 1
                self.counters.let_go += stream.is_let_go

    def _tell(self) -> None:
        """Write the report where health and console read it, while this process lives."""
        file = self._app.config["FREEHOLD"].run / "live.json"
        while not self._is_over.is_set():
            with suppress(OSError):  # a report that is missing or old is what health looks for
                fresh = file.with_suffix(".new")
                fresh.write_text(json.dumps(self.report()))
                fresh.replace(file)
            self._is_over.wait(REPORT)


def readers_of(house: House) -> list[Stream]:
    """Return the open streams that have had everything up to the house's position."""
    return [stream for stream in house.streams if stream.is_resumed and not stream.is_ended]


def written(event: Event, at: Position, reader: Reader) -> Frame:
    """Return the message of an event as that reader gets it; what is too large, pages fetch by themselves."""
    with written_for(reader):
        frame = message("message", facts(event), at)
    return frame if len(frame) <= LARGEST_FRAME else message("reset", {"reason": "too large"}, at)


def facts(event: Event) -> dict[str, Any]:
    """Return what a page gets for an event. A fragment that cannot be printed is left out, and logged."""
    return {
        "kind": event.kind,
        "subject": event.subject,
        "audience": event.audience,
        "actor": event.actor,
        "payload": event.payload,
        "html": "".join(_printed(printer, event) for printer in _fragments.get(event.kind, ())),
    }


def _printed(printer: Fragment, event: Event) -> str:
    try:
        return printer(event)
    except Exception:
        db.session.rollback()
        log.exception("fragment_failed", kind=event.kind, id=event.id)
        return ""


def message(name: str, data: dict[str, Any], at: Position | None = None) -> Frame:
    """Return one message of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    place = f"id: {at}\n" if at else ""
    return f"{place}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def init_app(app: Flask) -> None:
    """Give `app` its hub, and templates the place from which a page goes on."""
    app.extensions["freehold.live"] = Hub(app)
    app.jinja_env.globals["live_from"] = live_from


def live_from() -> str:
    """Return the end of the current tenant's log, as the page being printed has seen it."""
    return str(events.position())


def hub() -> Hub:
    """Return the hub of this process."""
    found: Hub = current_app.extensions["freehold.live"]
    return found
