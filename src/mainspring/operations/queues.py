"""Queues and their limits: declared by code, changed by operators while everything runs."""

from dataclasses import dataclass

from mainspring.core.ids import stable_id
from mainspring.errors import UnknownQueue
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


def declare(tx: Transaction, namespace: str, queue: str, *, limit: int | None) -> None:
    """What code says of a queue. A limit that an operator changed stays as the operator left it."""
    tx.execute("queues.declare", namespace=namespace, queue=queue)
    if limit is not None:
        limit_id = _limit_id(namespace, queue)
        if tx.execute("limits.declare", id=limit_id, namespace=namespace, queue=queue, size=limit):
            tx.execute("slots.adopt", id=limit_id, namespace=namespace, queue=queue)


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
    _require(tx, namespace, queue)
    return tx.execute("queues.pause", namespace=namespace, queue=queue, actor=actor) == 1


def resume(tx: Transaction, namespace: str, queue: str) -> bool:
    """Let claims go on. False: it was not paused."""
    _require(tx, namespace, queue)
    return tx.execute("queues.resume", namespace=namespace, queue=queue) == 1


def set_limit(tx: Transaction, namespace: str, queue: str, size: int | None) -> None:
    """At most ``size`` runs of the queue at once, over the whole fleet; None takes the limit away, 0 stops the queue.

    What runs already keeps running and is counted.
    """
    _require(tx, namespace, queue)
    limit_id = _limit_id(namespace, queue)
    if size is None:
        tx.execute("limits.lift", id=limit_id, namespace=namespace, queue=queue)
        return
    tx.execute("limits.set", id=limit_id, namespace=namespace, queue=queue, size=size)
    tx.execute("slots.adopt", id=limit_id, namespace=namespace, queue=queue)


def sweep_slots(tx: Transaction, *, most: int) -> int:
    """Make slots and runs agree: free the slots of ended fences, at most ``most``, and give held runs their missing ones.

    They disagree only where a limit was set while a claim or an ending was under way that knew of none. Returns what was freed.
    """
    if not tx.rows("limits.any"):
        return 0
    limits = tx.rows("limits.lock")
    stale = tx.rows("slots.stale", most=most)
    if stale:
        tx.execute("slots.free", batch=stale)
    for limit_id, namespace, queue in limits:
        tx.execute("slots.adopt", id=limit_id, namespace=namespace, queue=queue)
    return len(stale)


def _require(tx: Transaction, namespace: str, queue: str) -> None:
    if tx.one("queues.exists", namespace=namespace, queue=queue) is None:
        raise UnknownQueue(f"no queue {queue!r} in namespace {namespace!r}; `mainspring queue list` shows those there are")


def _limit_id(namespace: str, queue: str) -> int:
    return stable_id("limit", namespace, queue)
