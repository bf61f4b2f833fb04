"""The decision ``settle``: what becomes of a run whose attempt ended, for every outcome in both active states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.attempts import (
    Failed,
    GaveItselfBack,
    Interrupted,
    Outcome,
    Stopped,
    Succeeded,
    Unstarted,
    Unworkable,
    move,
    settle,
)
from mainspring.core.budgets import SHORTEST_RELEASE, Budgets
from mainspring.core.durations import DAY, SECOND
from mainspring.core.events import Event, fold
from mainspring.core.policy import Policy
from mainspring.core.retry import exponential, fixed
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, MOVES, EventType, State
from mainspring.errors import BrokenInvariant

NOON = 1_900_000_000_000_000
POLICY = Policy(budgets=Budgets(max_attempts=3, max_interruptions=3, max_releases=2), backoff=fixed("10s"), jitter=0.5)
BEGINNING = [
    Event(run_id="r", seq=1, type=EventType.CREATED, state=State.QUEUED, at=NOON, actor="a", data={"lane": 1, "policy": 2}),
    Event(run_id="r", seq=2, type=EventType.CLAIMED, state=State.RUNNING, at=NOON, actor="worker:w1"),
]
RUNNING = fold(BEGINNING)
CANCELLING = replace(RUNNING, state=State.CANCELLING)
OUTCOMES: list[Outcome] = [
    Succeeded(b"1"), Failed(code="error", message=""), GaveItselfBack(after_us=SECOND), Interrupted("worker_lost"), Unstarted(),
    Stopped(), Unworkable("invalid_payload", ""),
]  # fmt: skip


def settled(
    outcome: Outcome, run: Run = RUNNING, *, policy: Policy = POLICY, draw: float = 0.0
) -> tuple[State, str | None, int | None]:
    change = settle(run, run.state, outcome, policy, draw=draw, actor="worker:w1")
    return change.state, change.reason, change.delay


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
@pytest.mark.parametrize("run", [RUNNING, CANCELLING], ids=["running", "cancelling"])
def test_every_outcome_is_a_move_of_the_table_under_the_fence_of_the_run(run: Run, outcome: Outcome) -> None:
    change = settle(run, run.state, outcome, POLICY, draw=0.0, actor="worker:w1")
    assert (change.origin, change.state) in MOVES[change.type]
    assert (change.id, change.token, change.seq, change.holds) == ("r", 1, 3, 0)


def test_a_failure_with_budget_left_is_retried_after_its_back_off() -> None:
    assert settled(Failed(code="busy", message="")) == (State.RETRYING, "busy", 10 * SECOND)


def test_jitter_only_shortens_the_wait() -> None:
    assert settled(Failed(code="busy", message=""), draw=0.999)[2] == pytest.approx(5 * SECOND, rel=0.01)


def test_the_last_failure_of_the_budget_ends_the_run() -> None:
    assert settled(Failed(code="busy", message=""), replace(RUNNING, failures=2)) == (State.FAILED, "busy", None)


def test_a_final_failure_ends_the_run_at_once() -> None:
    assert settled(Failed(code="bad", message="", final=True)) == (State.FAILED, "bad", None)


def test_a_failure_names_its_own_delay_exactly_but_within_thirty_days() -> None:
    assert settled(Failed(code="busy", message="", after_us=7), draw=0.9)[2] == 7
    assert settled(Failed(code="busy", message="", after_us=400 * DAY))[2] == 30 * DAY


def test_a_failure_is_told_with_what_is_known_of_it_and_nothing_else() -> None:
    assert Failed(code="c", message="m").as_data() == {"code": "c", "message": "m"}
    assert Failed(code="c", message="m", type="OSError", traceback="tb").as_data() == {
        "code": "c", "message": "m", "type": "OSError", "traceback": "tb"
    }  # fmt: skip


def test_a_release_waits_at_least_a_moment() -> None:
    assert settled(GaveItselfBack(after_us=0, reason="busy")) == (State.RELEASED, "busy", SHORTEST_RELEASE)


def test_a_release_until_an_instant_has_no_delay() -> None:
    change = settle(RUNNING, State.RUNNING, GaveItselfBack(until=NOON + 5), POLICY, draw=0.0, actor="a")
    assert (change.due_at, change.delay) == (NOON + 5, None)


def test_a_release_beyond_its_bound_fails_the_run() -> None:
    assert settled(GaveItselfBack(), replace(RUNNING, releases=2)) == (State.FAILED, "deadline", None)


def test_the_first_interruption_is_due_at_once_and_the_next_back_off() -> None:
    assert settled(Interrupted("worker_lost")) == (State.QUEUED, "worker_lost", 0)
    assert settled(Interrupted("worker_lost"), replace(RUNNING, interruptions=1)) == (State.RETRYING, "worker_lost", 5 * SECOND)


def test_a_shutdown_never_backs_off() -> None:
    assert settled(Interrupted("shutdown", shutdown=True), replace(RUNNING, interruptions=1)) == (State.QUEUED, "shutdown", 0)


def test_the_last_interruption_of_the_budget_ends_the_run() -> None:
    assert settled(Interrupted("worker_lost"), replace(RUNNING, interruptions=2)) == (State.FAILED, "interrupted", None)


def test_a_run_that_stops_unasked_has_failed_for_good() -> None:
    assert settled(Stopped()) == (State.FAILED, "cancelled", None)


def test_what_cannot_be_worked_on_is_parked() -> None:
    assert settled(Unworkable("invalid_payload", "why")) == (State.NEEDS_ATTENTION, "invalid_payload", None)


@pytest.mark.parametrize(
    "outcome", [each for each in OUTCOMES if not isinstance(each, Failed)], ids=lambda each: type(each).__name__
)
def test_a_run_asked_to_stop_ends_cancelled(outcome: Outcome) -> None:
    change = settle(CANCELLING, State.CANCELLING, outcome, POLICY, draw=0.0, actor="a")
    assert change.state is State.CANCELLED
    assert change.body == (b"1" if isinstance(outcome, Succeeded) else None)


def test_a_run_asked_to_stop_that_failed_says_so() -> None:
    assert settled(Failed(code="error", message=""), CANCELLING) == (State.FAILED, "error", None)


def test_a_move_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(BrokenInvariant):
        move(RUNNING, EventType.CLAIMED, State.RUNNING, State.RUNNING, actor="a")


def test_a_move_keeps_what_it_does_not_name() -> None:
    spent = replace(RUNNING, failures=1, interruptions=2, releases=3)
    change = move(spent, EventType.CANCEL_REQUESTED, State.RUNNING, State.CANCELLING, actor="user:ann", reason="slow")
    assert (change.failures, change.interruptions, change.releases, change.holds, change.requested) == (1, 2, 3, 1, 1)
    assert (change.data, change.due_at, change.delay) == ({"reason": "slow"}, None, None)


outcomes = st.one_of(
    st.builds(Succeeded, st.none() | st.binary()),
    st.builds(Failed, code=st.just("error"), message=st.text(), final=st.booleans(), after_us=st.none() | st.integers(0, 10**15)),
    st.builds(
        GaveItselfBack,
        after_us=st.integers(0, 10**12),
        until=st.none() | st.integers(0, NOON * 2),
        reason=st.none() | st.text(),
    ),
    st.builds(Interrupted, st.just("worker_lost"), shutdown=st.booleans()),
    st.just(Unstarted()),
    st.just(Stopped()),
    st.just(Unworkable("invalid_payload", "")),
)


@given(
    outcome=outcomes,
    origin=st.sampled_from(sorted(ACTIVE)),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_folding_the_event_of_any_move_gives_the_columns_of_the_move(outcome: Outcome, origin: State, draw: float) -> None:
    asked = [Event(run_id="r", seq=3, type=EventType.CANCEL_REQUESTED, state=State.CANCELLING, at=NOON, actor="a")]
    ledger = [*BEGINNING, *(asked if origin is State.CANCELLING else [])]
    before = fold(ledger)
    change = settle(before, origin, outcome, replace(POLICY, backoff=exponential()), draw=draw, actor="worker:w1")
    after = fold(
        [
            *ledger,
            Event(
                run_id="r",
                seq=change.seq,
                type=change.type,
                state=change.state,
                at=NOON + 9,
                actor=change.actor,
                data=change.data or {},
            ),
        ]
    )
    due_at = before.due_at
    if change.due_at is not None or change.delay is not None:
        due_at = NOON + 9 + (change.delay or 0) if change.due_at is None else max(change.due_at, NOON + 9)
    assert (after.state, after.reason, after.due_at) == (change.state, change.reason, due_at)
    assert (after.failures, after.interruptions, after.releases) == (change.failures, change.interruptions, change.releases)
    assert (after.ended_at is not None, after.worker_id is not None) == (bool(change.ended), bool(change.holds))
