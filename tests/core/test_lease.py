"""Lease arithmetic: renewal, trust, and the reaper's brake."""

import pytest

from mainspring.core.durations import SECOND
from mainspring.core.lease import (
    DEFAULT_TTL,
    is_trusted,
    longest_backoff_us,
    may_be_reaped,
    reap_hold_until,
    renew_due_at,
    trusted_until,
)


def test_a_lease_lasts_thirty_seconds_renews_at_ten_and_is_trusted_for_twenty_seven() -> None:
    assert DEFAULT_TTL == 30 * SECOND
    assert renew_due_at(5 * SECOND) == 15 * SECOND
    assert trusted_until(5 * SECOND) == 32 * SECOND


@pytest.mark.parametrize("ttl", [1, 2, 3, 10, 999, 7 * SECOND, 3600 * SECOND])
def test_a_lease_is_renewed_before_trust_ends_and_trust_ends_before_the_lease(ttl: int) -> None:
    assert renew_due_at(100, ttl) <= trusted_until(100, ttl) < 100 + ttl


def test_trust_ends_at_the_instant_itself() -> None:
    assert is_trusted(0, 27 * SECOND - 1)
    assert not is_trusted(0, 27 * SECOND)


def test_a_confirmed_renewal_restores_trust() -> None:
    assert not is_trusted(0, 28 * SECOND)
    assert is_trusted(20 * SECOND, 28 * SECOND)


def test_trust_has_room_for_two_failed_renewals() -> None:
    first_try = renew_due_at(0)
    second_try = renew_due_at(first_try)
    assert is_trusted(0, second_try)


@pytest.mark.parametrize("silence", [0, 1, 15 * SECOND, -60 * SECOND])
def test_a_database_that_ticked_lately_sets_no_hold(silence: int) -> None:
    assert reap_hold_until(1000 * SECOND, 1000 * SECOND + silence) is None


@pytest.mark.parametrize("silence", [15 * SECOND + 1, 31 * SECOND, 3600 * SECOND])
def test_after_an_outage_nothing_is_reaped_for_one_whole_ttl(silence: int) -> None:
    now = 1000 * SECOND + silence
    assert reap_hold_until(1000 * SECOND, now) == now + 30 * SECOND


def test_a_database_that_never_ticked_gives_the_fleet_one_ttl() -> None:
    assert reap_hold_until(None, 7 * SECOND, ttl=4 * SECOND) == 11 * SECOND


def test_a_short_lease_has_a_short_brake() -> None:
    assert reap_hold_until(0, 2 * SECOND + 1, ttl=4 * SECOND) == 6 * SECOND + 1


@pytest.mark.parametrize(
    ("expires_at", "hold_until", "reaped"),
    [
        (99, None, True),
        (100, None, True),
        (101, None, False),
        (99, 100, True),
        (99, 101, False),
        (101, 99, False),
    ],
)
def test_a_lease_is_reaped_once_it_lapsed_and_no_hold_protects_it(expires_at: int, hold_until: int | None, reaped: bool) -> None:
    assert may_be_reaped(expires_at, now=100, hold_until=hold_until) is reaped


@pytest.mark.parametrize("ttl", [1 * SECOND, 2 * SECOND, 30 * SECOND, 3600 * SECOND])
def test_after_an_outage_everybody_tries_several_times_before_the_brake_is_released(ttl: int) -> None:
    assert longest_backoff_us(ttl) <= 5 * SECOND
    assert 4 * longest_backoff_us(ttl) <= ttl
