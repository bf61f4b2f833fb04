"""The three budgets: failures, interruptions, releases."""

from typing import Any

import pytest

from mainspring.core.budgets import (
    Budgets,
    Exhausted,
    Released,
    Retrying,
    Spent,
    after_failure,
    after_interruption,
    after_release,
)
from mainspring.core.durations import DAY, MINUTE, SECOND
from mainspring.core.retry import Exponential
from mainspring.errors import InvalidOption


def fail(spent: Spent, budgets: Budgets, *, after_us: int | None = None, final: bool = False) -> Retrying | Exhausted:
    return after_failure(spent, budgets, backoff=Exponential(), jitter=0.0, draw=0.0, after_us=after_us, final=final)


def test_three_attempts_are_two_retries_by_default() -> None:
    first = fail(Spent(), Budgets())
    assert first == Retrying(spent=Spent(failures=1), delay_us=SECOND)
    second = fail(first.spent, Budgets())
    assert second == Retrying(spent=Spent(failures=2), delay_us=2 * SECOND)
    assert fail(second.spent, Budgets()) == Exhausted(spent=Spent(failures=3), reason=None)


def test_one_attempt_is_no_retry() -> None:
    assert fail(Spent(), Budgets(max_attempts=1)) == Exhausted(spent=Spent(failures=1), reason=None)


def test_a_final_failure_ends_the_budget_whatever_is_left() -> None:
    assert fail(Spent(), Budgets(max_attempts=99), final=True) == Exhausted(spent=Spent(failures=1), reason=None)


def test_a_final_failure_with_a_delay_is_still_final() -> None:
    assert isinstance(fail(Spent(), Budgets(), after_us=0, final=True), Exhausted)


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (7, 7), (31 * DAY, 30 * DAY)])
def test_the_task_may_name_its_own_delay_for_this_retry(asked: int, given: int) -> None:
    assert fail(Spent(), Budgets(), after_us=asked) == Retrying(spent=Spent(failures=1), delay_us=given)


def test_a_named_delay_buys_no_extra_attempt() -> None:
    assert isinstance(fail(Spent(failures=2), Budgets(), after_us=7), Exhausted)


def test_jitter_shortens_the_delay_of_a_retry() -> None:
    decision = after_failure(Spent(), Budgets(), backoff=Exponential(), jitter=0.5, draw=0.5)
    assert decision == Retrying(spent=Spent(failures=1), delay_us=750_000)


def test_the_first_interruption_waits_for_nothing_and_the_next_back_off_from_five_seconds_to_five_minutes() -> None:
    spent, budgets, delays = Spent(), Budgets(), []
    while isinstance(decision := after_interruption(spent, budgets), Retrying):
        delays.append(decision.delay_us)
        spent = decision.spent
    assert [delay // SECOND for delay in delays] == [0, 5, 10, 20, 40, 80, 160, 300, 300]
    assert max(delays) == 5 * MINUTE
    assert decision == Exhausted(spent=Spent(interruptions=10), reason="interrupted")


def test_a_shutdown_is_an_interruption_without_a_wait() -> None:
    decision = after_interruption(Spent(interruptions=5), Budgets(), shutdown=True)
    assert decision == Retrying(spent=Spent(interruptions=6), delay_us=0)


def test_shutdowns_too_use_the_budget_up() -> None:
    decision = after_interruption(Spent(interruptions=9), Budgets(), shutdown=True)
    assert decision == Exhausted(spent=Spent(interruptions=10), reason="interrupted")


def test_releases_are_unbounded_by_default() -> None:
    decision = after_release(Spent(releases=10**9), Budgets(), after_us=SECOND)
    assert decision == Released(spent=Spent(releases=10**9 + 1), delay_us=SECOND)


@pytest.mark.parametrize(("asked", "given"), [(0, 100_000), (-5, 100_000), (100_001, 100_001), (90 * DAY, 90 * DAY)])
def test_a_release_waits_at_least_a_tenth_of_a_second(asked: int, given: int) -> None:
    assert after_release(Spent(), Budgets(), after_us=asked) == Released(spent=Spent(releases=1), delay_us=given)


def test_a_bound_of_two_allows_two_releases_and_refuses_the_third_uncounted() -> None:
    budgets = Budgets(max_releases=2)
    assert isinstance(after_release(Spent(releases=1), budgets, after_us=SECOND), Released)
    assert after_release(Spent(releases=2), budgets, after_us=SECOND) == Exhausted(spent=Spent(releases=2), reason="deadline")


def test_a_bound_of_no_releases_refuses_the_first() -> None:
    assert isinstance(after_release(Spent(), Budgets(max_releases=0), after_us=SECOND), Exhausted)


def test_no_budget_pays_for_another() -> None:
    spent, budgets = Spent(failures=1, interruptions=4, releases=7), Budgets()
    assert fail(spent, budgets).spent == Spent(failures=2, interruptions=4, releases=7)
    assert after_interruption(spent, budgets).spent == Spent(failures=1, interruptions=5, releases=7)
    assert after_release(spent, budgets, after_us=0).spent == Spent(failures=1, interruptions=4, releases=8)


def test_a_run_whose_failures_and_releases_are_used_up_still_survives_an_interruption() -> None:
    spent, budgets = Spent(failures=2, releases=5), Budgets(max_attempts=3, max_releases=5)
    assert isinstance(after_interruption(spent, budgets), Retrying)


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("max_attempts", 0, "max_attempts must be a whole number from 1 to 1000000 \\(1 is no retry\\), got 0"),
        ("max_attempts", 1_000_001, "max_attempts"),
        ("max_attempts", True, "max_attempts"),
        ("max_attempts", 2.0, "max_attempts"),
        ("max_attempts", None, "max_attempts"),
        ("max_interruptions", 0, "max_interruptions must be a whole number from 1 to 1000000"),
        ("max_releases", -1, "max_releases must be a whole number from 0 to 1000000 \\(None is unbounded\\), got -1"),
    ],
)
def test_an_impossible_bound_is_refused_saying_what_to_write(option: str, value: Any, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint) as caught:
        Budgets(**{option: value})
    assert caught.value.details == {"option": option}
