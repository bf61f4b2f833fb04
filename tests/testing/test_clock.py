"""The simulated clock in a user's hands: it moves as far as it is told, and starts where it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from mainspring.errors import InvalidOption
from mainspring.testing import SimulatedClock


@pytest.mark.parametrize(
    "start",
    [
        "2031-05-01T09:00:00Z",
        "2031-05-01T11:00:00+02:00",
        datetime(2031, 5, 1, 9, tzinfo=UTC),
        datetime(2031, 5, 1, 11, tzinfo=timezone(timedelta(hours=2))),
        1_935_392_400_000_000,
    ],
)
def test_a_clock_starts_at_the_instant_it_is_given(start: int | datetime | str) -> None:
    assert SimulatedClock(start).instant == datetime(2031, 5, 1, 9, tzinfo=UTC)


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidOption, match="time zone"):
        SimulatedClock(datetime(2031, 5, 1, 9))  # noqa: DTZ001


def test_a_clock_at_present_stands_within_a_second_of_the_machines() -> None:
    before = datetime.now(UTC)
    clock = SimulatedClock.at_present()
    assert before - timedelta(seconds=1) < clock.instant <= datetime.now(UTC)
    assert clock.now % 1_000_000 == 0


def test_time_passes_by_a_span_or_to_an_instant_on_both_sides_of_the_clock() -> None:
    clock = SimulatedClock("2031-05-01T09:00:00Z")
    began = clock.elapsed
    clock.advance("1h")
    clock.advance_to("2031-05-01T10:30:00Z")
    assert clock.instant == datetime(2031, 5, 1, 10, 30, tzinfo=UTC)
    assert clock.elapsed - began == 5400 * 1_000_000


def test_a_clock_does_not_go_back_to_an_instant_that_is_over() -> None:
    clock = SimulatedClock("2031-05-01T09:00:00Z")
    with pytest.raises(InvalidOption, match="is over"):
        clock.advance_to("2031-05-01T08:59:59Z")
