"""The one table of moves: what it allows, what it can never allow, and that nothing is missing from it."""

from __future__ import annotations

import itertools

import pytest

from mainspring.core.states import (
    ACTIVE,
    MOVES,
    PARKED,
    TERMINAL,
    WAITING,
    WAITING_FOR_TIME,
    EventType,
    State,
    check_move,
)
from mainspring.errors import BrokenInvariant

ALL_MOVES = {(event, origin, target) for event, moves in MOVES.items() for origin, target in moves}


def test_every_state_is_in_exactly_one_class() -> None:
    classes = (WAITING, ACTIVE, PARKED, TERMINAL)
    assert frozenset().union(*classes) == set(State)
    assert sum(map(len, classes)) == len(State)
    assert WAITING_FOR_TIME < WAITING


def test_every_event_has_its_moves() -> None:
    assert set(MOVES) == set(EventType)
    assert all(MOVES.values())


def test_nothing_leaves_an_end() -> None:
    assert not [move for move in ALL_MOVES if move[1] in TERMINAL]


def test_every_state_but_an_end_can_be_left_and_every_state_can_be_reached() -> None:
    assert {origin for _, origin, _ in ALL_MOVES} == (set(State) - TERMINAL) | {None}
    assert {target for _, _, target in ALL_MOVES} == set(State)


def test_only_creation_makes_a_run_out_of_nothing() -> None:
    assert {event for event, origin, _ in ALL_MOVES if origin is None} == {EventType.CREATED}


def test_only_a_claim_leads_into_running_and_only_a_cancel_into_cancelling() -> None:
    assert {(event, origin) for event, origin, target in ALL_MOVES if target is State.RUNNING} == {
        (EventType.CLAIMED, State.QUEUED)
    }
    assert {event for event, _, target in ALL_MOVES if target is State.CANCELLING} == {EventType.CANCEL_REQUESTED}


def test_a_run_asked_to_stop_can_only_end() -> None:
    assert {target for _, origin, target in ALL_MOVES if origin is State.CANCELLING} == {State.CANCELLED, State.FAILED}


def test_whatever_has_not_ended_and_is_not_running_can_be_cancelled_at_once() -> None:
    origins = {origin for origin, _ in MOVES[EventType.CANCELLED]}
    assert origins == set(State) - TERMINAL - {State.RUNNING}


def test_an_end_can_be_reached_from_everywhere() -> None:
    reaches_an_end = set(TERMINAL)
    for _ in State:
        reaches_an_end |= {origin for _, origin, target in ALL_MOVES if origin is not None and target in reaches_an_end}
    assert reaches_an_end == set(State)


@pytest.mark.parametrize("event", EventType)
def test_check_move_agrees_with_the_table_on_every_pair(event: EventType) -> None:
    for origin, target in itertools.product([None, *State], State):
        if (origin, target) in MOVES[event]:
            check_move(event, origin, target)
        else:
            with pytest.raises(BrokenInvariant) as refused:
                check_move(event, origin, target)
            assert refused.value.details == {"event": event, "origin": origin, "target": target}
