"""Deliveries: what is written when a run can be claimed in a queue whose workers have to be told.

Here: the rows, written in the transaction of the event that queues the run, and read by operators. Not here: sending them and what
follows from it (``dispatching``). A queue without deliveries pays nothing but one look at a small table where runs become queued.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from mainspring.store.database import Plan, Query, Transaction

T = TypeVar("T")

Dispatch = Literal["eager", "deferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery as it stands: ``pending``, ``claimed`` by a relay, ``published``, ``failed`` (refused, tried again), ``dead``.

    ``tries`` counts refusals in a row, ``lost`` how often it was published and nobody came.
    """

    run_id: str
    queue: str
    state: str
    available_at: int
    tries: int
    lost: int
    error: str | None


def declare(tx: Transaction, namespace: str, queue: str, *, dispatch: Dispatch | None, dispatch_timeout: int | None) -> None:
    """What code says of a queue's deliveries; ``dispatch`` None: it has none. ``dispatch_timeout`` (µs) bounds a reservation."""
    if dispatch is not None:
        tx.capabilities.require("deliveries", f"declare queue {queue!r} without delivery=, and have workers poll")
    tx.execute("deliveries.declare", namespace=namespace, queue=queue, dispatch=dispatch, dispatch_timeout=dispatch_timeout)


def delivering(tx: Transaction, namespace: str) -> dict[str, Dispatch]:
    """The queues of a namespace that have deliveries, and how they are dispatched."""
    return {row[0]: row[1] for row in tx.rows("deliveries.queues", namespace=namespace)}


def follow(tx: Transaction, run_ids: Sequence[str]) -> None:
    """These runs have just become queued, or may have: write what has to be said of them."""
    if run_ids and tx.rows("deliveries.any"):
        tx.execute("deliveries.write", ids=sorted(run_ids))


def followed(plan: Plan[T], run_ids: Sequence[str]) -> Generator[Query, Any, T]:
    """A plan that creates runs, and then writes their deliveries in the same transaction."""
    answer = yield from plan
    yield Query(statement="deliveries.write", params={"ids": sorted(run_ids)})
    return answer


def listing(tx: Transaction, namespace: str, *, most: int = 500) -> list[Delivery]:
    """The deliveries of a namespace, the next to be dealt with first."""
    return [
        Delivery(run_id=row[0], queue=row[1], state=row[2], available_at=row[3], tries=row[4], lost=row[5], error=row[6])
        for row in tx.rows("deliveries.list", namespace=namespace, most=most)
    ]
