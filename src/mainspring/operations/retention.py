"""Forgetting: ended runs older than their retention, with everything that hangs on them."""

from collections.abc import Sequence
from typing import NamedTuple

from mainspring.core.ids import uuid7_floor
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption
from mainspring.operations.moves import lock_runs
from mainspring.store.database import Transaction

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Pruned(NamedTuple):
    """How many runs went, and where the next call goes on; None when there is nothing left."""

    runs: int
    cursor: str | None


def prune(tx: Transaction, namespace: str, *, cut_off: int, states: Sequence[State], cursor: str | None, most: int) -> Pruned:
    """Remove up to ``most`` runs that ended before ``cut_off``, from ``cursor`` on, oldest first.

    Ids grow with creation and nothing ends before it was created, so the runs to look at are those with ids below the
    cut-off. Runs with an open dead letter, and members of a batch that is not over, are kept.

    Raises:
        InvalidOption: a state that is not terminal; refused before anything is read.
    """
    live = sorted(set(states) - TERMINAL)
    if live:
        raise InvalidOption(f"only ended runs can be pruned, and {live[0]} is not an end", option="states")
    rows = tx.rows(
        "retention.prunable",
        after=cursor or _FIRST_ID,
        below=uuid7_floor(cut_off),
        namespace=namespace,
        states=sorted(states),
        cut_off=cut_off,
        most=most,
    )
    found = [row[0] for row in rows]
    ids = sorted(lock_runs(tx, found)) if found else []  # runs before keys, as whoever else takes both; and each is counted once
    if ids:
        tx.execute("retention.remember", ids=ids)
        tx.execute("retention.prune", ids=ids)
    return Pruned(runs=len(ids), cursor=found[-1] if len(found) == most else None)


def forget(tx: Transaction, *, workers_before: int) -> None:
    """Remove idempotency keys whose time is over, and workers that have been gone since before an instant."""
    tx.execute("retention.keys")
    tx.execute("workers.forget", before=workers_before)
