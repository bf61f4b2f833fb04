"""Who takes a slot of a schedule, who waits, who is turned away: each policy, and what must hold under all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.occurrence import Disposition
from mainspring.core.overlap import SYNONYMS, Admission, OnOverlap, Overlap, Waiter, admit


def waiters(keys: str, *, manual: str = "") -> list[Waiter]:
    return [Waiter(key=key, is_planned=key not in manual) for key in keys]


def decide(policy: OnOverlap, *, active: int = 0, waiting: str = "", arriving: str = "", slots: int | None = 1, manual: str = "",
           buffer_max: int = 100) -> Admission:  # fmt: skip
    overlap = Overlap(policy=policy, max_concurrency=slots, buffer_max=buffer_max)
    return admit(overlap, active=active, waiting=waiters(waiting, manual=manual), arriving=waiters(arriving, manual=manual))


def test_allow_fires_all_at_once() -> None:
    assert decide(OnOverlap.ALLOW, active=9, arriving="abc", slots=None).fired == ("a", "b", "c")


@pytest.mark.case("schedules", 39)
def test_forbid_runs_the_oldest_and_drops_none() -> None:
    found = decide(OnOverlap.FORBID, arriving="abc")
    assert (found.fired, found.fates) == (("a",), {"b": Disposition.WAITING, "c": Disposition.WAITING})
    assert decide(OnOverlap.FORBID, waiting="bc").fired == ("b",)
    assert decide(OnOverlap.FORBID, arriving="abc", slots=3).fired == ("a", "b", "c")


def test_those_who_wait_go_before_those_who_arrive() -> None:
    found = decide(OnOverlap.FORBID, waiting="a", arriving="b")
    assert (found.fired, found.fates) == (("a",), {"b": Disposition.WAITING})


def test_one_more_than_may_wait_is_turned_away_and_said_to_be() -> None:
    found = decide(OnOverlap.FORBID, active=1, waiting="a", arriving="bc", buffer_max=2)
    assert found.fates == {"b": Disposition.WAITING, "c": Disposition.BUFFER_FULL}


def test_skip_lets_nobody_wait() -> None:
    found = decide(OnOverlap.SKIP, arriving="ab")
    assert (found.fired, found.fates) == (("a",), {"b": Disposition.SKIPPED_OVERLAP})


@pytest.mark.case("schedules", 41)
def test_behind_a_running_one_buffer_one_keeps_the_first_of_three_and_queue_latest_the_last() -> None:
    first = decide(OnOverlap.BUFFER_ONE, active=1, arriving="abc")
    assert first.fates == {"a": Disposition.WAITING, "b": Disposition.SKIPPED_OVERLAP, "c": Disposition.SKIPPED_OVERLAP}
    last = decide(OnOverlap.QUEUE_LATEST, active=1, arriving="abc")
    assert (last.fates, last.superseded) == ({"c": Disposition.WAITING}, {"a": "c", "b": "c"})


def test_a_newer_one_takes_the_place_of_the_one_that_waits() -> None:
    found = decide(OnOverlap.QUEUE_LATEST, active=1, waiting="a", arriving="b")
    assert (found.fates, found.superseded) == ({"b": Disposition.WAITING}, {"a": "b"})


def test_of_several_due_together_the_newest_starts() -> None:
    found = decide(OnOverlap.QUEUE_LATEST, arriving="abc")
    assert (found.fired, found.superseded, found.fates) == (("c",), {"a": "c", "b": "c"}, {})


@pytest.mark.case("schedules", 40)
@pytest.mark.parametrize("policy", [OnOverlap.REPLACE, OnOverlap.TERMINATE])
def test_replace_asks_the_active_one_to_stop_and_starts_the_newest_when_it_has_ended(policy: OnOverlap) -> None:
    found = decide(policy, active=1, waiting="a", arriving="b")
    assert (found.fired, found.stops, found.superseded) == ((), 1, {"a": "b"})
    assert decide(policy, active=1, waiting="b").stops == 1
    ended = decide(policy, active=0, waiting="b")
    assert (ended.fired, ended.stops) == (("b",), 0)


@pytest.mark.parametrize("policy", [OnOverlap.SKIP, OnOverlap.BUFFER_ONE, OnOverlap.QUEUE_LATEST, OnOverlap.REPLACE])
def test_a_manual_one_is_neither_turned_away_nor_superseded_and_supersedes_nobody(policy: OnOverlap) -> None:
    found = decide(policy, active=1, waiting="a", arriving="m", manual="m")
    assert found.fates == {"m": Disposition.WAITING}
    assert (found.superseded, found.stops) == ({}, int(policy is OnOverlap.REPLACE))


def test_other_systems_words_mean_the_same() -> None:
    assert SYNONYMS == {"buffer_all": "forbid", "cancel_other": "replace", "terminate_other": "terminate"}


@given(
    policy=st.sampled_from([policy for policy in OnOverlap if policy is not OnOverlap.ALLOW]),
    slots=st.integers(1, 4),
    active=st.integers(0, 6),
    line=st.text("abcdefghij", max_size=10).map(lambda text: "".join(dict.fromkeys(text))),
    cut=st.integers(0, 10),
    manual=st.text("abcdefghij", max_size=4),
    buffer_max=st.integers(1, 5),
)
def test_no_slot_is_given_twice_and_nobody_is_forgotten(
    policy: OnOverlap, slots: int, active: int, line: str, cut: int, manual: str, buffer_max: int
) -> None:
    waiting, arriving = line[:cut], line[cut:]
    found = decide(policy, active=active, waiting=waiting, arriving=arriving, slots=slots, manual=manual, buffer_max=buffer_max)
    assert len(found.fired) <= max(0, slots - active)
    assert len(set(found.fired)) == len(found.fired)
    told = {*found.fired, *found.fates, *found.superseded}
    assert set(arriving) <= told <= set(line)
    assert len(found.fired) + len(found.fates) + len(found.superseded) == len(told)
    assert not set(found.fates) & set(waiting)
    assert not set(found.superseded) & set(manual)
    free = max(0, slots - active) - len(found.fired)
    still = [key for key in waiting if key not in told] + [key for key, fate in found.fates.items() if fate is Disposition.WAITING]
    assert not (free and still)
