"""Delays against exact arithmetic, and the bounds that hold for every policy."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.durations import DAY
from mainspring.core.retry import (
    LONGEST_DELAY,
    Backoff,
    Exponential,
    Fixed,
    Linear,
    Steps,
    as_data,
    delay_us,
    from_data,
)

SPANS = st.integers(0, 3653 * DAY)
CAPPED = st.tuples(SPANS, SPANS).map(sorted)
FACTORS = st.floats(1, 1000)
POLICIES: st.SearchStrategy[Backoff] = st.one_of(
    SPANS.map(lambda span: Fixed(delay_us=span)),
    CAPPED.map(lambda pair: Linear(step_us=pair[0], max_us=pair[1])),
    st.builds(lambda pair, factor: Exponential(initial_us=pair[0], factor=factor, max_us=pair[1]), CAPPED, FACTORS),
    st.lists(SPANS, min_size=1, max_size=20).map(lambda spans: Steps(delays_us=tuple(spans))),
)
RETRIES = st.one_of(st.integers(1, 100), st.integers(1, 10**6), st.integers(1, 10**400))
DRAWS = st.floats(0, 1, exclude_max=True)


def full_delay(policy: Backoff, n: int) -> int:
    return delay_us(policy, n, jitter=0.0, draw=0.0)


@given(POLICIES, RETRIES, st.floats(0, 1), DRAWS)
def test_a_jittered_delay_lies_between_its_share_and_the_full_delay(policy: Backoff, n: int, jitter: float, draw: float) -> None:
    full = full_delay(policy, n)
    assert 0 <= full <= LONGEST_DELAY
    assert full - Fraction(full) * Fraction(jitter) - 1 <= delay_us(policy, n, jitter=jitter, draw=draw) <= full


@given(CAPPED, FACTORS, RETRIES)
def test_growing_delays_never_shrink_and_never_pass_their_cap(pair: list[int], factor: float, n: int) -> None:
    first, cap = pair
    policies: list[Backoff] = [
        Linear(step_us=first, max_us=cap),
        Exponential(initial_us=first, factor=factor, max_us=cap),
    ]
    for policy in policies:
        assert full_delay(policy, n) <= full_delay(policy, n + 1) <= min(cap, LONGEST_DELAY)


@given(CAPPED, st.integers(1, 50), st.integers(1, 200))
def test_exponential_agrees_with_exact_arithmetic(pair: list[int], factor: int, n: int) -> None:
    first, cap = pair
    exact = min(first * factor ** (n - 1), cap, LONGEST_DELAY)
    assert full_delay(Exponential(initial_us=first, factor=float(factor), max_us=cap), n) == exact


@given(POLICIES)
def test_a_stored_policy_reads_back_as_it_was(policy: Backoff) -> None:
    assert from_data(as_data(policy)) == policy
