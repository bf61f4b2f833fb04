"""Jitter: later by chance, by hash or to where it is quiet, and never past what comes next."""

from __future__ import annotations

import pytest

from mainspring.core.jitter import Jitter, JitterMode, due_at

SECOND = 1_000_000
NOMINAL = 1_800_000_000 * SECOND
HASH, RANDOM, SPREAD = (Jitter(max_us=60 * SECOND, mode=mode) for mode in JitterMode)


def test_a_hashed_delay_is_the_same_for_an_instant_and_spreads_over_schedules() -> None:
    assert due_at(HASH, NOMINAL, seed="a") == due_at(HASH, NOMINAL, seed="a")
    found = {due_at(HASH, NOMINAL, seed=str(n)) for n in range(100)}
    assert len(found) == 100
    assert all(NOMINAL <= at <= NOMINAL + 60 * SECOND for at in found)


def test_a_random_delay_is_the_share_that_was_drawn() -> None:
    assert due_at(RANDOM, NOMINAL, seed="a", draw=0.0) == NOMINAL
    assert due_at(RANDOM, NOMINAL, seed="a", draw=0.5) == NOMINAL + 30 * SECOND
    assert due_at(RANDOM, NOMINAL, seed="a", draw=0.999_999_999_9) <= NOMINAL + 60 * SECOND


def test_a_spread_delay_is_the_quietest_of_eight_seconds() -> None:
    asked: list[int] = []

    def busy(second: int) -> int:
        asked.append(second)
        return 0 if second == asked[-1] and len(asked) == 5 else 7

    found = due_at(SPREAD, NOMINAL, seed="a", busy=busy)
    assert len(asked) == 8
    assert found == asked[4]
    assert all((at - NOMINAL) % SECOND == 0 and NOMINAL <= at <= NOMINAL + 60 * SECOND for at in asked)
    assert due_at(SPREAD, NOMINAL, seed="a") == asked[0], "where nobody knows what is busy, the first"


@pytest.mark.parametrize("jitter", [HASH, RANDOM, SPREAD], ids=lambda jitter: jitter.mode)
def test_no_delay_goes_past_the_next_instant_or_the_end(jitter: Jitter) -> None:
    for n in range(50):
        draw, seed = n / 50, str(n)
        assert due_at(jitter, NOMINAL, seed=seed, draw=draw, following=NOMINAL + 3 * SECOND) < NOMINAL + 3 * SECOND
        assert due_at(jitter, NOMINAL, seed=seed, draw=draw, end_at=NOMINAL + 3 * SECOND) <= NOMINAL + 3 * SECOND
        assert due_at(jitter, NOMINAL, seed=seed, draw=draw, end_at=NOMINAL) == NOMINAL
