"""Backfill: which past instants of a schedule are run again, and why each of the others is not.

A decision over one instant, from what is known of it. Not here: which instants a rule has, rows, and who gets a slot.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, assert_never

from mainspring.core.states import TERMINAL, State

#: A backfill is about at most so many instants.
MOST_BACKFILLED = 10_000


class Only(StrEnum):
    """Which instants a backfill is about: those without a success, those that failed, or all. None that is under way."""

    MISSING = "missing"
    FAILED = "failed"
    ALL = "all"


class LeftOut(StrEnum):
    """Why an instant of a backfill is not run."""

    SUCCEEDED = "succeeded"
    UNDER_WAY = "under_way"
    NOT_FAILED = "not_failed"
    TAKEN = "taken"
    UNDECIDED = "undecided"
    FORGOTTEN = "forgotten"
    DELETED = "deleted"
    CANCELLED = "cancelled"


class Known(NamedTuple):
    """What is known of an instant: the states of the runs that did its work, whether a run of its is no longer there, and when
    another backfill last ran it (µs; None: never)."""

    states: frozenset[State] = frozenset()
    is_forgotten: bool = False
    backfilled_at: int | None = None


def left_out(only: Only, known: Known, *, since: int, include_forgotten: bool) -> LeftOut | None:
    """Why a backfill that was begun at ``since`` leaves an instant out; None: it runs it."""
    if known.states - TERMINAL:
        return LeftOut.UNDER_WAY
    if known.backfilled_at is not None and known.backfilled_at >= since:
        return LeftOut.TAKEN
    has_succeeded = State.SUCCEEDED in known.states
    if known.is_forgotten and not include_forgotten and not has_succeeded:
        return LeftOut.FORGOTTEN
    match only:
        case Only.ALL:
            return None
        case Only.MISSING:
            return LeftOut.SUCCEEDED if has_succeeded else None
        case Only.FAILED:
            if has_succeeded:
                return LeftOut.SUCCEEDED
            return None if State.FAILED in known.states else LeftOut.NOT_FAILED
        case _:
            assert_never(only)


def backfill_key(run_id: str) -> str:
    """The key of a further run of an instant that has a row: its own."""
    return f"backfill:{run_id}"
