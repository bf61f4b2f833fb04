"""The sample of the oracle's campaign that every run of the checks takes, and bugs planted to see that it finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mainspring.core import cron, walls, zone
from mainspring.core.walls import Walls
from mainspring.core.zone import Overlap, Policy, Resolved, Zone
from tests.oracle.campaign import PART, WrongOccurrencesError, run_part


def test_what_is_due_is_what_looking_at_every_wall_time_says() -> None:
    met = run_part(number=1, examples=PART)
    assert met.stories >= PART
    assert met.instants > 20 * PART, "stories in which little is due show little"


def _no_leaps(found: Walls, resolved: Resolved, second: int, end: int, due: int) -> int:
    return due


def _swapped(right: Callable[[Zone, Policy], Resolved]) -> Callable[[Zone, Policy], Resolved]:
    other = {Overlap.FIRST: Overlap.SECOND, Overlap.SECOND: Overlap.FIRST, Overlap.BOTH: Overlap.BOTH}
    return lambda each, policy: right(each, Policy(policy.gap, other[policy.overlap]))


def _begins_late(found: Walls, resolved: Resolved, second: int, first: int) -> int:
    return walls.previous_second(found, resolved, second - 1, first)


def _always_either(days: cron.Days, length: int, first_weekday: int) -> int:
    return IN_MONTH(replace(days, matches="either"), length, first_weekday)


IN_MONTH = cron.Days.in_month
PLANTED: dict[str, tuple[str, Any]] = {
    "moved times are forgotten": ("walls._next_leap", _no_leaps),
    "first and second are swapped": ("instants.resolved", _swapped(zone.resolved)),
    "date and weekday always mean either": ("cron.Days.in_month", _always_either),
    "wildcards are fixed": ("timetable.WILDCARD", zone.FIXED),
    "backwards leaves out the second it begins at": ("instants.previous_second", _begins_late),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_out(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    where, wrong = PLANTED[bug]
    monkeypatch.setattr(f"mainspring.core.{where}", wrong)
    with pytest.raises(WrongOccurrencesError):
        run_part(number=2, examples=10 * PART, shrink=False)
