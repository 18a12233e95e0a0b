"""`freehold backups`: plain words, numbers for programs, and nothing done that was not confirmed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.tenancy import ResolvedTenant, Tenancy


def write(tenancy: Tenancy, tenant: ResolvedTenant, number: int) -> None:
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        file.execute("CREATE TABLE IF NOT EXISTS written (number INTEGER)")
        file.execute("INSERT INTO written VALUES (?)", (number,))


def numbers(tenancy: Tenancy, slug: str) -> list[int]:
    tenant = tenancy.registry.by_slug(slug)
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        return [row[0] for row in file.execute("SELECT number FROM written").fetchall()]


@pytest.fixture
def backups(runner) -> Callable[..., Any]:
    return lambda *arguments, **options: runner("backups", *arguments, **options)


@pytest.fixture
def two(tenancy, keeper, alpha) -> list[datetime]:
    times = []
    for number in (1, 2):
        write(tenancy, alpha, number)
        times.append(keeper.copy(alpha.id).header.time)
    return times


def test_run_copies_all_and_says_how_much(backups, keeper, alpha, beta):
    told = backups("run", "--json")
    assert told.exit_code == 0
    facts = json.loads(told.stdout)
    assert (facts["copied"], facts["failed"]) == (5, {})
    assert facts["bytes"] > 100_000
    assert backups("run", "alpha").stdout.startswith("1 copied, ")


def test_run_names_what_failed_copies_the_rest_and_ends_with_another_code(tenancy, backups, keeper, alpha, beta):
    tenancy.placements.file(alpha.id).unlink()
    told = backups("run")
    assert told.exit_code not in (0, 2)
    assert "alpha: " in told.stderr
    assert "is missing" in told.stderr
    assert "4 copied" in told.stdout
    assert keeper.shelf(beta.id).newest().seq == 1


def test_run_says_plainly_that_the_target_is_gone(tenancy, backups, alpha):
    backups("run")
    tenancy.config.backups.rename(tenancy.config.backups.with_name("aside"))
    told = backups("run", "alpha")
    assert told.exit_code != 0
    assert "Is its disk mounted" in told.stderr
    assert not tenancy.config.backups.exists()


def test_list_shows_each_moment_newest_first_and_what_is_incomplete(backups, keeper, alpha, two):
    facts = json.loads(backups("list", "alpha", "--json").stdout)
    assert [(each["seq"], each["is_whole"]) for each in facts] == [(2, True), (1, True)]
    assert [datetime.fromisoformat(each["at"]) for each in facts] == two[::-1]
    shelf = keeper.shelf(alpha.id)
    (shelf.target.root / shelf.folder / "packs" / str(min(shelf.packs()))).unlink()
    told = backups("list", "alpha")
    assert "incomplete" in told.stdout
    assert "1 moments." in told.stderr
    assert backups("list", "registry").exit_code == 0
    assert backups("list", "nobody").exit_code == 2


WAYS = {
    "as it is shown": lambda at: at.isoformat(),
    "without a zone": lambda at: at.replace(tzinfo=None).isoformat(),
    "of another zone": lambda at: at.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
    "with blanks": lambda at: f" {at:%Y-%m-%dT%H:%M:%S.%fZ} ",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_time_with_or_without_a_zone_is_the_same_moment(backups, two, way):
    for at, seq in zip(two, (1, 2), strict=True):
        told = backups("restore", "alpha", "--at", way(at), "--replace", "--dry-run", "--json")
        assert told.exit_code == 0, told.stderr
        assert json.loads(told.stdout)["seq"] == seq


def test_latest_and_a_time_to_come_are_the_newest_and_one_before_the_first_is_refused_in_utc(backups, two):
    for at in ("latest", "2100-01-01"):
        assert (
            json.loads(backups("restore", "alpha", "--at", at, "--replace", "--dry-run", "--json").stdout)["seq"] == 2
        )
    east = (two[0] - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=9)))
    told = backups("restore", "alpha", "--at", east.isoformat(), "--replace", "--dry-run")
    assert told.exit_code == 2
    assert f"up to {east.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" in told.stderr
    assert backups("restore", "beta", "--at", "latest", "--replace", "--dry-run").exit_code == 2


@pytest.mark.parametrize(
    "at", ["yesterday", "", "2026-13-01", "12:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "١"]
)
def test_what_is_no_time_is_refused_and_shown_how(backups, two, at):
    told = backups("restore", "alpha", "--at", at, "--replace", "--dry-run")
    assert told.exit_code == 2, told.exception
    assert told.stderr.startswith("Error: ")


@pytest.mark.parametrize("arguments", [(), ("--as", "again", "--replace")])
def test_one_of_beside_and_in_place_must_be_said(tenancy, backups, two, arguments):
    told = backups("restore", "alpha", "--at", "latest", *arguments)
    assert told.exit_code == 2
    assert "Say either --as NEW" in told.stderr
    assert numbers(tenancy, "alpha") == [1, 2]


def test_nothing_is_replaced_without_a_yes(tenancy, backups, two):
    told = backups("restore", "alpha", "--at", two[0].isoformat(), "--replace")
    assert told.exit_code == 2
    assert "Nothing was changed" in told.stderr
    assert numbers(tenancy, "alpha") == [1, 2]


def test_replace_says_how_to_undo_it_and_that_works(tenancy, backups, two):
    told = backups("restore", "alpha", "--at", two[0].isoformat(), "--replace", "--yes")
    assert told.exit_code == 0, told.exception
    assert numbers(tenancy, "alpha") == [1]
    undo = told.stdout.partition("To undo: freehold backups ")[2].split()
    assert backups(*undo, "--yes").exit_code == 0
    assert numbers(tenancy, "alpha") == [1, 2]


def test_beside_it_a_new_organisation_stands_and_the_old_one_is_left_alone(tenancy, backups, two):
    told = backups("restore", "alpha", "--at", two[0].isoformat(), "--as", "again", "--name", "Alpha of Old", "--json")
    facts = json.loads(told.stdout)
    assert (facts["tenant"], facts["moment"], facts["before"]) == ("again", two[0].isoformat(), None)
    assert numbers(tenancy, "again") == [1]
    assert tenancy.registry.by_slug("again").name == "Alpha of Old"
    assert numbers(tenancy, "alpha") == [1, 2]
    assert backups("restore", "alpha", "--at", "latest", "--as", "beta").exit_code == 2
    steps = [json.loads(line)["task"] for line in told.stderr.splitlines()]
    assert steps[0] == "Reading the copy"


def test_drill_proves_all_or_one_and_fails_by_name(tenancy, backups, keeper, alpha, two):
    backups("run")
    told = backups("drill")
    assert (told.exit_code, told.stdout) == (0, "5 proven, 0 failed.\n")
    shelf = keeper.shelf(alpha.id)
    path = shelf.target.root / shelf.folder / "packs" / str(max(shelf.packs()))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    told = backups("drill", "alpha", "--json")
    assert told.exit_code not in (0, 2)
    assert "cannot be read any more" in json.loads(told.stdout)[0]["error"]
