"""From what user code did to an outcome: texts that every database can keep, and signals that say nothing readable."""

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Stopped, Succeeded
from mainspring.core.signals import Cancelled, Release, Retry
from mainspring.errors import CommitUnknown, ResultTimeout, StorageConflict, StorageUnavailable
from mainspring.runtime.outcomes import bounded, raised, returned


@given(st.text(st.characters(), max_size=200), st.integers(1, 5), st.integers(60, 300))
def test_a_bounded_text_is_never_longer_and_can_always_be_stored(text: str, times: int, most: int) -> None:
    kept = bounded(text * times, most)
    assert len(kept.encode()) <= most
    assert "\x00" not in kept


def test_a_text_that_is_cut_keeps_its_head_and_its_tail() -> None:
    kept = bounded("a" * 300 + "z" * 300, 200)
    assert kept.startswith("a" * 100)
    assert kept.endswith("z" * 50)
    assert "bytes left out" in kept


def test_a_lone_surrogate_is_replaced() -> None:
    assert bounded("a\udc80b", 100) == "a?b"


def test_a_returned_signal_means_what_a_raised_one_does() -> None:
    assert returned(Release(after=2)) == raised(Release(after=2)) == GaveItselfBack(after_us=2_000_000)
    assert returned(Cancelled()) == Stopped()
    assert returned([1]) == Succeeded(b"[1]")


def test_a_delay_that_is_none_is_a_failure_of_the_task_and_not_of_the_worker() -> None:
    for signal in (Retry(after="soon"), Release(after="soon"), Release(until="one day")):
        outcome = raised(signal)
        assert isinstance(outcome, Failed)
        assert outcome.code == "invalid_option"


def test_trouble_of_the_database_inside_a_task_spends_no_failure_of_the_task() -> None:
    for error in (StorageUnavailable("away"), StorageConflict("busy"), CommitUnknown("who knows")):
        assert raised(error) == Interrupted(error.code)
    assert isinstance(raised(ResultTimeout("not yet")), Failed)
