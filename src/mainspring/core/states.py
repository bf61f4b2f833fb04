"""Everything that decides where a run may go lives here: its states, their classes, and the one table of moves.

A move is ``(event, from, to)``. SQL statements that move a run name their moves in a ``-- moves:`` header, and a test holds
those headers and this table together, both ways. What must not live here: times, counters, SQL.
"""

from enum import StrEnum

from mainspring.errors import BrokenInvariant


class State(StrEnum):
    """Where a run is. The classes below say what may touch it."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RETRYING = "retrying"
    RELEASED = "released"
    RUNNING = "running"
    CANCELLING = "cancelling"
    NEEDS_ATTENTION = "needs_attention"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"


class EventType(StrEnum):
    """What can happen to a run; one event is one ledger entry."""

    CREATED = "created"
    DUE = "due"
    UNBLOCKED = "unblocked"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    RETRY_SCHEDULED = "retry_scheduled"
    FAILED = "failed"
    RELEASED = "released"
    INTERRUPTED = "interrupted"
    GIVEN_BACK = "given_back"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    PARKED = "parked"
    RESUMED = "resumed"
    UPSTREAM_FAILED = "upstream_failed"
    SKIPPED = "skipped"
    REPLACED = "replaced"
    RESCHEDULED = "rescheduled"
    REPRIORITISED = "reprioritised"
    POLICY_APPLIED = "policy_applied"


WAITING_FOR_TIME = frozenset({State.SCHEDULED, State.RETRYING, State.RELEASED})
WAITING = WAITING_FOR_TIME | {State.BLOCKED, State.QUEUED}
ACTIVE = frozenset({State.RUNNING, State.CANCELLING})
PARKED = frozenset({State.NEEDS_ATTENTION})
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED, State.UPSTREAM_FAILED})

_S, _E = State, EventType

#: event -> the moves it may make. ``None`` as origin means that the run did not exist before.
MOVES: dict[EventType, frozenset[tuple[State | None, State]]] = {
    _E.CREATED: frozenset({(None, _S.QUEUED), (None, _S.SCHEDULED), (None, _S.BLOCKED), (None, _S.SKIPPED)}),
    # A retry of a schedule that gave its slot back waits for one when it is due.
    _E.DUE: frozenset((waiting, _S.QUEUED) for waiting in WAITING_FOR_TIME) | {(_S.RETRYING, _S.BLOCKED)},
    _E.UNBLOCKED: frozenset({(_S.BLOCKED, _S.QUEUED), (_S.BLOCKED, _S.SCHEDULED)}),
    _E.CLAIMED: frozenset({(_S.QUEUED, _S.RUNNING)}),
    _E.SUCCEEDED: frozenset({(_S.RUNNING, _S.SUCCEEDED)}),
    _E.RETRY_SCHEDULED: frozenset({(_S.RUNNING, _S.RETRYING)}),
    _E.FAILED: frozenset(
        {(origin, _S.FAILED) for origin in WAITING | ACTIVE | PARKED},
    ),
    _E.RELEASED: frozenset({(_S.RUNNING, _S.RELEASED)}),
    _E.INTERRUPTED: frozenset(
        {(_S.RUNNING, _S.RETRYING), (_S.RUNNING, _S.QUEUED), (_S.RUNNING, _S.FAILED)},
    ),
    _E.GIVEN_BACK: frozenset({(_S.RUNNING, _S.QUEUED)}),
    _E.CANCEL_REQUESTED: frozenset({(_S.RUNNING, _S.CANCELLING)}),
    _E.CANCELLED: frozenset((origin, _S.CANCELLED) for origin in WAITING | PARKED | {_S.CANCELLING}),
    _E.PARKED: frozenset((origin, _S.NEEDS_ATTENTION) for origin in (_S.RUNNING, _S.QUEUED, _S.BLOCKED, *WAITING_FOR_TIME)),
    _E.RESUMED: frozenset({(_S.NEEDS_ATTENTION, _S.QUEUED)}),
    _E.UPSTREAM_FAILED: frozenset({(_S.BLOCKED, _S.UPSTREAM_FAILED)}),
    _E.SKIPPED: frozenset((origin, _S.SKIPPED) for origin in WAITING | {_S.RUNNING}),
    # A payload that is replaced may move the due time of what waits for its first claim, never a retry's back-off.
    _E.REPLACED: frozenset(
        {(waiting, waiting) for waiting in WAITING} | {(_S.SCHEDULED, _S.QUEUED), (_S.QUEUED, _S.SCHEDULED)},
    ),
    _E.RESCHEDULED: frozenset(
        {(waiting, waiting) for waiting in WAITING_FOR_TIME}
        | {(waiting, _S.QUEUED) for waiting in WAITING_FOR_TIME}
        | {(_S.QUEUED, _S.SCHEDULED)},
    ),
    _E.REPRIORITISED: frozenset((waiting, waiting) for waiting in WAITING),
    _E.POLICY_APPLIED: frozenset((waiting, waiting) for waiting in WAITING),
}


def check_move(event: EventType, origin: State | None, target: State) -> None:
    """Refuse a move that the table does not hold. A refusal is a bug of ours, never a caller's mistake.

    Raises:
        BrokenInvariant: ``event`` cannot take a run from ``origin`` to ``target``.
    """
    if (origin, target) not in MOVES[event]:
        raise BrokenInvariant(f"no move {origin} -> {target} by {event}", event=event, origin=origin, target=target)
