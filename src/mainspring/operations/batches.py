"""A batch: many runs that are counted, and those that start when the count says so."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mainspring.core.attempts import move
from mainspring.core.dependencies import Condition, FiresOn, by_batch, fires_on
from mainspring.core.names import check_text
from mainspring.core.states import ACTIVE, EventType, State
from mainspring.errors import InvalidOption, LeaseLost, UnknownRun
from mainspring.operations import moves, releasing
from mainspring.operations.creation import NewRun
from mainspring.operations.enqueue import create as create_runs
from mainspring.operations.releasing import BatchRow, lock_batches
from mainspring.store.database import Transaction, drive

__all__ = ["FiresOn"]

MOST_MEMBERS = 1_000_000
FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Fence(NamedTuple):
    """The attempt on whose behalf members join: a member of the batch, while it holds its lease."""

    run_id: str
    token: int


def create(
    tx: Transaction,
    batch_id: str,
    members: Sequence[NewRun],
    callback: NewRun | None = None,
    *,
    namespace: str,
    fires_on: FiresOn = "done",
    callbacks: Mapping[FiresOn, NewRun] | None = None,
    seal: bool = True,
    outer_id: str | None = None,
) -> None:
    """Create a batch with members and callbacks, all or nothing. An empty batch that is sealed starts its callbacks at once.

    ``callback`` with ``fires_on`` is the short form of one of ``callbacks``. ``outer_id`` is the batch it is inside of, where its
    first callback is a member and stands for it. A repeat changes nothing.
    """
    tx.execute("batches.create", id=batch_id, namespace=namespace, outer_id=outer_id)
    wanted = {**(callbacks or {}), **({fires_on: callback} if callback else {})}
    then = [run._replace(blocked="batch", after=((batch_id, _condition(name)),)) for name, run in wanted.items()]
    if outer_id is not None:
        add(tx, outer_id, then[:1], namespace=namespace)
    drive(tx, create_runs(then[1 if outer_id is not None else 0 :], {}))
    add(tx, batch_id, members, namespace=namespace)
    if seal:
        close(tx, batch_id, namespace=namespace)


def add(tx: Transaction, batch_id: str, members: Sequence[NewRun], *, namespace: str, fence: Fence | None = None) -> None:
    """Let members join a batch. Those that joined already, in an earlier try of this call, are not counted again.

    Raises:
        UnknownRun: no such batch. InvalidOption: it is sealed, or has all the members it may have. LeaseLost: of ``fence``.
    """
    if fence is not None:
        _check_fence(tx, batch_id, fence)
    batch = _lock(tx, batch_id, namespace)
    there = {row[0] for row in tx.rows("views.states", ids=[run.id for run in members])} if members else set()
    joining = [run._replace(batch_id=batch_id) for run in members if run.id not in there]
    if not joining:
        return
    if batch.sealed_at is not None:
        raise InvalidOption(f"batch {batch_id} is sealed: nobody can join it; open one with open=True", option="members")
    if batch.total + len(joining) > MOST_MEMBERS:
        raise InvalidOption(f"a batch has {MOST_MEMBERS:,} members at most; begin another", option="members")
    answers = drive(tx, create_runs(joining, {}))
    tx.execute("batches.join", id=batch_id, joining=len(joining))
    if skipped := [(batch_id, State.SKIPPED) for answer in answers if answer.outcome == "skipped"]:  # its queue was full
        moves.release(tx, releasing.count_members(tx, skipped))


def close(tx: Transaction, batch_id: str, *, namespace: str) -> None:
    """Seal a batch: nobody joins from now on, and the last end decides. A second call changes nothing.

    Raises:
        UnknownRun: no such batch.
    """
    batch = _lock(tx, batch_id, namespace)
    if batch.sealed_at is None:
        tx.execute("batches.seal", id=batch_id)
        _tell(tx, batch)


def cancel(tx: Transaction, batch_id: str, *, namespace: str) -> list[str]:
    """Seal a batch and those inside it, and note that their members are to be cancelled, which ``cancel_some`` does; their ids. A
    second call changes nothing.

    Raises:
        UnknownRun: no such batch.
    """
    get(tx, batch_id, namespace=namespace)
    ids, level = [batch_id], [batch_id]
    while level := [row[0] for row in tx.rows("batches.inside", ids=level)]:
        ids += level
    batches = lock_batches(tx, ids)
    for batch in batches.values():
        if batch.cancelled_at is None:
            tx.execute("batches.cancel", id=batch.id, start=FIRST_ID)
    for batch in batches.values():
        if batch.cancelled_at is None:
            _tell(tx, batch)
    return ids


def cancel_some(tx: Transaction, batch_id: str, after: str, *, most: int, actor: str, reason: str | None) -> str | None:
    """Cancel up to ``most`` members of a batch from ``after`` on; where the next call goes on, None at the end."""
    reason = "batch_cancelled" if reason is None else check_text(reason, "reason")
    ids = [row[0] for row in tx.rows("batches.live_members", id=batch_id, after=after, most=most)]
    pairs = []
    for run in moves.lock_runs(tx, ids).values():
        if run.is_terminal or run.state is State.CANCELLING:
            continue
        target = State.CANCELLING if run.state in ACTIVE else State.CANCELLED
        event = EventType.CANCEL_REQUESTED if run.state in ACTIVE else EventType.CANCELLED
        pairs.append((run, move(run, event, run.state, target, actor=actor, reason=reason)))
    moves.apply(tx, pairs)
    reached = ids[-1] if len(ids) == most else None
    tx.execute("batches.cancelled_to", id=batch_id, after=reached)
    return reached


def cancelling(tx: Transaction, *, most: int) -> list[tuple[str, str]]:
    """Batches whose members are being cancelled, and how far that is."""
    return [(row[0], row[1]) for row in tx.rows("batches.cancelling", most=most)]


def park_idle(tx: Transaction, *, before: int, most: int) -> int:
    """Park the callbacks of batches that nobody sealed and nobody joined since before an instant; how many batches."""
    idle = [row[0] for row in tx.rows("batches.idle", before=before, most=most)]
    for batch_id in idle:
        tx.execute("batches.park", id=batch_id)
        waits = [(row[0], batch_id) for row in tx.rows("batches.callbacks", id=batch_id, most=releasing.MOST)]
        if not waits:
            continue
        runs = moves.lock_runs(tx, [run_id for run_id, _ in waits])
        blocked = [run for run in runs.values() if run.state is State.BLOCKED]
        target = State.NEEDS_ATTENTION
        parked = [(run, move(run, EventType.PARKED, run.state, target, actor="system", reason="batch_unsealed")) for run in blocked]
        moves.apply(tx, parked)
        tx.execute("dependencies.close", batch=waits)
    return len(idle)


def get(tx: Transaction, batch_id: str, *, namespace: str) -> BatchRow:
    """A batch as it stands.

    Raises:
        UnknownRun: no such batch.
    """
    row = tx.one("batches.get", id=batch_id, namespace=namespace)
    if row is None:
        raise UnknownRun(f"no batch {batch_id} in namespace {namespace!r}", run_id=batch_id)
    return BatchRow(*row)


def _tell(tx: Transaction, batch: BatchRow) -> None:
    """Let go what is decided because nobody can join any more."""
    before, after = by_batch(batch.id, batch.tally), by_batch(batch.id, batch.tally._replace(sealed=True))
    if after != before:
        moves.release(tx, [after])


def _check_fence(tx: Transaction, batch_id: str, fence: Fence) -> None:
    run = moves.lock_runs(tx, [fence.run_id]).get(fence.run_id)
    if run is None or run.token != fence.token or run.state is not State.RUNNING:
        raise LeaseLost(f"run {fence.run_id} is no longer held under token {fence.token}; it can add no members")
    if run.batch_id != batch_id:
        raise InvalidOption(f"run {fence.run_id} is no member of batch {batch_id}", option="batch")


def _lock(tx: Transaction, batch_id: str, namespace: str) -> BatchRow:
    batch = lock_batches(tx, [batch_id]).get(batch_id)
    if batch is None or batch.namespace != namespace:
        raise UnknownRun(f"no batch {batch_id} in namespace {namespace!r}", run_id=batch_id)
    return batch


def _condition(name: str) -> Condition:
    condition = fires_on(name)
    if condition is None:
        raise InvalidOption(f'on must be "done", "all_succeeded" or "any_failed", not {name!r}', option="on")
    return condition
