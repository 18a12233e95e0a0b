"""The rows that compare Freehold with the floor."""

from __future__ import annotations

import http.client
import random

import click

from bench import load
from bench.bench import FEW, Bench
from bench.compare import Row
from bench.processes import Server
from bench.village import post_paths

TOURS = 4  # visits to each house, so that with two workers nearly every worker has met nearly every house
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


def compare_bodies(floor: Server, ours: Server, host: str, path: str) -> None:
    """Print the size of the same page on both sides: unequal pages would make the ratios worthless."""
    sizes = [len(body(server, host, path)) for server in (floor, ours)]
    click.echo(f"  one page is {sizes[0]:,} bytes on the floor, {sizes[1]:,} on ours", err=True)


def body(server: Server, host: str, path: str) -> bytes:
    """Fetch one page; raises when it is not there."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"http://{host}{path} answered {answer.status} on port {server.port}.")
    return answer.read()
