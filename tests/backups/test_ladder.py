"""What the ladder keeps, for any times at which moments were made."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.backups.ladder import DAY, EPOCH, HOUR, MINUTE, kept

NOW = datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)
AGES = st.lists(
    st.one_of(
        st.integers(0, 3 * 3600), st.integers(0, 3 * 86400), st.integers(0, 40 * 86400), st.integers(0, 800 * 86400)
    ),
    max_size=80,
)


def moments(ages: list[int]) -> list[tuple[int, datetime]]:
    return list(enumerate((NOW - timedelta(seconds=age) for age in sorted(ages, reverse=True)), 1))


def times(made: list[tuple[int, datetime]], numbers: set[int]) -> list[datetime]:
    return [at for number, at in made if number in numbers]


@given(AGES)
def test_every_moment_of_the_last_two_hours_is_kept(ages):
    made = moments(ages)
    assert {number for number, at in made if NOW - at <= 2 * HOUR} <= kept(made, NOW, 92)


@given(AGES)
def test_each_older_span_keeps_one_moment_at_most_and_it_is_its_last(ages):
    made = moments(ages)
    left = kept(made, NOW, 800)
    for youngest, oldest, span in (
        (2 * HOUR, DAY, 10 * MINUTE),
        (DAY, 7 * DAY, HOUR),
        (7 * DAY, 31 * DAY, DAY),
        (31 * DAY, 366 * DAY, 31 * DAY),
    ):
        inside = [(number, at) for number, at in made if youngest < NOW - at <= oldest]
        counts = Counter((at - EPOCH) // span for number, at in inside if number in left and number != made[-1][0])
        assert all(count == 1 for count in counts.values())
        last = {(at - EPOCH) // span: number for number, at in inside}
        assert set(last.values()) <= left


@given(AGES, st.integers(0, 3 * 86400), st.sampled_from([1, 2, 8]))
def test_thinning_twice_leaves_at_least_what_thinning_once_later_leaves_of_what_is_there(ages, wait, coarser):
    made, later = moments(ages), NOW + timedelta(seconds=wait)
    first = kept(made, NOW, 92, coarser)
    twice = kept([each for each in made if each[0] in first], later, 92, coarser)
    assert kept(made, later, 92, coarser) & first <= twice <= first


@given(AGES)
def test_whatever_is_kept_the_newest_is_among_it_and_nothing_is_older_than_the_plan_allows(ages):
    made = moments(ages)
    left = kept(made, NOW, 14)
    assert (not made) == (not left)
    if made:
        assert made[-1][0] in left
    assert all(NOW - at <= 14 * DAY for at in times(made, left - {made[-1][0]} if made else set()))


@given(AGES)
def test_a_tight_budget_takes_more_at_every_turn_and_never_the_newest(ages):
    left = moments(ages)
    for coarser in (1, 2, 4, 8, 16, 32, 64):
        chosen = kept(left, NOW, 92, coarser)
        assert not left or left[-1][0] in chosen
        left = [each for each in left if each[0] in chosen]


@pytest.mark.parametrize("offset", [0, 1234, 3599])
def test_thinned_again_and_again_each_old_span_by_the_clock_still_has_its_last_moment(offset):
    """What an older rung wants, the younger ones have kept until then: their spans begin and end together."""
    begin = NOW + timedelta(seconds=offset)
    made = list(enumerate((begin + timedelta(minutes=7 * step) for step in range(900)), 1))
    left: list[tuple[int, datetime]] = []
    for place in range(0, 900, 10):
        left += made[place : place + 10]
        chosen = kept(left, left[-1][1], 92)
        left = [each for each in left if each[0] in chosen]
    end, here = made[-1][1], {number for number, _ in left}
    for youngest, oldest, span in ((2 * HOUR, DAY, 10 * MINUTE), (DAY, 7 * DAY, HOUR)):
        last = {(at - EPOCH) // span: number for number, at in made}
        whole = [
            slot for slot in last if end - oldest < EPOCH + slot * span and EPOCH + (slot + 1) * span < end - youngest
        ]
        assert len(whole) > 60
        assert {last[slot] for slot in whole} <= here


@given(st.lists(st.integers(-400 * 86400, 400 * 86400), min_size=1, max_size=60), st.integers(1, 92))
@settings(max_examples=60)
def test_a_clock_that_went_back_or_leapt_takes_no_future_moment_and_never_the_newest(leaps, days):
    made = list(enumerate((NOW + timedelta(seconds=leap) for leap in leaps), 1))
    left = kept(made, NOW, days)
    assert made[-1][0] in left
    assert {number for number, at in made if at >= NOW} <= left
