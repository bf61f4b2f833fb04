"""What a person or a program does to one run from outside: cancel it, try it again, let it out of a dead end."""

from typing import Literal

from mainspring.codec import payload_hash
from mainspring.core.attempts import move
from mainspring.core.names import check_text
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, EventType, State
from mainspring.errors import KeyConflict, NotTerminal, RunTerminal, UnknownRun
from mainspring.operations import moves
from mainspring.operations.enqueue import DEFAULT_KEY_TTL, Keyed, NewRun, create
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction, drive

CancelOutcome = Literal["cancelled", "cancelling"]


def cancel(tx: Transaction, run_id: str, *, namespace: str, actor: str, reason: str | None) -> CancelOutcome:
    """Cancel a run: at once where nobody runs it, else in two phases. A second call gives the same answer.

    Raises:
        UnknownRun, RunTerminal: there is nothing to cancel.
    """
    reason = check_text(reason, "reason") if reason is not None else None
    run = _lock(tx, run_id, namespace)
    if run.state in {State.CANCELLED, State.CANCELLING}:
        return "cancelled" if run.is_terminal else "cancelling"
    if run.is_terminal:
        raise RunTerminal(f"run {run_id} has already ended as {run.state}; nothing was changed", state=run.state)
    target = State.CANCELLING if run.state in ACTIVE else State.CANCELLED
    event = EventType.CANCEL_REQUESTED if run.state in ACTIVE else EventType.CANCELLED
    moves.apply(tx, [(run, move(run, event, run.state, target, actor=actor, reason=reason))])
    return "cancelled" if target is State.CANCELLED else "cancelling"


def retry(tx: Transaction, run_id: str, new_id: str, *, namespace: str, actor: str) -> tuple[str, bool]:
    """Try an unsuccessful run again as a new run linked to it, with fresh budgets; ``(id, was it made now)``.

    There is at most one live retry of a run: a second call is given the first one's. The new run takes both keys of the old
    one, and the dead letter is closed.

    Raises:
        UnknownRun: no such run. NotTerminal: it has not failed. KeyConflict: another run has a key by now.
    """
    run = _lock(tx, run_id, namespace)
    if run.state not in {State.FAILED, State.CANCELLED}:
        raise NotTerminal(f"run {run_id} is {run.state}; only a failed or cancelled run can be retried", state=run.state)
    again = tx.one("runs.again", id=run_id)
    if again:
        return str(again[0]), False
    new, keyed = _copy(tx, run, new_id, actor)
    if run.idempotency_key is not None:  # a cancelled run kept its key; its retry takes it over
        lane = keyed[new_id]
        tx.execute("keys.give_up", namespace=lane.namespace, task=lane.task, key=run.idempotency_key, run_id=run.id)
    (answer,) = drive(tx, create([new], keyed))
    if answer.run_id != new_id:
        raise KeyConflict(f"run {answer.run_id} has the key of run {run_id} by now; nothing was created", owner=answer.run_id)
    tx.execute("dead_letters.close", run_id=run_id)
    return new_id, True


def _copy(tx: Transaction, run: Run, new_id: str, actor: str) -> tuple[NewRun, dict[str, Keyed]]:
    """A new run like ``run``, with its payload and its keys."""
    payload, lane = tx.one("runs.payload", id=run.id), lanes_of(tx, [run.lane_id])[run.lane_id]
    assert payload is not None
    new = NewRun(
        id=new_id,
        lane_id=run.lane_id,
        policy_id=run.policy_id,
        body=payload[1],
        actor=actor,
        idempotency_key=run.idempotency_key,
        singleton_key=run.singleton_key,
        rerun_of=run.id,
    )
    if run.idempotency_key is None and run.singleton_key is None:
        return new, {}
    return new, {new_id: Keyed(lane.namespace, lane.task, payload_hash(payload[1]), DEFAULT_KEY_TTL)}


def resume(tx: Transaction, run_id: str, *, namespace: str, actor: str, reason: str) -> None:
    """Queue a parked run again.

    Raises:
        UnknownRun: no such run. NotTerminal: it is not parked.
    """
    run = _parked(tx, run_id, namespace)
    change = move(run, EventType.RESUMED, run.state, State.QUEUED, actor=actor, reason=check_text(reason, "reason"), delay=0)
    moves.apply(tx, [(run, change)])


def fail(tx: Transaction, run_id: str, *, namespace: str, actor: str, reason: str) -> None:
    """Fail a parked run.

    Raises:
        UnknownRun: no such run. NotTerminal: it is not parked.
    """
    run = _parked(tx, run_id, namespace)
    change = move(run, EventType.FAILED, run.state, State.FAILED, actor=actor, reason=check_text(reason, "reason"))
    moves.apply(tx, [(run, change)])


def park(tx: Transaction, run_id: str, *, namespace: str, actor: str, reason: str) -> None:
    """Take a queued run out of its lane until a person decides. One that is no longer queued is left alone."""
    run = _lock(tx, run_id, namespace)
    if run.state is State.QUEUED:
        moves.apply(tx, [(run, move(run, EventType.PARKED, run.state, State.NEEDS_ATTENTION, actor=actor, reason=reason))])


def park_unserved(tx: Transaction, *, before: int, most: int, actor: str) -> int:
    """Park up to ``most`` runs that have been queued since before an instant and whose task no live worker has; how many."""
    unserved = tx.rows("runs.unserved", before=before, most=most)
    for run_id, namespace, _ in unserved:
        park(tx, run_id, namespace=namespace, actor=actor, reason="unknown_task")
    return len(unserved)


def _parked(tx: Transaction, run_id: str, namespace: str) -> Run:
    run = _lock(tx, run_id, namespace)
    if run.state is not State.NEEDS_ATTENTION:
        raise NotTerminal(f"run {run_id} is {run.state}; only a run that needs attention can be let out", state=run.state)
    return run


def _lock(tx: Transaction, run_id: str, namespace: str) -> Run:
    run = moves.lock_runs(tx, [run_id]).get(run_id)
    if run is None or lanes_of(tx, [run.lane_id])[run.lane_id].namespace != namespace:
        raise UnknownRun(f"no run {run_id} in namespace {namespace!r}", run_id=run_id)
    return run
