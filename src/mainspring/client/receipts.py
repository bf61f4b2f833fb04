"""Receipts of runs: what the attempts of targets left, found by run and opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mainspring.codec import Keeping
from mainspring.errors import UnknownReceipt
from mainspring.operations import receipts
from mainspring.operations.receipts import ReceiptRow
from mainspring.targets.receipts import Receipt


class Found(NamedTuple):
    """One receipt of a run, opened: which attempt (by its number of leases) left it and when, and what it holds."""

    about: ReceiptRow
    receipt: Receipt


def listed(database: Any, run_id: str) -> Sequence[ReceiptRow]:
    """What is kept of a run's attempts, in order."""
    rows: list[ReceiptRow] = database.read("receipts.of_run", lambda tx: receipts.of_run(tx, run_id))
    return rows


def opened(database: Any, keeping: Keeping, run_id: str, n: int) -> Found:
    """The ``n``-th, from 0.

    Raises:
        UnknownReceipt: there are not so many. ValueUnreadable: it is sealed, and not for this app.
    """
    found = database.read("receipts.get", lambda tx: receipts.get(tx, run_id, n))
    if found is None:
        raise UnknownReceipt(f"run {run_id} has no receipt {n}; they are numbered from 0", run_id=run_id)
    about, stored = found
    return Found(about, Receipt.decoded(keeping.read_receipt(stored, run_id=run_id)))
