"""What a run's own instants do to it: it expires if nobody began it in time, and fails if it has not ended in time.

Both need no worker. A run that is held is asked to stop, and fails when its holder has let go (``core/attempts.py``).
"""

from collections.abc import Sequence
from typing import NamedTuple

from mainspring.core.attempts import move, overdue
from mainspring.core.run import Run
from mainspring.core.states import EventType, State
from mainspring.operations import moves
from mainspring.operations.runs import park
from mainspring.store.database import Transaction


class Instants(NamedTuple):
    """When something is to be done next, by the database's clock; None where nothing waits for it."""

    due_at: int | None
    expires_at: int | None
    deadline_at: int | None
    plan_at: int | None
    backfill_at: int | None
    alert_at: int | None

    @property
    def first(self) -> int | None:
        """The earliest."""
        return min((instant for instant in self if instant is not None), default=None)


def expire(tx: Transaction, *, most: int, actor: str) -> int:
    """Skip up to ``most`` runs that were never begun by the instant after which nobody wants them; how many."""
    expired = _locked(tx, "deadlines.expired", most)
    skipped = [(run, move(run, EventType.SKIPPED, run.state, State.SKIPPED, actor=actor, reason="expired")) for run in expired]
    return len(moves.apply(tx, skipped))


def enforce(tx: Transaction, *, most: int, actor: str) -> int:
    """Fail up to ``most`` runs that are over their deadline, or ask their holders to stop; how many."""
    return len(moves.apply(tx, [(run, overdue(run, actor)) for run in _locked(tx, "deadlines.over", most)]))


def next_instants(tx: Transaction) -> Instants:
    """When runs next become due, expire, or are over their deadline, and when a schedule is next to be looked at."""
    row = tx.one("deadlines.next")
    assert row is not None
    return Instants(*row)


def _locked(tx: Transaction, statement: str, most: int) -> Sequence[Run]:
    return [moves.as_run(row) for row in tx.rows(statement, most=most)]


def park_unserved(tx: Transaction, *, before: int, settled: int, most: int, actor: str) -> int:
    """Park up to ``most`` runs queued since before an instant, where workers live that started before ``settled`` and none of them
    knows the task; how many. Where no worker is, nobody says that the next one will not know it."""
    unserved = tx.rows("deadlines.unserved", before=before, settled=settled, most=most)
    for run_id, namespace in unserved:
        park(tx, run_id, namespace=namespace, actor=actor, reason="unknown_task")
    return len(unserved)
