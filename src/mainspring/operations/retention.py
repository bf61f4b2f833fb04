"""Forgetting: ended runs older than their retention, with everything that hangs on them; results and receipts before that."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.durations import DAY, HOUR
from mainspring.core.ids import is_run_id, uuid7_floor
from mainspring.core.policy import Policy
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption, shown
from mainspring.operations import receipts, request_keys
from mainspring.operations.moves import lock_runs
from mainspring.operations.rows import encode_data
from mainspring.operations.views import decode_data
from mainspring.store.database import Transaction

#: How long acts on many runs are remembered.
ACTIONS_KEPT_US = 30 * DAY
_REST_US = 1 * HOUR
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_WALK = "runs"
#: How a message begins that is sealed together with its traceback (``codec/keeping.py``).
SEALED = "mainspring-sealed:"


class Pruned(NamedTuple):
    """How many runs went, and where the next call goes on; None when there is nothing left."""

    runs: int
    cursor: str | None


def prune(tx: Transaction, namespace: str, *, cut_off: int, states: Sequence[State], cursor: str | None, most: int) -> Pruned:
    """Remove up to ``most`` runs that ended before ``cut_off``, from ``cursor`` on, in the order in which they were made.

    The cut-off is in the cursor: calls that go on with one never reach runs that ended after the first call. Ids grow with creation
    and nothing ends before it was created, so the runs to look at are those with ids below the cut-off. Runs with an open dead
    letter, those somebody waits for, and members of a batch that is not over, are kept.

    Raises:
        InvalidOption: a state that is not terminal, or no cursor of ours; refused before anything is read.
    """
    tx.capabilities.require("prunes", "what has ended stays, as long as the database keeps it")
    live = sorted(set(states) - TERMINAL)
    if live:
        raise InvalidOption(f"only ended runs can be pruned, and {live[0]} is not an end", option="states")
    after = None
    if cursor is not None:
        cut_off, after = _parse(cursor)
    found = prunable(tx, namespace, cut_off=cut_off, states=states, after=after, most=most)
    removed = remove(tx, found)
    return Pruned(runs=len(removed), cursor=f"{cut_off}.{found[-1]}" if len(found) == most else None)


def prunable(tx: Transaction, namespace: str, *, cut_off: int, states: Sequence[State], after: str | None, most: int) -> list[str]:
    """The next runs that a prune with this cut-off would remove."""
    rows = tx.rows(
        "retention.prunable",
        after=after or _FIRST_ID,
        below=uuid7_floor(cut_off),
        namespace=namespace,
        states=sorted(states),
        cut_off=cut_off,
        most=most,
    )
    return [row[0] for row in rows]


def remove(tx: Transaction, run_ids: Sequence[str]) -> list[str]:
    """Remove those of these ended runs that may go, with all that hangs on them; which went."""
    if not run_ids:
        return []
    there = sorted(lock_runs(tx, run_ids))  # runs before keys, as whoever else takes both; and each is counted once
    ids = [row[0] for row in tx.rows("retention.removable", ids=there)] if there else []
    if not ids:
        return []
    batches = [row[0] for row in tx.rows("retention.batches", ids=ids)]
    tx.execute("retention.remember", ids=ids)
    tx.execute("retention.prune", ids=ids)
    if batches:
        tx.execute("retention.empty_batches", ids=batches)
    return ids


def forget(tx: Transaction, *, workers_before: int) -> None:
    """Remove idempotency keys and answers whose time is over, workers that have been gone since before an instant, and acts long
    over."""
    tx.execute("retention.keys")
    request_keys.forget(tx)
    tx.execute("workers.forget", before=workers_before)
    tx.execute("retention.actions", before=tx.now - ACTIONS_KEPT_US)


class Slice(NamedTuple):
    """What one slice of retention did. ``more``: the next one may follow at once."""

    runs: int
    results: int
    receipts: int
    more: bool


def forget_slice(tx: Transaction, *, most: int) -> Slice:
    """The next slice of a walk over all that is old enough to be forgotten: results, receipts and runs, each after the time that
    was captured with the run.

    Any number may call: one walks and the others find nothing to do. At its end the walk rests for an hour, and begins anew. It
    reads no run that is younger than the shortest time anything is kept.
    """
    if not tx.capabilities.prunes:
        return Slice(0, 0, 0, False)
    tx.execute("retention.begin", what=_WALK, place=_FIRST_ID)
    row = tx.one("retention.walk", what=_WALK)
    if row is None:
        return Slice(0, 0, 0, False)
    kept = _policies(tx)
    shortest = min([ttl for said in kept.values() for ttl in (said.run_ttl_us, said.result_ttl_us, said.receipt_ttl_us)], default=0)
    page = tx.rows("retention.page", after=row[0], below=uuid7_floor(tx.now - shortest), most=most)
    over = len(page) < most
    tx.execute("retention.go_on", what=_WALK, place=_FIRST_ID if over else page[-1][0], rest=_REST_US if over else 0)
    ended = [(row[0], tx.now - row[3], kept[row[2]]) for row in page if row[3] is not None]
    gone = set(remove(tx, [run_id for run_id, age, said in ended if age > said.run_ttl_us]))
    left = [each for each in ended if each[0] not in gone]
    results = [run_id for run_id, age, said in left if age > said.result_ttl_us]
    told = [run_id for run_id, age, said in left if age > said.receipt_ttl_us]
    return Slice(
        len(gone),
        tx.execute("retention.results", ids=results) if results else 0,
        _forget_receipts(tx, told) if told else 0,
        not over,
    )


def _policies(tx: Transaction) -> dict[int, Policy]:
    """Every captured policy. There are few."""
    return {row[0]: Policy.from_data(msgspec.json.decode(row[1])) for row in tx.rows("policies.all")}


def _forget_receipts(tx: Transaction, run_ids: Sequence[str]) -> int:
    """Forget what these runs' attempts left, and their tracebacks; messages too, where they are sealed with those. How many."""
    told = [(row[0], row[1], decode_data(row[2])) for row in tx.rows("retention.receipts", ids=run_ids)]
    batch = sorted((run_id, seq, encode_data(_without_receipt(data))) for run_id, seq, data in told)
    left = receipts.forget(tx, run_ids)
    return left + (tx.execute("retention.forget_receipts", batch=batch) if batch else 0)


def _without_receipt(data: Mapping[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in data.items() if name != "traceback"}
    return left | {"message": ""} if str(left.get("message", "")).startswith(SEALED) else left


def _parse(cursor: str) -> tuple[int, str]:
    cut_off, _, place = cursor.partition(".")
    if not (cut_off.lstrip("-").isdigit() and is_run_id(place)):
        raise InvalidOption(f"{shown(cursor)} is no cursor of a prune; give the one that the call before answered", option="cursor")
    return int(cut_off), place
