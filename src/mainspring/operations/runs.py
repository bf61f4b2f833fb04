"""What a person or a program does to one run from outside: cancel it, try it again, let it out of a dead end."""

from typing import Literal, NamedTuple

from mainspring.codec import payload_hash
from mainspring.core.attempts import Move, move
from mainspring.core.dependencies import Condition
from mainspring.core.lanes import Lane
from mainspring.core.names import check_text
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, EventType, State
from mainspring.errors import InvalidOption, KeyConflict, NotTerminal, RunTerminal, UnknownRun
from mainspring.operations import deliveries, moves
from mainspring.operations.enqueue import DEFAULT_KEY_TTL, Keyed, NewRun, create, interned
from mainspring.operations.lanes import lanes_of
from mainspring.operations.views import decode_data
from mainspring.store.database import Transaction, drive

CancelOutcome = Literal["cancelled", "cancelling"]


def cancel(tx: Transaction, run_id: str, *, namespace: str, actor: str, reason: str | None) -> CancelOutcome:
    """Cancel a run: at once where nobody runs it, else in two phases. A second call gives the same answer.

    Raises:
        UnknownRun, RunTerminal: there is nothing to cancel. InvalidOption: a run that needs attention, and no reason.
    """
    reason = check_text(reason, "reason") if reason is not None else None
    run = locked(tx, run_id, namespace)
    change = cancellation(run, actor=actor, reason=reason)
    if change is not None:
        moves.apply(tx, [(run, change)])
    return "cancelled" if (run.state if change is None else change.state) is State.CANCELLED else "cancelling"


def cancellation(run: Run, *, actor: str, reason: str | None) -> Move | None:
    """What a cancel does to a run; None where it was cancelled already.

    Raises:
        RunTerminal: it has ended otherwise. InvalidOption: it needs attention, and there is no reason.
    """
    if run.state in {State.CANCELLED, State.CANCELLING}:
        return None
    if run.is_terminal:
        raise RunTerminal(f"run {run.id} has already ended as {run.state}; nothing was changed", state=run.state)
    if run.state is State.NEEDS_ATTENTION and not reason:
        raise InvalidOption(f"run {run.id} needs attention; say why it is cancelled: reason=…", option="reason")
    target = State.CANCELLING if run.state in ACTIVE else State.CANCELLED
    event = EventType.CANCEL_REQUESTED if run.state in ACTIVE else EventType.CANCELLED
    return move(run, event, run.state, target, actor=actor, reason=reason)


def retry(tx: Transaction, run_id: str, new_id: str, *, namespace: str, actor: str) -> tuple[str, bool]:
    """Try an unsuccessful run again as a new run linked to it, with fresh budgets; ``(id, was it made now)``.

    There is at most one live retry of a run: a second call is given the first one's. The new run takes both keys of the old
    one, and the dead letter is closed.

    Raises:
        UnknownRun: no such run. NotTerminal: it has not failed. KeyConflict: another run has a key by now.
    """
    run = locked(tx, run_id, namespace)
    if run.state not in {State.FAILED, State.CANCELLED}:
        raise NotTerminal(f"run {run_id} is {run.state}; only a failed or cancelled run can be retried", state=run.state)
    again = tx.one("runs.again", id=run_id)
    if again:
        return str(again[0]), False
    new, keyed = copy_of(tx, run, new_id, actor, retry=True)
    if run.idempotency_key is not None:  # a cancelled run kept its key; its retry takes it over
        lane = keyed[new_id]
        tx.execute("keys.give_up", namespace=lane.namespace, task=lane.task, key=run.idempotency_key, run_id=run.id)
    (answer,) = drive(tx, create([new], keyed))
    deliveries.follow(tx, [new_id])
    if answer.run_id != new_id:
        raise KeyConflict(f"run {answer.run_id} has the key of run {run_id} by now; nothing was created", owner=answer.run_id)
    tx.execute("dead_letters.replayed", run_id=run_id, actor=actor, made=new_id)
    return new_id, True


class Payload(NamedTuple):
    """What a run was made with: the payload in force as it is stored, and the lane that says how to read it."""

    lane: Lane
    body: bytes
    singleton_key: str | None


def payload_of(tx: Transaction, run_id: str, *, namespace: str) -> Payload:
    """The payload of a run that has ended.

    Raises:
        UnknownRun: no such run. NotTerminal: it has not ended.
    """
    run = _ended(locked(tx, run_id, namespace), "rerun")
    lane = lanes_of(tx, [run.lane_id])[run.lane_id]
    row = tx.one("runs.payload", id=run.id)
    assert row is not None
    return Payload(lane, row[1], run.singleton_key)


def rerun(
    tx: Transaction, run_id: str, new_id: str, *, body: bytes | None = None, lane: Lane | None = None, namespace: str, actor: str
) -> str:
    """Run again what has ended, however it ended: a new run linked to it, with fresh budgets and the singleton key, without the
    idempotency key. ``body`` and ``lane`` are the payload and its version where they are not the old ones.

    Raises:
        UnknownRun: no such run. NotTerminal: it has not ended. KeyConflict: another run has the singleton key.
    """
    run = _ended(locked(tx, run_id, namespace), "rerun")
    new, keyed = copy_of(tx, run, new_id, actor, retry=False)
    if lane is not None:
        moved = drive(tx, interned([lane], []))
        new = new._replace(lane_id=moved.get(lane, lane).id)
    if body is not None:
        new = new._replace(body=body)
    (answer,) = drive(tx, create([new], keyed))
    deliveries.follow(tx, [new_id])
    if answer.run_id != new_id:
        raise KeyConflict(
            f"run {answer.run_id} has the singleton key of run {run_id} and has not ended; nothing was created", owner=answer.run_id
        )
    return new_id


def _ended(run: Run, what: str) -> Run:
    if not run.is_terminal:
        raise NotTerminal(f"run {run.id} is {run.state}; only a run that has ended can be {what}", state=run.state)
    return run


def copy_of(tx: Transaction, run: Run, new_id: str, actor: str, *, retry: bool) -> tuple[NewRun, dict[str, Keyed]]:
    """A new run like ``run``, with its payload, its attributes, its spans, and its keys."""
    payload, lane = tx.one("runs.payload", id=run.id), lanes_of(tx, [run.lane_id])[run.lane_id]
    created = tx.one("runs.created_with", id=run.id)
    assert payload is not None
    spans = decode_data(created[0]) if created else {}
    waited = run.state is State.CANCELLED and run.token == 0  # before it could begin: it waits again
    waits = tx.rows("dependencies.to_wait_for_again", run_id=run.id) if waited else []
    new = NewRun(
        id=new_id,
        lane_id=run.lane_id,
        policy_id=run.policy_id,
        body=payload[1],
        actor=actor,
        idempotency_key=run.idempotency_key if retry else None,
        singleton_key=run.singleton_key,
        rerun_of=run.id,
        is_retry=retry,
        expires_in=spans.get("expires_in"),
        deadline_in=spans.get("deadline_in"),
        attributes=tuple((row[0], row[1]) for row in tx.rows("attributes.get", id=run.id)),
        after=tuple((row[0], Condition(row[1])) for row in waits),
    )
    if new.idempotency_key is None and new.singleton_key is None:
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
    run = locked(tx, run_id, namespace)
    if run.state is State.QUEUED:
        moves.apply(tx, [(run, move(run, EventType.PARKED, run.state, State.NEEDS_ATTENTION, actor=actor, reason=reason))])


def _parked(tx: Transaction, run_id: str, namespace: str) -> Run:
    run = locked(tx, run_id, namespace)
    if run.state is not State.NEEDS_ATTENTION:
        raise NotTerminal(f"run {run_id} is {run.state}; only a run that needs attention can be let out", state=run.state)
    return run


def locked(tx: Transaction, run_id: str, namespace: str) -> Run:
    """A run of a namespace, locked until the transaction ends.

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    run = moves.lock_runs(tx, [run_id]).get(run_id)
    if run is None or lanes_of(tx, [run.lane_id])[run.lane_id].namespace != namespace:
        raise UnknownRun(f"no run {run_id} in namespace {namespace!r}", run_id=run_id)
    return run
