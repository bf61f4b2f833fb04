"""Logins: how long they last, how failures slow the next try, what can be a password."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.core.logins import (
    BUCKETS,
    FREE_FAILURES,
    LONGEST_WAIT_US,
    Login,
    Throttle,
    bucket_of,
    checked_password,
    is_over,
    next_try,
    spelt_password,
    wait_after,
)
from mainspring.errors import InvalidOption, LoginThrottled

NOW = 1_000 * DAY
LOGIN = Login(id="x", user="ann", opened_at=NOW, seen_at=NOW, idle_us=HOUR, expires_at=NOW + DAY)


def test_a_login_that_nobody_uses_is_over_after_its_idle_time() -> None:
    assert not is_over(LOGIN, NOW + HOUR - 1)
    assert is_over(LOGIN, NOW + HOUR)


def test_a_login_in_constant_use_is_over_at_its_absolute_end() -> None:
    used = replace(LOGIN, seen_at=NOW + DAY - 1)
    assert not is_over(used, NOW + DAY - 1)
    assert is_over(used, NOW + DAY)


def test_the_first_failures_cost_nothing_then_each_waits_twice_as_long_up_to_a_bound() -> None:
    assert [wait_after(tries) for tries in range(FREE_FAILURES)] == [0] * FREE_FAILURES
    waits = [wait_after(tries) // SECOND for tries in range(FREE_FAILURES, FREE_FAILURES + 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert wait_after(10**9) == LONGEST_WAIT_US


def test_a_try_is_counted_and_the_next_one_opens_after_the_wait() -> None:
    throttle: Throttle | None = None
    for _ in range(FREE_FAILURES):
        throttle = next_try(throttle, NOW)
    assert throttle == Throttle(tries=FREE_FAILURES, opens_at=NOW + SECOND)


def test_a_try_that_comes_too_early_is_refused_and_told_when_to_come() -> None:
    with pytest.raises(LoginThrottled, match="try again in 2s") as refused:
        next_try(Throttle(tries=9, opens_at=NOW + SECOND + 1), NOW)
    assert refused.value.retry_after == pytest.approx(1.000001)
    assert refused.value.retryable


def test_failures_are_forgotten_after_a_day() -> None:
    assert next_try(Throttle(tries=99, opens_at=NOW), NOW + DAY - 1).tries == 100
    assert next_try(Throttle(tries=99, opens_at=NOW), NOW + DAY).tries == 1


def test_whoever_guesses_without_pause_gets_few_hundred_tries_a_day() -> None:
    throttle, now, tries = None, NOW, 0
    while now < NOW + DAY:
        throttle = next_try(throttle, now)
        now, tries = max(throttle.opens_at, now), tries + 1
    assert tries < 310


def test_names_share_a_bounded_number_of_counters() -> None:
    buckets = {bucket_of(f"name{number}") for number in range(2_000)}
    assert max(buckets) < BUCKETS
    assert len(buckets) > 1_900
    assert bucket_of("ann") == bucket_of("ann")


@pytest.mark.parametrize("password", ["short", "x" * 1_025, "\x00" * 20, "\ud800" * 20, None, "annalise-anna", "Annalise-Anna1"])
def test_a_password_that_cannot_be_one_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        checked_password(password, "annalise-anna")
    assert not password or password[:6].casefold() not in refused.value.message.casefold()


@pytest.mark.parametrize("password", ["correct horse", "x" * 1_024, "пароль-пароль", "annalise-anna has a little lamb"])
def test_a_password_is_twelve_to_a_thousand_characters_of_any_script(password: str) -> None:
    assert checked_password(password, "annalise-anna") == password


def test_a_password_is_the_same_however_its_letters_are_composed() -> None:
    assert spelt_password("cafe\u0301 au lait") == spelt_password("caf\u00e9 au lait")
