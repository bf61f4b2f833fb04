"""The fold: a ledger gives its run back exactly, and a ledger that cannot be is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.events import Event, fold
from mainspring.core.states import ACTIVE, MOVES, TERMINAL, EventType, State
from mainspring.errors import BrokenInvariant

NOON = 1_900_000_000_000_000


def created(state: State = State.QUEUED, **data: Any) -> Event:
    return event(1, EventType.CREATED, state, lane=11, policy=22, **data)


def event(seq: int, kind: EventType, state: State, *, actor: str = "user:ann", **data: Any) -> Event:
    return Event(run_id="r", seq=seq, type=kind, state=state, at=NOON + seq, actor=actor, data=data)


def claimed(seq: int, worker: str = "w1") -> Event:
    return event(seq, EventType.CLAIMED, State.RUNNING, actor=f"worker:{worker}")


def test_a_created_run_has_what_its_event_says() -> None:
    run = fold([created(key="k", singleton="s", batch="b", rerun_of="o")])
    assert (run.lane_id, run.policy_id, run.state, run.token, run.seq, run.payload_seq) == (11, 22, State.QUEUED, 0, 1, 1)
    assert (run.idempotency_key, run.singleton_key, run.batch_id, run.rerun_of) == ("k", "s", "b", "o")
    assert (run.created_at, run.due_at, run.ended_at) == (NOON + 1, NOON + 1, None)


@pytest.mark.parametrize(
    ("data", "due_at"),
    [({}, NOON + 1), ({"delay": 500}, NOON + 501), ({"due_at": NOON + 900}, NOON + 900), ({"due_at": 5}, NOON + 1)],
    ids=["now", "delay", "instant", "past instant"],
)
def test_the_due_instant_of_a_created_run(data: dict[str, int], due_at: int) -> None:
    assert fold([created(State.SCHEDULED, **data)]).due_at == due_at


def test_a_claim_raises_the_token_and_names_the_holder() -> None:
    run = fold([created(), claimed(2)])
    assert (run.state, run.token, run.worker_id) == (State.RUNNING, 1, "w1")


def test_a_holder_keeps_the_run_while_it_is_asked_to_stop() -> None:
    run = fold([created(), claimed(2), event(3, EventType.CANCEL_REQUESTED, State.CANCELLING, reason="slow")])
    assert (run.worker_id, run.cancel_requested_at, run.reason) == ("w1", NOON + 3, "slow")


@pytest.mark.parametrize(
    ("kind", "state", "spent"),
    [
        (EventType.RETRY_SCHEDULED, State.RETRYING, (1, 0, 0)),
        (EventType.FAILED, State.FAILED, (1, 0, 0)),
        (EventType.INTERRUPTED, State.RETRYING, (0, 1, 0)),
        (EventType.INTERRUPTED, State.FAILED, (0, 1, 0)),
        (EventType.RELEASED, State.RELEASED, (0, 0, 1)),
        (EventType.GIVEN_BACK, State.QUEUED, (0, 0, 0)),
        (EventType.PARKED, State.NEEDS_ATTENTION, (0, 0, 0)),
        (EventType.SUCCEEDED, State.SUCCEEDED, (0, 0, 0)),
    ],
)
def test_each_end_of_an_attempt_spends_its_own_budget_and_lets_go(
    kind: EventType, state: State, spent: tuple[int, int, int]
) -> None:
    run = fold([created(), claimed(2), event(3, kind, state)])
    assert (run.failures, run.interruptions, run.releases) == spent
    assert (run.worker_id, run.token) == (None, 1)
    assert run.ended_at == (NOON + 3 if state in TERMINAL else None)


def test_a_person_failing_a_parked_run_spends_no_failure() -> None:
    parked = event(2, EventType.PARKED, State.NEEDS_ATTENTION, reason="unknown_task")
    run = fold([created(), parked, event(3, EventType.FAILED, State.FAILED, reason="hopeless")])
    assert (run.failures, run.reason) == (0, "hopeless")


def test_a_failure_counts_its_delay_from_its_own_instant() -> None:
    run = fold([created(), claimed(2), event(3, EventType.RETRY_SCHEDULED, State.RETRYING, delay=70, reason="error")])
    assert (run.due_at, run.reason) == (NOON + 73, "error")


def test_becoming_due_keeps_the_place_and_forgets_the_reason() -> None:
    run = fold([created(State.SCHEDULED, delay=1), event(2, EventType.DUE, State.QUEUED)])
    assert (run.due_at, run.reason) == (NOON + 2, None)


def test_no_events_are_no_run() -> None:
    with pytest.raises(BrokenInvariant):
        fold([])


@pytest.mark.parametrize(
    "ledger",
    [
        [claimed(1)],
        [replace(created(), seq=2)],
        [created(), claimed(3)],
        [created(), created()],
        [created(), event(2, EventType.SUCCEEDED, State.SUCCEEDED)],
        [created(State.RUNNING)],
        [created(), event(2, EventType.CANCELLED, State.CANCELLED), event(3, EventType.DUE, State.QUEUED)],
    ],
    ids=["no beginning", "late beginning", "gap", "two beginnings", "success without claim", "born running", "after the end"],
)
def test_a_ledger_that_cannot_be_is_refused(ledger: list[Event]) -> None:
    with pytest.raises(BrokenInvariant):
        fold(ledger)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Event]:
    """A walk through the table of moves, as long as it goes on."""
    _, state = draw(st.sampled_from(sorted(MOVES[EventType.CREATED], key=str)))
    ledger = [created(state)]
    for seq in range(2, draw(st.integers(2, 30))):
        steps = sorted((kind, target) for kind, moves in MOVES.items() for origin, target in moves if origin == state)
        if not steps:
            break
        kind, state = draw(st.sampled_from(steps))
        ledger.append(event(seq, kind, state, actor=f"worker:w{seq}", delay=draw(st.integers(0, 10**9))))
    return ledger


@given(ledgers())
def test_any_walk_through_the_table_folds_to_where_it_stopped(ledger: list[Event]) -> None:
    run = fold(ledger)
    assert (run.state, run.seq) == (ledger[-1].state, len(ledger))
    assert run.token == sum(each.type is EventType.CLAIMED for each in ledger)
    assert (run.worker_id is not None) == (run.state in ACTIVE)
    assert (run.ended_at is not None) == run.is_terminal


@given(ledgers())
def test_the_fold_of_a_beginning_is_the_run_as_it_was_then(ledger: list[Event]) -> None:
    for place, each in enumerate(ledger):
        assert fold(ledger[: place + 1]).state is each.state
