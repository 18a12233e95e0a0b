"""Believable organisations for the benchmarks: the n-th is the same on every machine and at every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import Template

from bench.texts import PAGES, POSTS, Text

PLACES = (
    "Alder", "Beacon", "Camber", "Dunmore", "Elmfield", "Fenwick", "Greystone", "Holloway", "Inverley",
    "Juniper", "Kestrel", "Larkhill", "Millbrook", "Northgate", "Orchard", "Penhale", "Quarry", "Riverbank",
    "Saltmarsh", "Thornbury",
)  # fmt: skip
KINDS = (
    ("rowing", "Rowing Club", "On the water since 1924"),
    ("foodbank", "Food Bank", "Nobody in our streets goes hungry"),
    ("homes", "Housing Co-op", "Homes that belong to those who live in them"),
    ("choir", "Community Choir", "No audition, good company"),
    ("plots", "Allotment Society", "Grow a little, share a lot"),
    ("hall", "Village Hall", "A roof for everything that matters here"),
    ("repair", "Repair Café", "Bring it broken, take it home mended"),
    ("theatre", "Youth Theatre", "Every child has a part"),
)
ZONE = "Europe/London"
FIRST_POST = datetime(2026, 1, 9, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Piece:
    """A page or post as it is written: its place in the list, path, title, summary and Markdown."""

    kind: str
    position: int
    path: str
    title: str
    summary: str
    markdown: str
    published_at: datetime


@dataclass(frozen=True)
class Organisation:
    """The n-th organisation, counted from 0."""

    number: int

    @property
    def slug(self) -> str:
        """Name the organisation in addresses; never the slug of a demo organisation."""
        return f"{self.place.lower()}-{KINDS[self.number % len(KINDS)][0]}-{self.number:05d}"

    @property
    def place(self) -> str:
        return PLACES[self.number // len(KINDS) % len(PLACES)]

    @property
    def name(self) -> str:
        return f"{self.place} {KINDS[self.number % len(KINDS)][1]}"

    @property
    def tagline(self) -> str:
        return KINDS[self.number % len(KINDS)][2]

    @property
    def pieces(self) -> Iterator[Piece]:
        """Give the six pages, then the ten posts."""
        for position, text in enumerate(PAGES):
            yield self._write("page", position, text)
        for position, text in enumerate(POSTS):
            yield self._write("post", position, text)

    def _write(self, kind: str, position: int, text: Text) -> Piece:
        title = self.fill(text.title)
        published = FIRST_POST + timedelta(days=21 * position + self.number % 7, minutes=self.number % 600)
        return Piece(kind, position, text.slug, title, self.fill(text.summary), text.markdown, published)

    def fill(self, text: str) -> str:
        """Put the organisation's own names into a text or its rendered HTML."""
        return Template(text).substitute(name=self.name, place=self.place)


def organisations(count: int) -> Iterator[Organisation]:
    """Give the first `count` organisations."""
    return (Organisation(number) for number in range(count))


def post_paths() -> list[str]:
    """List the paths of the posts that every organisation has."""
    return [f"/posts/{text.slug}" for text in POSTS]
