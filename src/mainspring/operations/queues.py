"""Queues and their limits: declared by code, changed by operators while everything runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from mainspring.core.limits import Limit, Measure, Rate, Scope
from mainspring.errors import UnknownQueue
from mainspring.operations import limits as limiting
from mainspring.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue as it stands. ``limit`` None is unlimited; ``used`` counts what runs under the limit."""

    name: str
    paused_at: int | None
    paused_by: str | None
    limit: int | None
    used: int | None
    limit_source: str | None
    queued: int


def declare(tx: Transaction, namespace: str, queue: str, *, limits: Sequence[Limit | Rate] = ()) -> None:
    """What code says of a queue. A limit that an operator changed stays as the operator left it."""
    tx.execute("queues.declare", namespace=namespace, queue=queue)
    for limit in limits:
        limiting.declare(tx, namespace, Scope.EACH_KEY if limit.each_key else Scope.QUEUE, queue, limit)


def set_limit(tx: Transaction, namespace: str, queue: str, size: int | None) -> None:
    """At most ``size`` runs of the queue at once, over the whole fleet; None takes the limit away, 0 stops the queue.

    What runs already keeps running and is counted.
    """
    require(tx, namespace, queue)
    limit = None if size is None else Limit(size)
    limiting.put(tx, namespace, Scope.QUEUE, queue, limit, measure=Measure.AT_ONCE)


def listing(tx: Transaction, namespace: str) -> list[Queue]:
    """Every queue of a namespace, by name."""
    found = [
        Queue(
            name=row[0],
            paused_at=row[1],
            paused_by=row[2],
            limit=row[3],
            used=row[4],
            limit_source=row[5],
            queued=row[6],
        )
        for row in tx.rows("queues.list", namespace=namespace)
    ]
    return sorted(found, key=lambda queue: queue.name)  # here: databases disagree on the order of text


def pause(tx: Transaction, namespace: str, queue: str, *, actor: str) -> bool:
    """Stop claims from a queue: what waits keeps its place, what runs goes on. False: it was paused already."""
    require(tx, namespace, queue)
    return tx.execute("queues.pause", namespace=namespace, queue=queue, actor=actor) == 1


def resume(tx: Transaction, namespace: str, queue: str) -> bool:
    """Let claims go on. False: it was not paused."""
    require(tx, namespace, queue)
    return tx.execute("queues.resume", namespace=namespace, queue=queue) == 1


def require(tx: Transaction, namespace: str, queue: str) -> None:
    """Refuse a queue that nobody declared.

    Raises:
        UnknownQueue: there is none of that name.
    """
    if tx.one("queues.exists", namespace=namespace, queue=queue) is None:
        raise UnknownQueue(f"no queue {queue!r} in namespace {namespace!r}; `mainspring queue list` shows those there are")
