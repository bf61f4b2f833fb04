"""Applying moves: the one place where runs change state after their creation, with everything that follows from an ending.

Consequences of an ending belong to its transaction: slots, keys, the batch's counter and the batch's callback. They follow only
from moves that were really made, so they happen once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mainspring.core.attempts import Held, Move, move
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, EventType, State
from mainspring.operations import limits as limiting
from mainspring.store.database import Transaction

_encode = msgspec.json.Encoder().encode


def encode_data(data: Mapping[str, Any] | None) -> str | None:
    """Event data as the ledger stores it."""
    return _encode(data).decode() if data else None


def apply(tx: Transaction, pairs: Sequence[tuple[Held, Move]], *, limits: bool = True) -> set[str]:
    """Make moves and what follows from them; returns the runs that moved.

    A run that is no longer where its move starts is left alone, and is not in the answer. ``limits=False`` is the caller's
    word that its namespace has no limits, so that nobody looks for slots.
    """
    if not pairs:
        return set()
    batch = [m if m.data is None else m._replace(data=encode_data(m.data)) for _, m in pairs]  # type: ignore[arg-type]
    batch.sort()
    rows = tx.rows("runs.move", batch=batch)
    moved = {row[0] for row in rows}
    made = pairs if len(moved) == len(pairs) else [pair for pair in pairs if pair[0].id in moved]
    if limits:
        limiting.free(tx, [(m.id, m.token) for _, m in made if m.origin in ACTIVE and not m.holds])
    _follow_endings(tx, [(held, m) for held, m in made if m.ended], followed={row[0] for row in rows if row[1]})
    return moved


def lock_runs(tx: Transaction, ids: Iterable[str]) -> dict[str, Run]:
    """Runs by id, locked in ascending id until the transaction ends."""
    return {run.id: run for run in map(as_run, tx.rows("runs.lock", ids=sorted(ids)))}


def as_run(row: Sequence[Any]) -> Run:
    """A row of ``runs``, in column order."""
    return Run(
        id=row[0],
        lane_id=row[1],
        policy_id=row[2],
        state=State(row[3]),
        reason=row[4],
        due_at=row[5],
        token=row[6],
        seq=row[7],
        failures=row[8],
        interruptions=row[9],
        releases=row[10],
        payload_seq=row[11],
        worker_id=row[12],
        idempotency_key=row[13],
        singleton_key=row[14],
        batch_id=row[15],
        rerun_of=row[16],
        expires_at=row[17],
        deadline_at=row[18],
        cancel_requested_at=row[19],
        created_at=row[20],
        ended_at=row[21],
    )


def _follow_endings(tx: Transaction, ended: Sequence[tuple[Held, Move]], *, followed: set[str]) -> None:
    """``followed`` names the runs for whose end others wait (``dependencies``)."""
    failed = [(held, m) for held, m in ended if m.state is State.FAILED]
    if keyed := [held.id for held, m in ended if held.idempotency_key is not None and _frees_key(m)]:
        tx.execute("keys.free_failed", ids=keyed)
    if singletons := [held.id for held, _ in ended if held.singleton_key is not None]:
        tx.execute("keys.free_singletons", ids=singletons)
    if dead := [(m.id, m.reason) for _, m in failed if m.origin is State.RUNNING]:
        tx.execute("dead_letters.open", batch=dead)
    if members := [(held.batch_id, m) for held, m in ended if held.batch_id is not None]:
        _count_members(tx, members)


def _frees_key(m: Move) -> bool:
    """An owner that failed did not do the work, so its key is free; but one that was asked to stop keeps it."""
    return m.state in {State.FAILED, State.UPSTREAM_FAILED} and m.origin is not State.CANCELLING


def _count_members(tx: Transaction, members: Sequence[tuple[str, Move]]) -> None:
    counts: dict[str, tuple[int, int]] = {}
    for batch_id, m in members:
        ended, failed = counts.get(batch_id, (0, 0))
        counts[batch_id] = (ended + 1, failed + (m.state is not State.SUCCEEDED))
    rows = tx.rows("batches.members_ended", batch=[(key, *counts[key]) for key in sorted(counts)])
    for _, callback_id, fires_on, failed, still_open in rows:
        if still_open == 0 and callback_id is not None:
            start_callback(tx, callback_id, wanted=fires_on == "done" or failed == 0)


def start_callback(tx: Transaction, callback_id: str, *, wanted: bool) -> None:
    """Let a batch's callback go, or end it because the batch did not succeed. One that is no longer blocked stays as it is."""
    run = lock_runs(tx, [callback_id]).get(callback_id)
    if run is None or run.state is not State.BLOCKED:
        return
    if wanted:
        change = move(run, EventType.UNBLOCKED, State.BLOCKED, State.QUEUED, actor="system", delay=0)
    else:
        change = move(run, EventType.UPSTREAM_FAILED, State.BLOCKED, State.UPSTREAM_FAILED, actor="system", reason="batch_failed")
    apply(tx, [(run, change)])
