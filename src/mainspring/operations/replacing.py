"""Making room for a newer occurrence: the oldest runs under way are asked to stop, and what follows if they do not.

Under ``replace`` a run that ignores the request keeps its slot, and that is told once; under ``terminate`` its attempt is fenced
after the grace, and the run ends. Lock order: runs, then occurrences and the cursor, as of a run that ends. Not here: who is to
make room (``core/overlap.py``), and runs that wait for a retry (``planning``).
"""

from collections.abc import Sequence

from mainspring.core.attempts import move
from mainspring.core.occurrence import Origin
from mainspring.core.overlap import OnOverlap, Overlap
from mainspring.core.planning import Standing
from mainspring.core.run import Run
from mainspring.core.states import EventType, State
from mainspring.operations import moves, planning, visits
from mainspring.operations.rows import encode_data
from mainspring.operations.runs import cancellation
from mainspring.operations.schedule_rows import ScheduleRow, read_spec
from mainspring.store.database import Transaction

STALLED = "replace_stalled"


def stop_oldest(tx: Transaction, schedule_id: str, count: int, *, actor: str) -> None:
    """Ask the oldest runs that are under way to stop, since newer ones wait for their slots, and see to those that were asked
    before. Asked twice nothing changes."""
    standing = planning.standing(tx, [schedule_id]).get(schedule_id, [])
    holders = [each for each in standing if each.holds_slot][:count]
    if not any(each.waits and each.origin is not Origin.MANUAL for each in standing):
        return
    (row,) = tx.rows("cursors.schedules", ids=[schedule_id])
    schedule = ScheduleRow(*row)
    overlap = read_spec(schedule.spec).overlap
    _ask(tx, holders, actor)
    runs = moves.lock_runs(tx, [each.run_id for each in holders])
    late = [(each, runs[each.run_id]) for each in holders if _is_late(runs.get(each.run_id), overlap, tx.now)]
    if overlap.policy is OnOverlap.TERMINATE:
        _fence(tx, [run for _, run in late])
    else:
        _tell(tx, schedule, late)
    if sum(run.state is State.CANCELLING for run in runs.values()) > len(late):
        tx.execute("cursors.wake", id=schedule_id, wait=overlap.patience_us)


def _ask(tx: Transaction, holders: Sequence[Standing], actor: str) -> None:
    locked = moves.lock_runs(tx, [each.run_id for each in holders])
    asked = [run for run in locked.values() if not run.is_terminal and run.state is not State.NEEDS_ATTENTION]
    changes = [(run, cancellation(run, actor=actor, reason=visits.REPLACED)) for run in asked]
    moves.apply(tx, [(run, change) for run, change in changes if change is not None])


def _is_late(run: Run | None, overlap: Overlap, now: int) -> bool:
    if run is None or run.state is not State.CANCELLING:
        return False
    return run.cancel_requested_at is not None and run.cancel_requested_at + overlap.patience_us <= now


def _fence(tx: Transaction, runs: Sequence[Run]) -> None:
    """End runs over the heads of their attempts, which can say nothing of them any more."""
    data = {"outcome": "terminated", "fenced": True}
    ends = [
        (run, move(run, EventType.CANCELLED, run.state, State.CANCELLED, actor="system", reason=visits.REPLACED, data=data))
        for run in runs
    ]
    if moved := moves.apply(tx, ends):
        tx.execute("runs.fence", ids=sorted(moved))


def _tell(tx: Transaction, schedule: ScheduleRow, late: Sequence[tuple[Standing, Run]]) -> None:
    for holder, run in late:
        if holder.stalled_at is not None:
            continue
        tx.one("cursors.lock", id=schedule.id)  # whoever writes of a schedule holds its cursor
        if tx.execute("occurrences.stalled", key=holder.key) == 1:
            data = encode_data({"run": run.id, "asked_at": run.cancel_requested_at})
            tx.execute("schedules.log", id=schedule.id, type=STALLED, actor="system", data=data)
            if schedule.wants_alerts:
                from mainspring.operations import alerting  # paid for only by those who have alerts

                alerting.judge(tx, [schedule.id])
