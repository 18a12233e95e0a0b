"""The rows that compare Freehold with the floor."""

from __future__ import annotations

import http.client
import random
from collections.abc import Mapping, Sequence

import click

from bench import live, load
from bench.bench import FEW, Bench
from bench.compare import Row
from bench.processes import Server
from bench.village import post_paths

TOURS = 4  # visits to each house, so that with two workers nearly every worker has met nearly every house
EMPTY = (  # pages of the desk, and what they should reach: a form with nothing in it, a list with nothing in it
    ("empty page", "/desk/chat/rooms/new", 0.30),
    ("empty inbox", "/desk/inbox/", None),
)
HOT = 100  # pages in the row of the page cache


def rendered(bench: Bench) -> list[Row]:
    """Measure the page rendered anew at each visit, the page cache off, by workers that have met every house before."""
    paths = post_paths()
    with bench.floor() as floor, bench.ours(page_cache=0) as ours:
        compare_bodies(floor, ours, bench.hosts(1)[0], paths[0])
        return [
            row
            for count, least in ((FEW, 0.42), (bench.tenants, 0.38))
            for row in met(bench, floor, ours, count, least)
        ]


def met(bench: Bench, floor: Server, ours: Server, count: int, least: float) -> list[Row]:
    """Tour `count` houses on both sides, then measure visits to them, skewed and uniform."""
    hosts, paths = bench.hosts(count), post_paths()
    for server in (floor, ours):
        load.tour(server.port, bench.sequence(load.everyone(hosts, paths, TOURS)))
    name = f"rendered, {count:,} houses"
    return [
        bench.compare(f"{name}, {draw.__name__}", floor, ours, draw(hosts, paths), least)
        for draw in (load.skewed, load.uniform)
    ]


def cached(bench: Bench) -> list[Row]:
    """Measure a hundred hot pages with the page cache on; the floor has none."""
    with bench.floor() as floor, bench.ours() as ours:
        return [bench.compare(f"page cache, {HOT} hot pages", floor, ours, hot_pages(bench), least=1.05)]


def hot_pages(bench: Bench) -> list[str]:
    """Choose a hundred pages that everybody wants, each of another house."""
    chance = random.Random(7)
    return [f"{host} {chance.choice(post_paths())}" for host in bench.hosts(HOT)]


def behind_the_front(bench: Bench) -> list[Row]:
    """Measure the way visitors come, through the front; the floor has no front, so this row only informs."""
    visits = load.skewed(bench.hosts(FEW), post_paths())
    with bench.floor() as floor, bench.ours_behind_the_front() as ours:
        return [bench.compare(f"rendered, {FEW} houses, skewed, front", floor, ours, visits, least=None)]


def signed_in(bench: Bench) -> list[Row]:
    """Measure empty pages of the desk, each house's by its owner, beside the floor's public page."""
    people = live.finish_talk(live.begin_talk(live.Plan(bench.config, FEW), "sign-in", 1, "owner"))
    cookies = dict(line.split()[:2] for (line,) in people)
    hosts, paths = bench.hosts(FEW), post_paths()
    visits = load.skewed(hosts, paths)
    with bench.floor() as floor, bench.ours() as ours:
        tour = load.everyone(hosts, paths, TOURS)
        load.tour(floor.port, bench.sequence(tour))
        measured = []
        for name, path, least in EMPTY:
            for host in hosts:
                body(
                    ours, host, path, cookies[host]
                )  # which would not take a redirect to the sign-in page for the desk
            load.tour(ours.port, bench.sequence(at_desk(tour, path, cookies)))
            row = f"signed in, {name}, {FEW} houses, skewed"
            measured.append(bench.compare(row, floor, ours, visits, least, at_desk(visits, path, cookies)))
        return measured


def at_desk(visits: Sequence[str], path: str, cookies: Mapping[str, str]) -> list[str]:
    """Turn visits to pages into visits to a page of the desks of the same houses."""
    return [f"{host} {path} {cookies[host]}" for host, _ in map(str.split, visits)]


def compare_bodies(floor: Server, ours: Server, host: str, path: str) -> None:
    """Print the size of the same page on both sides: unequal pages would make the ratios worthless."""
    sizes = [len(body(server, host, path)) for server in (floor, ours)]
    click.echo(f"  one page is {sizes[0]:,} bytes on the floor, {sizes[1]:,} on ours", err=True)


def body(server: Server, host: str, path: str, cookie: str = "") -> bytes:
    """Fetch one page; raises when it is not there."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers={"Host": host, "Cookie": cookie})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"http://{host}{path} answered {answer.status} on port {server.port}.")
    return answer.read()
