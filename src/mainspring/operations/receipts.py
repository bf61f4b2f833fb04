"""Receipts of attempts: written with the finish, under its fence; looked at; forgotten with the run, or before.

Here: rows. Not here: what a receipt holds (``targets/receipts``), and how it is sealed (``codec/keeping``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.operations.releases import Ended

#: Of so many attempts at one run the receipts are kept.
MOST_ATTEMPTS = 50


class Left(NamedTuple):
    """One receipt as it is stored."""

    kind: str
    size: int
    kept: int
    sha256: str
    body: bytes


class ReceiptRow(NamedTuple):
    """What is known of a receipt without opening it. ``size`` bytes there were, ``kept`` are there."""

    attempt: int
    place: int
    kind: str
    size: int
    kept: int
    sha256: str
    at: int

    @property
    def is_truncated(self) -> bool:
        """Whether something was left out."""
        return self.kept < self.size


def write(tx: Transaction, ended: Sequence[Ended], *, lost: set[str]) -> None:
    """Keep what attempts left whose outcome was written in this transaction. Those of lost leases leave nothing."""
    told = [end for end in ended if end.receipts and end.held.id not in lost]
    if not told:
        return
    batch = sorted((end.held.id, end.held.token, place, *left) for end in told for place, left in enumerate(end.receipts))
    tx.execute("receipts.create", batch=batch)
    if old := sorted((end.held.id, end.held.token - MOST_ATTEMPTS + 1) for end in told if end.held.token > MOST_ATTEMPTS):
        tx.execute("receipts.bound", batch=old)


def of_run(tx: Transaction, run_id: str) -> list[ReceiptRow]:
    """What is kept of a run's attempts, in order."""
    return [ReceiptRow(*row) for row in tx.rows("receipts.of_run", id=run_id)]


def get(tx: Transaction, run_id: str, n: int) -> tuple[ReceiptRow, bytes] | None:
    """The ``n``-th receipt of a run, from 0, with what it holds as it is stored."""
    row = tx.one("receipts.get", id=run_id, n=n)
    return None if row is None else (ReceiptRow(*row[:7]), row[7])


def forget(tx: Transaction, run_ids: Sequence[str]) -> int:
    """Remove those of these runs; how many there were."""
    return tx.execute("receipts.forget", ids=sorted(run_ids)) if run_ids else 0
