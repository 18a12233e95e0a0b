from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from app import Freehold
from app.config import Config
from app.tenancy import ResolvedTenant, Tenancy
from app.tenancy.database import connect
from bench import archive, shelves
from bench.archive import Back, Bustle, Figures, Held, Plan, exposures, longest_refusal
from bench.meter import Taken
from bench.processes import serving_whole
from bench.scribes import write
from bench.seed import Journal, seed
from bench.village import organisations


def test_the_oldest_row_that_is_not_kept_counts():
    acknowledged = [(7, 10.0), (8, 11.0), (9, 12.0)]
    looks = [(11.5, 6), (12.5, 7), (13.0, 9), (13.0, 0), (9.0, 6)]
    assert exposures(acknowledged, looks) == [1.5, 1.5, 0.0, 3.0, 0.0]


def test_a_page_is_refused_until_it_is_answered_for_again():
    served, refused = [(0.0, 0.1, 200), (1.0, 1.1, 200)], [(2.0, 2.1, 503), (2.5, 2.6, 0), (3.0, 3.2, 200)]
    assert longest_refusal(served) == pytest.approx(0.1)
    assert longest_refusal([*served, *refused, (4.0, 4.1, 200)]) == pytest.approx(1.2)
    assert longest_refusal([(0.0, 2.0, 200)]) == 2.0, "one that had to wait was not served meanwhile"


def test_drills_are_told_apart():
    taken = Taken(60.0, {"sweeps": 0.02, "copies": 0.03, "raw side": 0.01, "drills": 0.5, "other": 0.0}, 1)
    assert taken.whole == pytest.approx(0.06)


def test_a_file_is_filled_to_its_size_once(alpha: ResolvedTenant, tenancy: Tenancy):
    path, key = tenancy.placements.file(alpha.id), tenancy.keys.database_key(alpha.id)
    for _ in range(2):
        with closing(connect(path, key)) as file:
            shelves.fill(file, 3_000_000)
        assert 2_800_000 < path.stat().st_size < 3_300_000


def test_a_scribe_writes_a_line_and_its_event(alpha: ResolvedTenant, tenancy: Tenancy):
    with closing(connect(tenancy.placements.file(alpha.id), tenancy.keys.database_key(alpha.id))) as file:
        number, _ = write(file, "Good morning")
        kind, subject = file.execute("SELECT kind, subject FROM event WHERE id = ?", (number,)).fetchone()
        line = file.execute("SELECT source FROM line WHERE id = ?", (subject.removeprefix("line:"),)).fetchone()
    assert (kind, line) == ("LinePosted", ("Good morning",))


def test_slow_figures_are_told_and_fail_nothing(config: Config):
    slow = Taken(60.0, dict.fromkeys(("sweeps", "copies", "raw side", "drills", "other"), 0.2), 400_000_000)
    held = [Held(size, pace, [0.1], [0.2], 1, [0.01], 9.0) for size in archive.SIZES for pace in archive.PACES]
    found = Figures(
        Bustle(slow, slow, 1, 2, 3, 4, 5.0, 6.0),
        {2: [20.0], 50: [1.0]},
        held,
        [Back(10, {"--as": 3.0}, {"--as": 4.0}, 2.0, 1.5, 8.0)],
        [9.0],
    )
    told = archive.facts(Plan(config, 2), found)
    assert sum(fact.is_met is False for fact in told) == 10
    assert all(fact.value for fact in told)


@pytest.fixture
def village(app: Freehold, config: Config, tmp_path: Path) -> Config:
    """Make two of the benchmark's houses in this installation, and close it."""
    with app.app_context():
        list(seed(list(organisations(2)), Journal(tmp_path / "journal"), config.tenants_data))
    app.extensions["tenancy"].close()
    return config


@pytest.mark.prove
def test_the_archivist_is_read_while_it_copies(village: Config, tmp_path: Path):
    plan = Plan(village, tenants=2, rate=120, seconds=4)
    with serving_whole(village, tmp_path / "log") as installation:
        found = archive.watch_archivist(plan, installation)
    assert found.changes == 8
    assert found.copies > 0
    assert 0 < found.busy.whole < 2
    assert found.busy.pss > 10_000_000


@pytest.mark.prove
def test_writers_are_felt_with_copies_and_without(village: Config):
    plan = Plan(village, tenants=2, seconds=6)
    archive.shelves(village, "make", 2, archive.crowded(2))
    without, copied = (archive.hold(plan, 2, pace) for pace in ("none", "as fast as it may"))
    assert without.commits
    assert not without.held
    assert copied.commits
    assert copied.held
    assert max(copied.held) < max(copied.took)


@pytest.mark.prove
def test_copies_and_restores_of_a_small_installation_are_measured(
    village: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archive, "RESULTS", tmp_path / "archive.json")
    plan = Plan(village, tenants=2, rate=120, seconds=6)
    found = archive.measure(plan, tmp_path)
    archive.save(plan, found)
    assert all(found.exposed[size] for size in archive.SIZES)
    (back,) = found.back
    assert min(*back.inside.values(), *back.command.values(), back.refused) > 0
    assert all(fact.value for fact in archive.facts(plan, found))
    assert not (village.home / "bench-back").exists()
