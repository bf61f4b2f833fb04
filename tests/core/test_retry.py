"""Back-off: the delay before the n-th retry."""

from datetime import timedelta
from typing import Any

import pytest

from mainspring.core.durations import DAY, MINUTE, SECOND
from mainspring.core.retry import (
    DEFAULT_BACKOFF,
    LONGEST_DELAY,
    Backoff,
    Exponential,
    Fixed,
    Linear,
    Steps,
    as_data,
    called_delay_us,
    check_jitter,
    clamp_delay,
    delay_us,
    exponential,
    fixed,
    from_data,
    kinds_of,
    linear,
    parse_backoff,
    steps,
)
from mainspring.errors import BrokenInvariant, InvalidOption

POLICIES: list[Backoff] = [
    Fixed(delay_us=5 * SECOND),
    Linear(step_us=SECOND, max_us=MINUTE),
    Exponential(),
    Exponential(initial_us=3, factor=1.5, max_us=7),
    Steps(delays_us=(1, 20, 300)),
]


def plain(backoff: Backoff, n: int) -> int:
    return delay_us(backoff, n, jitter=0, draw=0)


def test_fixed_waits_the_same_each_time() -> None:
    assert [plain(fixed("5s"), n) for n in (1, 2, 1000)] == [5 * SECOND] * 3


def test_linear_grows_by_its_step_up_to_its_cap() -> None:
    assert [plain(linear("5s", "12s"), n) // SECOND for n in (1, 2, 3, 4)] == [5, 10, 12, 12]


def test_exponential_by_default_doubles_from_a_second_to_five_minutes() -> None:
    expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert [plain(exponential(), n) // SECOND for n in range(1, 12)] == expected
    assert exponential() == DEFAULT_BACKOFF


def test_exponential_with_factor_one_never_grows() -> None:
    policy = exponential("2s", factor=1)
    assert {plain(policy, n) for n in (1, 2, 10**6, 10**400)} == {2 * SECOND}


def test_exponential_from_nothing_stays_nothing() -> None:
    assert {plain(exponential("0s"), n) for n in (1, 2, 10**6)} == {0}


def test_steps_end_in_their_last() -> None:
    assert [plain(steps("1s", "10s", "1m"), n) // SECOND for n in (1, 2, 3, 4, 99)] == [1, 10, 60, 60, 60]


@pytest.mark.parametrize("n", [1_000, 10**6, 10**400], ids=["1000", "a million", "400 digits"])
@pytest.mark.parametrize(
    ("policy", "cap"),
    [(Linear(step_us=1, max_us=900), 900), (Exponential(), 300 * SECOND), (Exponential(factor=1000.0), 300 * SECOND)],
)
def test_no_number_of_retries_overflows_or_passes_the_cap(policy: Backoff, cap: int, n: int) -> None:
    assert plain(policy, n) == cap


@pytest.mark.parametrize("policy", POLICIES)
def test_jitter_only_ever_shortens_so_a_cap_stays_a_cap(policy: Backoff) -> None:
    for n in (1, 2, 1000):
        full = plain(policy, n)
        drawn = [delay_us(policy, n, jitter=0.1, draw=draw) for draw in (0.0, 0.5, 0.999999)]
        assert drawn[0] == full
        assert all(full * 0.9 <= delay <= full for delay in drawn)
        assert drawn == sorted(drawn, reverse=True)


def test_full_jitter_may_take_nearly_all_of_the_delay() -> None:
    assert delay_us(fixed("100s"), 1, jitter=1, draw=0.75) == 25 * SECOND


def test_delays_are_clamped_to_thirty_days() -> None:
    assert plain(fixed("60d"), 1) == LONGEST_DELAY == 30 * DAY
    assert [clamp_delay(delay) for delay in (-1, 0, 7, 31 * DAY)] == [0, 0, 7, 30 * DAY]


def test_retries_count_from_one() -> None:
    with pytest.raises(BrokenInvariant, match="retries count from 1, got 0"):
        plain(Fixed(delay_us=1), 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stored_policy_reads_back_as_it_was(policy: Backoff) -> None:
    assert from_data(as_data(policy)) == policy


def test_the_stored_form_is_a_short_list() -> None:
    assert [as_data(policy) for policy in POLICIES] == [
        ["fixed", 5_000_000],
        ["linear", 1_000_000, 60_000_000],
        ["exponential", 1_000_000, 2.0, 300_000_000],
        ["exponential", 3, 1.5, 7],
        ["steps", 1, 20, 300],
    ]


def test_a_factor_stored_as_a_whole_number_reads_back_as_a_float() -> None:
    policy = from_data(["exponential", 1, 2, 3])
    assert isinstance(policy, Exponential)
    assert isinstance(policy.factor, float)


@pytest.mark.parametrize("data", [None, [], ["fixed"], ["fixed", "1"], ["steps"], ["steps", 1, "2"], ["spiral", 1], {}])
def test_an_unreadable_stored_policy_is_our_bug(data: Any) -> None:
    with pytest.raises(BrokenInvariant, match="stored back-off cannot be read"):
        from_data(data)


def test_the_backoff_option_takes_a_policy_or_a_list_of_delays() -> None:
    for policy in POLICIES:
        assert parse_backoff(policy) is policy
    assert parse_backoff(["1s", 10]) == parse_backoff(("1s", "10s")) == Steps(delays_us=(SECOND, 10 * SECOND))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("5s", r'backoff must be fixed\("5s"\)'),
        (5, r'backoff must be fixed\("5s"\)'),
        ([], "backoff needs at least one delay"),
        (["1s", "soon"], "backoff 'soon' is no duration"),
    ],
)
def test_a_bad_backoff_option_is_refused_saying_what_to_write(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint) as caught:
        parse_backoff(value)
    assert caught.value.details == {"option": "backoff"}


def test_a_cap_below_the_first_delay_is_refused() -> None:
    with pytest.raises(InvalidOption, match="max '5m' is shorter than initial '10m': raise max"):
        exponential("10m")
    with pytest.raises(InvalidOption, match="max 1 is shorter than step '2s'"):
        linear("2s", 1)


@pytest.mark.parametrize("factor", [0.5, 0, -1, 1001, float("nan"), float("inf"), True, "2"])
def test_a_factor_that_does_not_grow_or_grows_absurdly_is_refused(factor: Any) -> None:
    with pytest.raises(InvalidOption, match="factor must be a number from 1 to 1000"):
        exponential(factor=factor)


def test_jitter_is_a_share_of_the_delay() -> None:
    assert [check_jitter(share) for share in (0, 0.1, 1)] == [0.0, 0.1, 1.0]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True, "0.1", None])
def test_jitter_outside_of_zero_to_one_is_refused(share: Any) -> None:
    with pytest.raises(InvalidOption, match="jitter must be a number from 0 to 1"):
        check_jitter(share)


# -- functions of the task's own, and which errors are tried again -------------------------------------------------------


class BothKindsError(OSError, ValueError):
    """Neither is the more specific."""


@pytest.mark.parametrize(
    ("on", "never", "error", "again"),
    [
        ([], [], KeyError, True),
        ([OSError], [], ConnectionResetError, True),
        ([OSError], [], KeyError, False),
        ([], [OSError], ConnectionResetError, False),
        ([], [OSError], KeyError, True),
        ([Exception], [OSError], ConnectionResetError, False),
        ([ConnectionError], [OSError], ConnectionResetError, True),
        ([ConnectionError], [OSError, ConnectionResetError], ConnectionResetError, False),
        ([OSError], [OSError], OSError, False),
        ([OSError], [ValueError], BothKindsError, False),
        ([OSError, BothKindsError], [ValueError], BothKindsError, True),
    ],
)
def test_the_most_specific_type_decides_and_a_tie_is_no_retry(
    on: list[type[Exception]], never: list[type[Exception]], error: type[Exception], again: bool
) -> None:
    assert kinds_of(on, never).retries(error) is again


@pytest.mark.parametrize(
    ("answer", "delay"),
    [(0, 0), (1.5, 1_500_000), (-1, 0), (1e30, LONGEST_DELAY), (float("inf"), LONGEST_DELAY), (timedelta(days=1), DAY)],
)
def test_what_a_function_says_is_clamped(answer: Any, delay: int) -> None:
    assert called_delay_us(lambda n, failure: answer, 1, None) == delay


@pytest.mark.parametrize("answer", ["5s", None, True, float("nan")])
def test_what_is_no_number_of_seconds_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="must give seconds"):
        called_delay_us(lambda n, failure: answer, 1, None)


def test_who_has_no_code_goes_by_the_default() -> None:
    called = parse_backoff(lambda n, failure: 5.0)
    assert from_data(as_data(called)) == called
    assert delay_us(called, 3, jitter=0, draw=0) == delay_us(Exponential(), 3, jitter=0, draw=0)
