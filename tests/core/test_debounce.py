"""When the run of a burst of calls is due: whatever calls come, and whenever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.capacity import over, retry_after
from mainspring.core.debounce import Debounce, throttle
from mainspring.core.durations import MINUTE, SECOND
from mainspring.errors import InvalidOption

spans = st.integers(min_value=1, max_value=10_000)
gaps = st.lists(st.integers(min_value=0, max_value=20_000_000), max_size=50)


@given(quiet=spans, factor=st.integers(min_value=1, max_value=20), gaps=gaps)
def test_a_burst_runs_when_it_has_been_quiet_and_within_max_wait_of_its_first_call(
    quiet: int, factor: int, gaps: list[int]
) -> None:
    gather = Debounce(quiet, quiet * factor)
    first = last = 0
    due = gather.due_at(first, last)
    for gap in gaps:
        if last + gap >= due:  # the burst is over before this call
            break
        before, last = due, last + gap
        due = gather.due_at(first, last)
        assert before <= due <= first + gather.max_wait_us
    assert due == min(last + gather.quiet_us, first + gather.max_wait_us)
    assert due > last or due == first + gather.max_wait_us


def test_max_wait_is_ten_times_quiet_unless_set() -> None:
    assert Debounce("5s").max_wait_us == 50 * SECOND
    assert Debounce("5s", "1m").max_wait_us == MINUTE


def test_a_throttle_is_a_leading_edge_with_one_run_in_its_span() -> None:
    once = throttle("10s")
    assert (once.leads, once.due_at(0, 0), once.due_at(0, 9 * SECOND)) == (True, 10 * SECOND, 10 * SECOND)


@pytest.mark.parametrize(
    ("args", "option"),
    [(("0s",), "quiet"), (("5s", "1s"), "max_wait"), (("5s", None, "middle"), "edge"), (("soon",), "quiet")],
)
def test_what_cannot_be_a_debounce_is_refused(args: tuple[str, ...], option: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Debounce(*args)  # type: ignore[arg-type]
    assert refused.value.details["option"] == option


# -- room in queues ----------------------------------------------------------------------------------------------------


@given(waiting=st.integers(0, 10_000), coming=st.integers(1, 10_000), most=st.integers(0, 10_000))
def test_what_is_kept_out_leaves_as_many_as_may_wait(waiting: int, coming: int, most: int) -> None:
    out = over(waiting, coming, most)
    assert out >= 0
    assert waiting + coming - out <= max(most, 0) or out == 0
    assert out == 0 or waiting + coming - out == most


def test_a_caller_is_told_to_come_back_when_the_queue_will_have_moved_on() -> None:
    assert retry_after(20 * SECOND, 100, 5) == SECOND
    assert retry_after(None, 100, 5) == SECOND
    assert retry_after(1, 1_000, 1) == 100_000
    assert retry_after(10**12, 1, 100) == 5 * MINUTE
