"""Applying moves: the one place where runs change state after their creation, with everything that follows from an ending.

Consequences of an ending belong to its transaction: keys, the batch's counter, and the runs that waited for it. They follow
only from moves that were really made, so they happen once.
"""

from collections.abc import Iterable, Mapping, Sequence

from mainspring.core.attempts import Held, Move, move
from mainspring.core.dependencies import Settled, by_run
from mainspring.core.run import Run
from mainspring.core.states import EventType, State
from mainspring.operations import deliveries, occurrences, releasing
from mainspring.operations.rows import as_run, encode_data
from mainspring.operations.singletons import hand_on
from mainspring.store.database import Transaction

#: Who awaits the end of a run, in `followed`: other runs, its schedule.
OF_DEPENDANTS, OF_SCHEDULE = 1, 2

__all__ = ["apply", "as_run", "encode_data", "lock_runs", "release"]


def apply(tx: Transaction, pairs: Sequence[tuple[Held, Move]]) -> set[str]:
    """Make moves and what follows from them; returns the runs that moved.

    A run that is no longer where its move starts is left alone, and is not in the answer.
    """
    if not pairs:
        return set()
    moved, settled = _make(tx, pairs)
    if settled:
        release(tx, settled)
    return moved


def release(tx: Transaction, settled: Sequence[Settled]) -> None:
    """Let go the runs for which something is decided: those that may begin, and those that never can, with who waits for them."""
    left = releasing.MOST
    while settled:
        waits = releasing.waiting(tx, settled, most=left)
        if not waits:
            return
        left -= len(waits)
        runs = lock_runs(tx, {wait.run_id for wait in waits})
        going = releasing.close(tx, waits, [run.id for run in runs.values() if run.state is State.BLOCKED])
        pairs = [(runs[run_id], _let_go(runs[run_id], lost, tx.now)) for run_id, lost in going.items()]
        settled = _make(tx, pairs)[1] if pairs else []


def _let_go(run: Run, lost: str | None, now: int) -> Move:
    """``lost`` is the upstream whose end makes the wait a vain one."""
    if lost is not None:
        told = {"upstream": lost}
        return move(
            run, EventType.UPSTREAM_FAILED, run.state, State.UPSTREAM_FAILED, actor="system", reason="upstream_failed", data=told
        )
    if run.due_at > max(now, run.created_at):  # our transaction may have begun before the run was created
        return move(run, EventType.UNBLOCKED, run.state, State.SCHEDULED, actor="system")
    return move(run, EventType.UNBLOCKED, run.state, State.QUEUED, actor="system", delay=0)


def _make(tx: Transaction, pairs: Sequence[tuple[Held, Move]]) -> tuple[set[str], list[Settled]]:
    """Make moves, with all that follows but those who wait; what is decided for them."""
    batch = [as_stored(m) for _, m in pairs]
    batch.sort()
    rows = tx.rows("runs.move", batch=batch)
    moved = {row[0] for row in rows}
    made = pairs if len(moved) == len(pairs) else [pair for pair in pairs if pair[0].id in moved]
    deliveries.follow(tx, [m.id for _, m in made if m.state is State.QUEUED])
    of_schedules = {row[0] for row in rows if row[1] & OF_SCHEDULE}
    if retried := [m.id for _, m in made if m.id in of_schedules and (m.origin, m.state) == (State.RUNNING, State.RETRYING)]:
        occurrences.retried(tx, retried)
    settled = _follow_endings(tx, [(held, m) for held, m in made if m.ended], followed={row[0]: row[1] for row in rows if row[1]})
    return moved, settled


def as_stored(m: Move) -> Move:
    """A move as a row of its statement."""
    return m if m.data is None else m._replace(data=encode_data(m.data))  # type: ignore[arg-type]


def lock_runs(tx: Transaction, ids: Iterable[str]) -> dict[str, Run]:
    """Runs by id, locked in ascending id until the transaction ends."""
    return {run.id: run for run in map(as_run, tx.rows("runs.lock", ids=sorted(ids)))}


def _follow_endings(tx: Transaction, ended: Sequence[tuple[Held, Move]], *, followed: Mapping[str, int]) -> list[Settled]:
    """``followed`` tells by whom the end of a run is awaited; what such ends, and those of members of batches, decide."""
    failed = [(held, m) for held, m in ended if m.state is State.FAILED]
    if keyed := [held.id for held, m in ended if held.idempotency_key is not None and _frees_key(m)]:
        tx.execute("keys.free_failed", ids=keyed)
    if singletons := [held.id for held, _ in ended if held.singleton_key is not None]:
        deliveries.follow(tx, hand_on(tx, singletons))
    if dead := [(m.id, m.reason) for _, m in failed if m.origin is State.RUNNING]:
        tx.execute("dead_letters.open", batch=dead)
    if counted := {m.id: m.state for _, m in ended if followed.get(m.id, 0) & OF_SCHEDULE}:
        occurrences.ended(tx, counted)
    settled = [by_run(m.id, m.state) for _, m in ended if followed.get(m.id, 0) & OF_DEPENDANTS]
    if members := [(held.batch_id, m.state) for held, m in ended if held.batch_id is not None]:
        settled += releasing.count_members(tx, members)
    return settled


def _frees_key(m: Move) -> bool:
    """An owner that failed did not do the work, so its key is free; but one that somebody asked to stop keeps it."""
    was_asked = m.origin is State.CANCELLING and m.reason != "deadline"
    return m.state in {State.FAILED, State.SKIPPED, State.UPSTREAM_FAILED} and not was_asked
