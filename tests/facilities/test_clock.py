"""Moments, and what clocks show."""

from datetime import UTC, datetime

import pytest

from app.facilities import clock


def test_now_is_aware_and_in_utc():
    assert clock.now().tzinfo is UTC


def test_local_shows_what_the_clocks_there_show():
    moment = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert clock.local(moment, "Europe/Berlin").isoformat() == "2026-07-02T00:30:00+02:00"
    assert clock.local(moment, "Asia/Kathmandu").isoformat() == "2026-07-02T04:15:00+05:45"


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../../etc/passwd", "/etc/localtime", "a" * 400])
def test_an_unknown_zone_is_utc(name):
    assert clock.local(datetime(2026, 7, 1, tzinfo=UTC), name).utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("wall", "moment"),
    [
        (datetime(2026, 7, 1, 9, 0), "2026-07-01T07:00:00+00:00"),
        (datetime(2026, 10, 25, 2, 30), "2026-10-25T00:30:00+00:00"),  # occurs twice: the first time
        (datetime(2026, 3, 29, 2, 30), "2026-03-29T01:30:00+00:00"),  # is skipped: just after
    ],
)
def test_what_a_clock_shows_is_one_moment(wall, moment):
    assert clock.from_local(wall, "Europe/Berlin").isoformat() == moment
