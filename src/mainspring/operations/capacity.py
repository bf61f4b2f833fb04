"""Bounded queues: how much may wait in one, and what becomes of what is too much. Exact, for the queue's row is locked meanwhile.

``admit`` is a plan, as ``enqueue.create`` is. An unbounded queue pays one look at its row, and plain runs not even that: their
insertion passes over bounded queues (``runs.create_alike``), and comes here. Not here: limits of what runs (``limits``).
"""

from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from mainspring.core import capacity
from mainspring.core.attempts import move
from mainspring.core.capacity import Overflow
from mainspring.core.states import EventType, State
from mainspring.errors import QueueFull
from mainspring.operations.creation import Keyed, NewRun
from mainspring.operations.keys import give_up
from mainspring.operations.queues import record, require
from mainspring.operations.rows import as_run, encode_data
from mainspring.store.database import Query, Row, Transaction

REASON = "overflow"


class _Bound(NamedTuple):
    """A bounded queue."""

    namespace: str
    queue: str
    most: int
    overflow: Overflow


def admit(runs: Sequence[NewRun], keyed: Mapping[str, Keyed]) -> Generator[Query, list[Row], list[NewRun]]:
    """The runs that are to be created, some of them ``skipped`` where their queue is full and says so.

    Raises:
        QueueFull: a queue that refuses has no room for all of them; of batches and dependants there is no other way.
    """
    lanes = sorted({run.lane_id for run in runs if run.skipped is None})
    rows = (yield Query(statement="queues.bounds", params={"lanes": lanes})) if lanes else []
    if not rows:
        return list(runs)
    there = yield from _there(runs)
    admitted = {run.id: there.get(run.id, run) for run in runs}
    lanes_in: dict[_Bound, set[int]] = {}
    for row in rows:
        lanes_in.setdefault(_Bound(*row[1:]), set()).add(int(row[0]))
    for bound, inside in lanes_in.items():
        coming = [run for run in runs if run.lane_id in inside and run.skipped is None and run.id not in there]
        for run in (yield from _keep_out(bound, coming)):
            admitted[run.id] = run._replace(skipped=REASON)
            if run.id in keyed:
                yield from _give_up_keys(run, keyed[run.id])
    return [admitted[run.id] for run in runs]


def _there(runs: Sequence[NewRun]) -> Generator[Query, list[Row], dict[str, NewRun]]:
    """Runs that an earlier try of the same call created, as it judged them: they need no room again."""
    rows = yield Query(statement="views.states", params={"ids": [run.id for run in runs]})
    skipped = {str(row[0]): row[1] == State.SKIPPED for row in rows}
    return {run.id: run._replace(skipped=REASON) if skipped[run.id] else run for run in runs if run.id in skipped}


def _keep_out(bound: _Bound, coming: Sequence[NewRun]) -> Generator[Query, list[Row], Sequence[NewRun]]:
    """Make room as the queue says; the newcomers for whom there is none."""
    if not coming:
        return ()
    named = {"namespace": bound.namespace, "queue": bound.queue}
    ((waiting, oldest, now),) = yield Query(statement="queues.room", params=named | {"most": bound.most + len(coming)})
    over = capacity.over(waiting, len(coming), bound.most)
    if not over:
        return ()
    if bound.overflow == "refuse" or any(run.batch_id is not None or run.blocked is not None for run in coming):
        wait = capacity.retry_after(None if oldest is None else now - oldest, bound.most, over)
        raise QueueFull(
            f"queue {bound.queue!r} may hold {bound.most} waiting runs and has {waiting}; {len(coming)} more were refused, "
            f"try again in {wait / 1e6:.1f} s",
            queue=bound.queue,
            max_waiting=bound.most,
            waiting=waiting,
            retry_after=wait / 1e6,
        )
    over = min(over, len(coming))  # where the bound was lowered below what waits, that stays
    if bound.overflow == "skip":
        return coming[len(coming) - over :]
    dropped = yield from _drop(named, over)
    return coming[: over - dropped]  # whatever cannot be dropped stays: then the oldest are the first of these


def _drop(named: Mapping[str, str], count: int) -> Generator[Query, list[Row], int]:
    """End the oldest queued runs on which nothing else hangs; how many."""
    rows = yield Query(statement="queues.oldest", params={**named, "most": count})
    held = [as_run([str(row[0]), *row[1:]]) for row in rows]
    if not held:
        return 0
    moves = [move(run, EventType.SKIPPED, State.QUEUED, State.SKIPPED, actor="system", reason=REASON) for run in held]
    batch = sorted(change._replace(data=encode_data(change.data)) for change in moves)  # type: ignore[arg-type]
    yield Query(statement="runs.move", params={"batch": batch})
    if ids := [run.id for run in held if run.idempotency_key is not None]:
        yield Query(statement="keys.free_failed", params={"ids": ids})
    return len(held)


def _give_up_keys(run: NewRun, keyed: Keyed) -> Generator[Query, list[Row], None]:
    if run.idempotency_key is not None:
        yield give_up(run, keyed)
    if run.singleton_key is not None:
        params = {"namespace": keyed.namespace, "task": keyed.task, "key": run.singleton_key, "run_id": run.id}
        yield Query(statement="keys.give_up_singleton", params=params)


# -- what a queue says ---------------------------------------------------------------------------------------------------


def declare(tx: Transaction, namespace: str, queue: str, *, max_waiting: int, overflow: Overflow) -> None:
    """What code says of a queue's room; what an operator said stays."""
    tx.execute("queues.declare_bound", namespace=namespace, queue=queue, max_waiting=max_waiting, overflow=overflow)


def bound(tx: Transaction, namespace: str, queue: str, *, max_waiting: int | None, overflow: Overflow, actor: str) -> None:
    """Let at most ``max_waiting`` runs wait in a queue from now on; None: any number. What waits already stays."""
    require(tx, namespace, queue)
    tx.execute("queues.set_bound", namespace=namespace, queue=queue, max_waiting=max_waiting, overflow=overflow)
    record(tx, namespace, queue, "bounded", actor, {"max_waiting": max_waiting, "overflow": overflow})


def reset_bound(tx: Transaction, namespace: str, queue: str, *, actor: str) -> None:
    """Let code say again how much may wait in a queue: from the next declaration on, until when nothing is bounded."""
    require(tx, namespace, queue)
    tx.execute("queues.reset_bound", namespace=namespace, queue=queue)
    record(tx, namespace, queue, "bound_reset", actor)
