"""Which clocks are planned by."""

from __future__ import annotations

from mainspring.core.clock_trust import CLOCK_JUMP_MAX, ClockTrust
from mainspring.core.durations import DAY, HOUR, SECOND


def test_a_clock_that_runs_on_is_believed_through_sleep_and_drift() -> None:
    trust = ClockTrust()
    assert trust.ahead(1_000 * DAY, 5) == 0
    assert trust.ahead(1_001 * DAY, 5 + DAY) == 0
    assert all(trust.ahead(1_001 * DAY + n * (DAY + 8 * SECOND), 5 + DAY + n * DAY) == 0 for n in range(365))


def test_a_leap_ahead_is_not_believed_however_long_it_stays_and_its_correction_is() -> None:
    trust = ClockTrust()
    trust.ahead(DAY, 0)
    assert trust.ahead(DAY + CLOCK_JUMP_MAX, 0) == 0
    for hours in range(48):
        assert trust.ahead(300 * DAY + hours * HOUR, hours * HOUR) > 0
    assert trust.ahead(3 * DAY, 2 * DAY) == 0


def test_a_clock_set_back_is_planned_by_and_may_return_to_where_it_was() -> None:
    trust = ClockTrust()
    trust.ahead(10 * DAY, 0)
    assert trust.ahead(9 * DAY, 0) == 0
    assert trust.ahead(10 * DAY, 0) == 0
    assert trust.ahead(11 * DAY, 0) == DAY
