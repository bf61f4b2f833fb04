"""Reading what is stored of payloads and results: those of runs that wait, and the blobs that anything still points to."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from mainspring.codec import blob_key, reference
from mainspring.core.lanes import Lane
from mainspring.operations.lanes import as_lane
from mainspring.store.database import Transaction

PAGE = 500
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_BEFORE_ALL = -(2**62)

#: Runs a question in a transaction of its own: ``read(name, fn)`` of a database.
Read = Callable[[str, Callable[[Transaction], Any]], Any]


class WaitingPayload(NamedTuple):
    """A run that waits, what it is, and its payload as it is stored."""

    run_id: str
    lane: Lane
    body: bytes | None


def waiting(read: Read, namespace: str) -> Iterator[WaitingPayload]:
    """The payloads of every run of a namespace that waits, in short transactions.

    In the order in which runs move: blocked, waiting for time, queued. What moves on meanwhile is met again; what moves back (a
    worker is at work) may be missed.
    """
    known: dict[int, Lane] = {}
    for statement in ("payloads.blocked", "payloads.waiting_for_time"):
        for page in _pages(read, statement):
            if missing := sorted({row[1] for row in page} - known.keys()):
                known |= {row[0]: as_lane(row) for row in _rows(read, "lanes.some", ids=missing)}
            yield from (WaitingPayload(row[0], known[row[1]], row[3]) for row in page if known[row[1]].namespace == namespace)
    for lane in _lanes(read, namespace):
        for page in _pages(read, "payloads.queued", lane_id=lane.id):
            yield from (WaitingPayload(row[0], lane, row[3]) for row in page)


def _pages(read: Read, statement: str, **where: Any) -> Iterator[list[Any]]:
    place: dict[str, Any] = {"after": _FIRST_ID} | ({} if statement == "payloads.blocked" else {"due_at": _BEFORE_ALL})
    while page := _rows(read, statement, **where, **place, most=PAGE):
        yield page
        place |= {"after": page[-1][0]} | ({"due_at": page[-1][2]} if "due_at" in place else {})


def _lanes(read: Read, namespace: str) -> Iterator[Lane]:
    after = _BEFORE_ALL
    while page := _rows(read, "payloads.lanes", namespace=namespace, after=after, most=PAGE):
        yield from map(as_lane, page)
        after = page[-1][0]


def _rows(read: Read, statement: str, **params: Any) -> list[Any]:
    rows: list[Any] = read(statement, lambda tx: tx.rows(statement, **params))
    return rows


def blobs_of(tx: Transaction, run_ids: Sequence[str]) -> list[str]:
    """The keys of the blobs that these runs point to. Other runs may point to them too: a retry has its source's payload."""
    rows = tx.rows("blobs.of_runs", ids=sorted(run_ids)) if run_ids else []
    return sorted({key for row in rows if (key := blob_key(row[0])) is not None})


def unneeded(tx: Transaction, keys: Sequence[str]) -> list[str]:
    """Those of these blobs that nothing points to: no ledger, and no run that is to follow the owner of a key."""
    if not keys:
        return []
    needed = {row[0] for row in tx.rows("blobs.in_ledgers", pointers=[(reference(key),) for key in keys])}
    needed |= {row[0] for row in tx.rows("blobs.in_keys")}
    return [key for key in keys if reference(key) not in needed]
