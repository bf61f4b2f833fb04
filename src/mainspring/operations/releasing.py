"""What an ending lets go: dependants of a run, callbacks of a batch. Reading, counting, closing; the moves are made in ``moves``.

Dependants are let go in the transaction that decides for them, at most ``MOST`` of them; beyond that the upstream is noted as
unfinished, and maintenance goes on from there (``operations/dependencies``).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mainspring.core.dependencies import Settled, Tally, by_batch
from mainspring.core.states import State
from mainspring.store.database import Transaction

MOST = 500


class Waiting(NamedTuple):
    """A dependant whose wait for one upstream is decided."""

    run_id: str
    upstream_id: str
    met: bool


class BatchRow(NamedTuple):
    """A row of ``batches``, in the order of its statements."""

    id: str
    namespace: str
    total: int
    open: int
    failed: int
    stopped: int
    created_at: int
    sealed_at: int | None
    parked_at: int | None
    cancelled_at: int | None

    @property
    def tally(self) -> Tally:
        """How far it is."""
        return Tally(self.sealed_at is not None, self.open, self.failed, self.stopped)


def lock_batches(tx: Transaction, ids: Iterable[str]) -> dict[str, BatchRow]:
    """Batches by id, locked in ascending id until the transaction ends. Locks of runs come before."""
    return {row[0]: BatchRow(*row) for row in tx.rows("batches.lock", ids=sorted(ids))}


def count_members(tx: Transaction, ended: Sequence[tuple[str, State]]) -> list[Settled]:
    """Count members of batches that just ended; what that decides. The batch stays locked, so one call sees the last member."""
    states: dict[str, list[State]] = {}
    for batch_id, state in ended:
        states.setdefault(batch_id, []).append(state)
    rows = lock_batches(tx, states).values()
    tallies = {row.id: row.tally.after(states[row.id]) for row in rows}
    tx.execute("batches.count", batch=[(key, tally.open, tally.failed, tally.stopped) for key, tally in tallies.items()])
    decided = [(by_batch(row.id, row.tally), by_batch(row.id, tallies[row.id])) for row in rows]
    return [after for before, after in decided if after != before]


def waiting(tx: Transaction, settled: Sequence[Settled], *, most: int) -> list[Waiting]:
    """Up to ``most`` waits that are decided; of what has more than that, a note is left for the next transaction."""
    told = [(s.id, str(condition), int(condition in s.met)) for s in settled for condition in sorted(s.met | s.lost)]
    rows = tx.rows("dependencies.waiting", settled=told, most=most + 1)
    if len(rows) > most:
        cut = str(rows[most][1])
        tx.execute("dependencies.leave", batch=sorted({(s.id,) for s in settled if s.id >= cut}))
    return [Waiting(row[0], row[1], bool(row[2])) for row in rows[:most]]


def close(tx: Transaction, waits: Sequence[Waiting], blocked: Iterable[str]) -> dict[str, str | None]:
    """Close decided waits, whose runs the caller has locked; which of the ``blocked`` runs go on: None says freely, an id is the
    upstream that made it impossible."""
    tx.execute("dependencies.close", batch=sorted((wait.run_id, wait.upstream_id) for wait in waits))
    held_back = sorted(blocked)
    if not held_back:
        return {}
    lost = {wait.run_id: wait.upstream_id for wait in waits if not wait.met}
    still = {row[0] for row in tx.rows("dependencies.still_open", ids=held_back)}
    return {run_id: lost.get(run_id) for run_id in held_back if run_id in lost or run_id not in still}
