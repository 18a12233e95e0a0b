"""Fill an installation with organisations through the product's lifecycle; stop it anywhere, run it again."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from sqlalchemy import delete, insert

from app.branding import Site
from app.content.models import Entry, MenuItem
from app.facilities.html import render_markdown
from app.tenancy import ResolvedTenant, db, tenancy
from bench.village import ZONE, Organisation, Piece

EDGE = 100  # tenants at each end of a seeding that are compared with each other


@dataclass(frozen=True)
class Made:
    """A complete organisation: the ms and CPU ms of provisioning (None if a kill hid them), its folder's bytes."""

    slug: str
    milliseconds: float | None
    cpu: float | None
    size: int


class Journal:
    """The organisations made so far, a line each, so that figures survive a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Made]:
        """Give what was made, by slug; a line cut short by a kill does not count."""
        if not self.path.exists():
            return {}
        lines = self.path.read_text().splitlines(keepends=True)
        made = [Made(**json.loads(line)) for line in lines if line.endswith("}\n")]
        return {one.slug: one for one in made}

    def add(self, made: Made) -> None:
        with self.path.open("a") as file:
            file.write(("" if self.ends_whole() else "\n") + json.dumps(asdict(made)) + "\n")

    def ends_whole(self) -> bool:
        """Tell whether the last line is complete."""
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"


def seed(organisations: Sequence[Organisation], journal: Journal, tenants_data: Path) -> Iterator[Made | None]:
    """Make what is missing, in order, and yield each as it is made; None for one that was there already."""
    noted = journal.read()
    for organisation in organisations:
        if organisation.slug in noted and is_there(organisation):
            yield None
        else:
            made = make(organisation, tenants_data)
            journal.add(made)
            yield made


def is_there(organisation: Organisation) -> bool:
    """Tell whether an organisation is complete: it becomes active with its content in it."""
    tenant = tenancy.registry.by_slug(organisation.slug)
    return tenant is not None and tenant.state == "active"


def make(organisation: Organisation, tenants_data: Path) -> Made:
    """Provision one organisation with its site, completing what an earlier run left half-made."""
    milliseconds, cpu = (None, None) if is_there(organisation) else provision(organisation)
    tenant = tenancy.registry.by_slug(organisation.slug)
    assert tenant is not None
    return Made(organisation.slug, milliseconds, cpu, folder_size(tenant, tenants_data))


def provision(organisation: Organisation) -> tuple[float, float]:
    """Create a tenant; the time and the CPU time (ms) it took, without those for writing its pages and posts."""
    furnishing = (0.0, 0.0)

    def furnish() -> None:
        nonlocal furnishing
        began = clocks()
        fill(organisation)
        furnishing = since(began)

    began = clocks()
    tenancy.lifecycle.create(organisation.slug, organisation.name, furnish=furnish)
    whole = since(began)
    return round(whole[0] - furnishing[0], 3), round(whole[1] - furnishing[1], 3)


def clocks() -> tuple[float, float]:
    """Read the wall clock and this process's CPU clock, in s."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Give the time and the CPU time since `began`, in ms."""
    now = clocks()
    return 1000 * (now[0] - began[0]), 1000 * (now[1] - began[1])


def fill(organisation: Organisation) -> None:
    """Write the current tenant's look, pages, posts and menu, in place of what a new one finds."""
    site = Site.mine()
    site.rename(organisation.name, organisation.tagline)
    site.speak("en", ZONE)
    db.session.execute(delete(MenuItem))
    db.session.execute(delete(Entry))
    pieces = list(organisation.pieces)
    rows = [entry_row(number, piece, organisation) for number, piece in enumerate(pieces, 1)]
    db.session.execute(insert(Entry), rows)
    db.session.execute(insert(MenuItem), menu_rows(pieces))


def entry_row(number: int, piece: Piece, organisation: Organisation) -> dict[str, object]:
    """Give the row of a piece as the product keeps it."""
    return {
        "id": number, "kind": piece.kind, "position": piece.position, "slug": piece.path, "path": piece.path,
        "title": piece.title, "summary": piece.summary, "source": organisation.fill(piece.markdown),
        "html": organisation.fill(rendered(piece.markdown)), "state": "published",
        "is_front": piece.path == "welcome", "author_name": f"The committee of {organisation.name}",
        "published_at": piece.published_at, "created_at": piece.published_at,
        "updated_at": piece.published_at,
    }  # fmt: skip


def menu_rows(pieces: Sequence[Piece]) -> list[dict[str, object]]:
    """Give a menu line for each page."""
    pages = [(number, piece) for number, piece in enumerate(pieces, 1) if piece.kind == "page"]
    return [{"position": piece.position, "label": piece.title, "entry_id": number} for number, piece in pages]


@lru_cache(maxsize=64)
def rendered(markdown: str) -> str:
    """Render a text once for all organisations; the blanks for their names pass through unchanged."""
    return render_markdown(markdown)


def folder_size(tenant: ResolvedTenant, tenants_data: Path) -> int:
    """Sum the bytes that a tenant's folder takes."""
    folder = tenants_data / tenant.id[:2] / tenant.id
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Spread:
    """How long provisioning took, in ms; `cpu` is the median of its CPU time."""

    least: float
    median: float
    p95: float
    most: float
    cpu: float

    @classmethod
    def of(cls, made: Sequence[Made]) -> Spread:
        times = sorted(one.milliseconds for one in made if one.milliseconds is not None) or [math.nan]
        cpu = statistics.median([one.cpu for one in made if one.cpu is not None] or [math.nan])
        return cls(times[0], statistics.median(times), times[len(times) * 95 // 100], times[-1], cpu)


@dataclass(frozen=True)
class Summary:
    """A whole seeding: its first and last hundred tell whether provisioning grows with the houses."""

    tenants: int
    all: Spread
    first: Spread
    last: Spread
    bytes_per_tenant: int

    @classmethod
    def of(cls, made: Sequence[Made]) -> Summary:
        size = round(statistics.mean(one.size for one in made))
        return cls(len(made), Spread.of(made), Spread.of(made[:EDGE]), Spread.of(made[-EDGE:]), size)

    @property
    def growth(self) -> float:
        """Divide the median CPU time of the last hundred by that of the first: other work does not sway it as much."""
        return self.last.cpu / self.first.cpu
