"""What a person does to the place of a run that waits: another instant, another priority. Each is in its ledger, with who did it.

The decisions (``rescheduling``, ``reprioritising``) are pure, and serve acts on many runs too (``bulk.py``).
"""

from mainspring.core.attempts import Move, move
from mainspring.core.lanes import Lane
from mainspring.core.run import Run
from mainspring.core.states import WAITING, WAITING_FOR_TIME, EventType, State
from mainspring.errors import NotWaiting, RunTerminal
from mainspring.operations import moves, occurrences
from mainspring.operations.enqueue import interned
from mainspring.operations.lanes import lanes_of
from mainspring.operations.runs import locked
from mainspring.store.database import Transaction, drive


def reschedule(tx: Transaction, run_id: str, *, due_at: int, namespace: str, actor: str) -> State:
    """Make a waiting run due at another instant (the past is now); the state it is in then.

    Raises:
        UnknownRun: no such run. RunTerminal, NotWaiting: it has ended, a worker has it, it waits for others.
    """
    run = locked(tx, run_id, namespace)
    change = rescheduling(run, due_at=due_at, now=tx.now, actor=actor, has_slot=not occurrences.without_slot(tx, [run.id]))
    if change is None:
        return run.state
    moves.apply(tx, [(run, change)])
    return change.state


def set_priority(tx: Transaction, run_id: str, priority: int, *, namespace: str, actor: str) -> bool:
    """Put a waiting run among those of another priority, behind none that is due later. False: it has that priority already.

    Raises:
        UnknownRun: no such run. RunTerminal, NotWaiting: it has ended, or a worker has it.
    """
    run = locked(tx, run_id, namespace)
    lane = lanes_of(tx, [run.lane_id])[run.lane_id]
    require_waiting(run, "given another priority")
    if lane.priority == priority:
        return False
    return bool(moves.apply(tx, [(run, reprioritising(run, lane_at(tx, lane, priority), actor=actor))]))


def lane_at(tx: Transaction, lane: Lane, priority: int) -> int:
    """The number of the lane of the same runs at another priority, which is made if it is not there."""
    wanted = lane.with_priority(priority)
    return drive(tx, interned([wanted], [])).get(wanted, wanted).id


def rescheduling(run: Run, *, due_at: int, now: int, actor: str, has_slot: bool = True) -> Move | None:
    """What another due time does to a run; None where it changes nothing. One without a slot of its schedule is made due as others
    are: it waits for a slot then.

    Raises:
        RunTerminal, NotWaiting: it has ended, a worker has it, it waits for others.
    """
    require_waiting(run, "rescheduled")
    if run.state is State.BLOCKED:
        raise NotWaiting(f"run {run.id} waits for other runs and for no instant", state=run.state)
    is_due = due_at <= now
    if run.state is State.QUEUED:
        if is_due:
            return None
        return move(run, EventType.RESCHEDULED, run.state, State.SCHEDULED, actor=actor, due_at=due_at)
    if is_due and has_slot:
        return move(run, EventType.RESCHEDULED, run.state, State.QUEUED, actor=actor, delay=0)
    assert run.state in WAITING_FOR_TIME
    return move(run, EventType.RESCHEDULED, run.state, run.state, actor=actor, due_at=due_at, reason=run.reason)


def reprioritising(run: Run, lane_id: int, *, actor: str) -> Move:
    """The move of a waiting run to another lane."""
    return move(run, EventType.REPRIORITISED, run.state, run.state, actor=actor, lane_id=lane_id, reason=run.reason)


def require_waiting(run: Run, done: str) -> None:
    """Refuse a run that does not wait.

    Raises:
        RunTerminal: it has ended. NotWaiting: a worker has it, or it needs a person.
    """
    if run.is_terminal:
        raise RunTerminal(f"run {run.id} has already ended as {run.state}; nothing was changed", state=run.state)
    if run.state not in WAITING:
        raise NotWaiting(f"run {run.id} is {run.state}; only a run that waits can be {done}", state=run.state)
