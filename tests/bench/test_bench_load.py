from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import pytest

from bench import load

HOSTS = [f"house-{number}.localhost" for number in range(200)]
PATHS = ["/posts/one", "/posts/two"]


class Doorbook(BaseHTTPRequestHandler):
    """Notes who was asked for, and with which cookie; a path with "gone" in it is not there."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked[" ".join([self.headers["Host"], self.path, *self.headers.get_all("Cookie", [])])] += 1
        self.send_response(404 if "gone" in self.path else 200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def house():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Doorbook)
    server.asked, server.lock = Counter(), Lock()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def visited(visits: list[str]) -> Counter[str]:
    return Counter(visit.split()[0] for visit in visits)


def test_the_same_visits_are_drawn_every_time():
    for draw in (load.skewed, load.uniform):
        assert draw(HOSTS, PATHS) == draw(HOSTS, PATHS)


def test_skewed_visits_prefer_few_houses_and_uniform_ones_none():
    few = lambda visits: sum(count for _, count in visited(visits).most_common(20)) / len(visits)  # noqa: E731
    assert few(load.skewed(HOSTS, PATHS)) > 0.5
    assert few(load.uniform(HOSTS, PATHS)) < 0.15


def test_a_tour_meets_every_house_equally_often():
    assert set(visited(load.everyone(HOSTS, PATHS, times=3)).values()) == {3}


def test_a_tour_makes_each_visit_once(house: ThreadingHTTPServer, tmp_path: Path):
    visits = load.everyone(HOSTS, PATHS, times=1)
    sequence = tmp_path / "visits"
    sequence.write_text("\n".join(visits) + "\n")
    outcome = load.tour(house.server_port, sequence, seconds=30)
    assert outcome.requests == len(visits)
    assert house.asked == Counter(visits)


def test_visits_name_the_hosts_of_the_sequence_and_nothing_else(house: ThreadingHTTPServer, tmp_path: Path):
    sequence = tmp_path / "visits"
    visits = ["a.localhost /posts/one", "b.localhost /posts/two", "b.localhost /desk/ freehold=1.2"]
    sequence.write_text("\n".join(visits) + "\n")
    assert load.visit(house.server_port, sequence, seconds=1).requests > 10
    assert set(house.asked) == set(visits)
    house.asked.clear()
    load.run(load.own_command(house.server_port, sequence, 30, count=6), 30)
    assert house.asked == Counter(visits * 2)


def test_a_run_with_a_refused_visit_gives_no_figures(house: ThreadingHTTPServer, tmp_path: Path):
    sequence = tmp_path / "visits"
    sequence.write_text("a.localhost /posts/one\na.localhost /gone\n")
    with pytest.raises(RuntimeError, match="failed"):
        load.tour(house.server_port, sequence, seconds=30)
