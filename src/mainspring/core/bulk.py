"""Acts on many runs: what each would do to a run in each state. A table, and nothing that acts."""

from enum import StrEnum
from typing import NamedTuple

from mainspring.core.states import ACTIVE, TERMINAL, WAITING, State


class Action(StrEnum):
    """What can be done to many runs at once."""

    CANCEL = "cancel"
    RETRY = "retry"
    RERUN = "rerun"
    PRUNE = "prune"
    SET_PRIORITY = "set_priority"
    RESCHEDULE = "reschedule"


class Effect(NamedTuple):
    """What an act does to a run: in words, or the code with which it is refused."""

    does: str
    refused: str | None = None


def effect_of(action: Action, state: State) -> Effect:
    """What an act does to a run in this state, as far as its state decides."""
    match action:
        case Action.CANCEL:
            return _cancel(state)
        case Action.RETRY:
            allowed = state in {State.FAILED, State.CANCELLED}
            return Effect("tried again as a new run") if allowed else Effect("left alone", "not_terminal")
        case Action.RERUN:
            return Effect("run again as a new run") if state in TERMINAL else Effect("left alone", "not_terminal")
        case Action.PRUNE:
            return Effect("removed, unless somebody waits for it") if state in TERMINAL else Effect("left alone", "not_terminal")
        case Action.SET_PRIORITY:
            return _steer(state, "given the priority")
        case Action.RESCHEDULE:
            return Effect("left alone", "not_waiting") if state is State.BLOCKED else _steer(state, "made due then")


def _cancel(state: State) -> Effect:
    if state in {State.CANCELLED, State.CANCELLING}:
        return Effect(f"{state} already")
    if state in TERMINAL:
        return Effect("left alone", "run_terminal")
    return Effect("asked to stop") if state in ACTIVE else Effect("cancelled")


def _steer(state: State, does: str) -> Effect:
    if state in WAITING:
        return Effect(does)
    return Effect("left alone", "run_terminal" if state in TERMINAL else "not_waiting")
