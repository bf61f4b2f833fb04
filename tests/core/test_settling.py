"""What becomes of late instants: the misfire policies, their limits, and settlements in several parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.durations import DAY, MINUTE, SECOND
from mainspring.core.occurrence import Disposition, manual_key, planned_key
from mainspring.core.settling import Covers, Due, Misfire, OnMisfire, Order, Verdict, left_to_carry, settle

NOW = 1_900_000_000 * SECOND


def minutes(count: int, *, until: int = NOW) -> list[Due]:
    return [Due(at, at) for at in range(until - (count - 1) * MINUTE, until + 1, MINUTE)]


def fates(verdicts: list[Verdict]) -> list[str]:
    return [verdict.disposition.value for verdict in verdicts]


@pytest.mark.parametrize("policy", OnMisfire)
def test_what_is_on_time_fires_under_any_policy(policy: OnMisfire) -> None:
    due = Due(NOW - 3_000, NOW - 2_000)
    (verdict,) = settle([due], Misfire(policy=policy), now=NOW)
    assert verdict == Verdict(due=due, disposition=Disposition.FIRED)


def test_late_begins_after_the_grace_and_counts_from_when_it_was_due() -> None:
    misfire = Misfire(policy=OnMisfire.SKIP, grace_us=10 * SECOND)
    edge, late, jittered = (Due(NOW - 10 * SECOND, NOW - 10 * SECOND), Due(NOW - 11 * SECOND, NOW - 11 * SECOND),
                            Due(NOW - 15 * SECOND, NOW - SECOND))  # fmt: skip
    assert fates(settle([late, edge], misfire, now=NOW)) == ["skipped_misfire", "fired"]
    assert fates(settle([jittered], misfire, now=NOW)) == ["fired"]


@pytest.mark.case("schedules", 30)
def test_three_hours_of_minutes_fire_the_newest_as_one_run_that_covers_them_all() -> None:
    instants = minutes(180, until=NOW - 2 * MINUTE)
    verdicts = settle(instants, Misfire(), now=NOW)
    assert fates(verdicts) == ["coalesced"] * 179 + ["fired"]
    assert verdicts[-1].covers == Covers(instants[0].nominal, instants[-1].nominal, 180)
    assert {verdict.into for verdict in verdicts[:-1]} == {instants[-1].nominal}


def test_late_ones_go_into_the_oldest_that_is_on_time() -> None:
    instants = minutes(5)  # two of them within the grace of a minute
    verdicts = settle(instants, Misfire(), now=NOW)
    assert fates(verdicts) == ["coalesced"] * 3 + ["fired"] * 2
    assert verdicts[3].covers == Covers(instants[0].nominal, instants[3].nominal, 4)
    assert verdicts[4].covers is None
    assert {verdict.into for verdict in verdicts[:3]} == {instants[3].nominal}


def test_catching_up_fires_the_newest_in_order_and_spaced_out() -> None:
    misfire = Misfire(policy=OnMisfire.CATCH_UP, most=3, spacing_us=2 * SECOND)
    verdicts = settle(minutes(6, until=NOW - 5 * MINUTE), misfire, now=NOW)
    assert fates(verdicts) == ["missed_window"] * 3 + ["fired"] * 3
    assert {verdict.reason for verdict in verdicts[:3]} == {"max"}
    assert [verdict.delay_us for verdict in verdicts[3:]] == [0, 2 * SECOND, 4 * SECOND]


def test_catching_up_may_begin_with_the_newest() -> None:
    misfire = Misfire(policy=OnMisfire.CATCH_UP, order=Order.NEWEST_FIRST, spacing_us=SECOND)
    verdicts = settle(minutes(3, until=NOW - 5 * MINUTE), misfire, now=NOW)
    assert [verdict.delay_us for verdict in verdicts] == [2 * SECOND, SECOND, 0]


@pytest.mark.parametrize("policy", OnMisfire)
def test_what_is_older_than_the_window_is_missed_under_any_policy(policy: OnMisfire) -> None:
    old, young = Due(NOW - 8 * DAY, NOW - 8 * DAY), Due(NOW - 6 * DAY, NOW - 6 * DAY)
    first, second = settle([old, young], Misfire(policy=policy, window_us=7 * DAY), now=NOW)
    assert (first.disposition, first.reason) == (Disposition.MISSED_WINDOW, "window")
    assert second.disposition is not Disposition.MISSED_WINDOW


@pytest.mark.case("schedules", 31)
def test_a_settlement_in_parts_decides_as_one_would() -> None:
    instants = minutes(1_000, until=NOW - 2 * MINUTE)
    for misfire in (Misfire(), Misfire(policy=OnMisfire.CATCH_UP), Misfire(policy=OnMisfire.CATCH_UP, most=750)):
        whole = settle(instants, misfire, now=NOW)
        carried, parts = None, list[Verdict]()
        for start in range(0, 1_000, 300):
            part = instants[start : start + 300]
            newer = min(1_000 - start - len(part), misfire.most)
            decided = settle(part, misfire, now=NOW, newer=newer, carried=carried)
            carried = left_to_carry(decided, carried)
            parts += decided
        assert fates(parts) == fates(whole)
        assert parts[-1].covers == whole[-1].covers
        assert carried is None


def test_after_a_pause_all_is_late_whatever_its_age() -> None:
    assert fates(settle(minutes(2), Misfire(policy=OnMisfire.SKIP), now=NOW, all_late=True)) == ["skipped_misfire"] * 2


@given(
    ages=st.lists(st.integers(0, 40 * DAY), unique=True, max_size=40),
    policy=st.sampled_from(list(OnMisfire)),
    most=st.integers(1, 50),
    window=st.integers(0, 40 * DAY),
)
def test_every_instant_has_one_verdict_and_none_is_counted_twice(
    ages: list[int], policy: OnMisfire, most: int, window: int
) -> None:
    instants = [Due(NOW - age, NOW - age) for age in sorted(ages, reverse=True)]
    verdicts = settle(instants, Misfire(policy=policy, most=most, window_us=window), now=NOW)
    assert [verdict.due for verdict in verdicts] == instants
    fired = [verdict for verdict in verdicts if verdict.disposition is Disposition.FIRED]
    assert sum(verdict.is_late for verdict in fired) <= most
    coalesced = [verdict for verdict in verdicts if verdict.disposition is Disposition.COALESCED]
    assert sum(verdict.covers.number - 1 for verdict in fired if verdict.covers) == len(coalesced)
    assert {verdict.into for verdict in coalesced} <= {verdict.due.nominal for verdict in fired}


def test_a_key_names_the_instant_with_a_fraction_only_where_there_is_one() -> None:
    assert planned_key("s", 1_796_076_000 * SECOND) == "s:2026-11-30T22:00:00Z"
    assert planned_key("s", 1_796_076_000 * SECOND + 250_000) == "s:2026-11-30T22:00:00.250000Z"
    assert manual_key("r") == "manual:r"
