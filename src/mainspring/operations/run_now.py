"""``run_now``: a run created and leased in one transaction, for one attempt in the caller's own process.

Not here: running it (``runtime/single.py``), and who wins a key (``enqueue``).
"""

from collections.abc import Mapping
from typing import NamedTuple

from mainspring.core.lanes import Lane
from mainspring.errors import MainspringError, NoCapacity, QueuePaused
from mainspring.operations.attempts import held
from mainspring.operations.claims import Claimed, Claimer, claim_run
from mainspring.operations.enqueue import Created, Keyed, NewRun, create
from mainspring.operations.moves import lock_runs
from mainspring.store.database import Transaction, drive


class Begun(NamedTuple):
    """What a call got: the run, and its lease where the call created it."""

    created: Created
    claimed: Claimed | None


def run_now(tx: Transaction, run: NewRun, keyed: Mapping[str, Keyed], lane: Lane, who: Claimer) -> Begun:
    """Create a run and lease it to ``who``, or answer with the owner of its keys, which is left alone. A repetition of a call whose
    commit was unknown finds what that did.

    Raises:
        KeyConflict: a key is owned by a run with another payload.
        QueuePaused, NoCapacity: it could not begin now. All of them undo the creation.
    """
    (created,) = drive(tx, create([run], keyed))
    if created.outcome != "created":
        return Begun(created, None)
    claimed = claim_run(tx, who, run.id) or _claimed_before(tx, run, who.worker_id)
    if claimed is None:
        raise _refusal(tx, lane)
    return Begun(created, claimed)


def _claimed_before(tx: Transaction, new: NewRun, worker_id: str) -> Claimed | None:
    """The lease that an earlier try of this call was given, if there was one."""
    if not any(now.run_id == new.id for now in held(tx, worker_id)):
        return None
    run = lock_runs(tx, [new.id])[new.id]
    return Claimed(
        run.id, run.token, run.seq, run.lane_id, run.policy_id, run.failures, run.interruptions, run.releases,
        run.idempotency_key, run.singleton_key, run.batch_id, run.created_at, run.due_at, new.body,
    )  # fmt: skip


def _refusal(tx: Transaction, lane: Lane) -> MainspringError:
    if tx.rows("queues.paused", namespace=lane.namespace, queues=[lane.queue]):
        return QueuePaused(f"queue {lane.queue!r} is paused; resume it, or enqueue the run to wait there", queue=lane.queue)
    told = f"a limit on the way of {lane.task!r} in queue {lane.queue!r} lets nothing begin now; try later, or enqueue the run"
    return NoCapacity(told, queue=lane.queue)
