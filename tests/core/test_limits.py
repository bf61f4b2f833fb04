"""The arithmetic of rates."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.durations import SECOND
from mainspring.core.limits import Limit, Pace, Rate
from mainspring.errors import InvalidOption

NOW = 1_000 * SECOND


def test_a_rate_that_was_never_used_lets_its_burst_through_and_no_more() -> None:
    pace = Pace.of(10, SECOND, burst=3, cost=1)
    assert pace.admits(0, NOW) == 3
    assert pace.admits(pace.after(0, NOW, 3), NOW) == 0
    assert pace.opens_at(pace.after(0, NOW, 3)) == NOW + SECOND // 10


def test_a_rate_that_is_shut_opens_at_its_instant_and_not_before() -> None:
    pace = Pace.of(4, SECOND, burst=1, cost=1)
    next_at = pace.after(0, NOW, 1)
    opens = pace.opens_at(next_at)
    assert opens is not None
    assert (pace.admits(next_at, opens - 1), pace.admits(next_at, opens)) == (0, 1)


def test_a_rate_of_nothing_never_opens() -> None:
    pace = Pace.of(0, SECOND, burst=5, cost=1)
    assert (pace.admits(0, NOW), pace.opens_at(0)) == (0, None)


def test_what_did_not_begin_after_all_is_given_back() -> None:
    pace = Pace.of(1, SECOND, burst=1, cost=1)
    assert pace.admits(pace.after(pace.after(0, NOW, 1), NOW, -1), NOW) == 1


@given(
    n=st.integers(1, 50), per=st.integers(1_000, 10 * SECOND), burst=st.integers(1, 20), cost=st.integers(1, 3),
    waits=st.lists(st.integers(0, 3 * SECOND), max_size=60),
)  # fmt: skip
def test_no_stretch_of_time_holds_more_than_its_rate_and_one_burst(
    n: int, per: int, burst: int, cost: int, waits: list[int]
) -> None:
    pace = Pace.of(n, per, burst=burst, cost=cost)
    next_at, now, begun = 0, NOW, list[int]()
    for wait in waits:
        now += wait
        admitted = pace.admits(next_at, now)
        begun += [now] * admitted
        if admitted:
            next_at = pace.after(next_at, now, admitted)
        assert pace.admits(next_at, now) == 0
    for first, start in enumerate(begun):
        for last in range(first, len(begun)):
            runs = last - first + 1
            assert (runs - burst) * cost * per <= n * (begun[last] - start) + n  # the + n: instants are whole µs


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limit(-1),
        lambda: Limit(True),
        lambda: Rate(-1, per="1s"),
        lambda: Rate(1, per="0s"),
        lambda: Rate(1, per="1s", burst=0),
        lambda: Rate(1, per="1s", cost=0),
        lambda: Rate(20_000, per="1s", strict=True),
    ],
)
def test_what_is_no_limit_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidOption):
        make()
