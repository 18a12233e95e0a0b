from pathlib import Path

import pytest

from app import Freehold
from app.config import Config
from bench import live
from bench.listeners import Body, Broken
from bench.live import Plan, Tally
from bench.seed import Journal, seed
from bench.village import organisations

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MESSAGES = ["id: 0a-7\nevent: message\ndata: {}\n\n", "id: 0a-9\nevent: beat\ndata: {}\n\n"]


def chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_messages_are_read_however_they_are_cut(size: int):
    answer = HEAD + chunk("".join(MESSAGES)[:20]) + chunk("".join(MESSAGES)[20:])
    body, heard = Body(), []
    for start in range(0, len(answer), size):
        heard += body.feed(answer[start : start + size])
    assert heard == [("message", "0a-7", "{}"), ("beat", "0a-9", "{}")]


def test_a_stream_that_is_refused_or_ends_is_broken():
    with pytest.raises(Broken, match="401"):
        list(Body().feed(b"HTTP/1.1 401 UNAUTHORIZED\r\nContent-Length: 3\r\n\r\nNo."))
    body, heard = Body(), []
    with pytest.raises(Broken, match="ended"):
        heard.extend(body.feed(HEAD + chunk(MESSAGES[0]) + b"0\r\n\r\n"))
    assert heard == [("message", "0a-7", "{}")]


def test_the_tally_tells_what_was_lost_doubled_and_out_of_place():
    committed = {1: 10.0, 2: 11.0, 3: 12.0}
    for ids, wrong in (([1, 2, 3], (0, 0, 0)), ([1, 3], (1, 0, 0)), ([1, 2, 2, 3], (0, 1, 0)), ([2, 1, 3], (0, 0, 1))):
        tally = Tally()
        tally.add(ids, [13.0] * len(ids), committed)
        assert (tally.lost, tally.doubled, tally.misplaced) == wrong
        assert tally.is_whole == (wrong == (0, 0, 0))
    assert tally.share(50) == 2000.0


def test_an_event_of_another_house_is_out_of_place():
    tally = Tally()
    tally.add([1, 4], [10.0, 10.0], {1: 10.0})
    assert tally.misplaced == 1


@pytest.fixture
def village(app: Freehold, config: Config, tmp_path: Path) -> Config:
    """Make two of the benchmark's houses in this installation, and close it."""
    with app.app_context():
        list(seed(list(organisations(2)), Journal(tmp_path / "journal"), config.tenants_data))
    app.extensions["tenancy"].close()
    return config


@pytest.mark.prove
def test_twenty_open_pages_of_two_houses_hear_everything_once(village: Config, tmp_path: Path):
    plan = Plan(village, houses=2, streams=20, rate=10, seconds=2)
    found = live.measure(plan, tmp_path)
    assert found.tally.is_whole, found.tally.faults
    assert found.tally.deliveries == 10 * 20
    assert found.tally.share(50) < 2000
    assert min(*found.pss.values(), found.busy.requests, found.idle.requests) > 0
    assert all(fact.value for fact in live.facts(plan, found))
