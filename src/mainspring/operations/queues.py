"""Queues and their limits: declared by code, changed by operators while everything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.ids import stable_id
from mainspring.core.limits import Limit, Measure, Rate, Scope
from mainspring.errors import ChangedMeanwhile, UnknownQueue
from mainspring.operations import audit
from mainspring.operations import limits as limiting
from mainspring.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue as it stands. ``limit`` None is unlimited; ``used`` counts what runs under the limit. ``max_waiting`` None: any
    number of runs may wait; ``bound_source`` says whether code or an operator said so."""

    name: str
    paused_at: int | None
    paused_by: str | None
    limit: int | None
    used: int | None
    limit_source: str | None
    queued: int
    max_waiting: int | None
    overflow: str
    bound_source: str

    @property
    def version(self) -> str:
        """What tells two settings of the queue apart; what runs and waits in it does not count."""
        said = (self.paused_at, self.limit, self.limit_source, self.max_waiting, self.overflow, self.bound_source)
        return f"{stable_id('queue', *map(str, said)):016x}"


def declare(tx: Transaction, namespace: str, queue: str, *, limits: Sequence[Limit | Rate] = ()) -> None:
    """What code says of a queue. A limit that an operator changed stays as the operator left it."""
    tx.execute("queues.declare", namespace=namespace, queue=queue)
    for limit in limits:
        limiting.declare(tx, namespace, Scope.EACH_KEY if limit.each_key else Scope.QUEUE, queue, limit)


def set_limit(tx: Transaction, namespace: str, queue: str, size: int | None, *, actor: str) -> None:
    """At most ``size`` runs of the queue at once, over the whole fleet; None takes the limit away, 0 stops the queue.

    What runs already keeps running and is counted.
    """
    require(tx, namespace, queue)
    limit = None if size is None else Limit(size)
    limiting.put(tx, namespace, Scope.QUEUE, queue, limit, measure=Measure.AT_ONCE, actor=actor)


def listing(tx: Transaction, namespace: str) -> list[Queue]:
    """Every queue of a namespace, by name."""
    found = [_queue(row) for row in tx.rows("queues.list", namespace=namespace, queue="")]
    return sorted(found, key=lambda queue: queue.name)  # here: databases disagree on the order of text


def get(tx: Transaction, namespace: str, queue: str) -> Queue:
    """One queue.

    Raises:
        UnknownQueue: there is none of that name.
    """
    row = tx.one("queues.list", namespace=namespace, queue=queue) if queue else None
    if row is None:
        raise _unknown(namespace, queue)
    return _queue(row)


def require_version(tx: Transaction, namespace: str, queue: str, version: str | None) -> None:
    """Lock a queue until the transaction ends, and refuse to go on where it is not as the caller saw it; None: whatever it is.

    Raises:
        UnknownQueue: there is none. ChangedMeanwhile: somebody else changed it.
    """
    if tx.one("queues.lock", namespace=namespace, queue=queue) is None:
        raise _unknown(namespace, queue)
    limiting.lock(tx, namespace, Scope.QUEUE, queue, measure=Measure.AT_ONCE)
    if version is not None and get(tx, namespace, queue).version != version:
        raise ChangedMeanwhile(f"queue {queue!r} was changed since you read it; read it again", queue=queue)


def pause(tx: Transaction, namespace: str, queue: str, *, actor: str) -> bool:
    """Stop claims from a queue: what waits keeps its place, what runs goes on. False: it was paused already."""
    require(tx, namespace, queue)
    if not tx.execute("queues.pause", namespace=namespace, queue=queue, actor=actor):
        return False
    record(tx, namespace, queue, "paused", actor)
    return True


def resume(tx: Transaction, namespace: str, queue: str, *, actor: str) -> bool:
    """Let claims go on. False: it was not paused."""
    require(tx, namespace, queue)
    if not tx.execute("queues.resume", namespace=namespace, queue=queue):
        return False
    record(tx, namespace, queue, "resumed", actor)
    return True


def record(tx: Transaction, namespace: str, queue: str, verb: str, actor: str, data: Mapping[str, Any] | None = None) -> None:
    """Put on record what an operator did to a queue."""
    audit.record(tx, f"queue:{queue}", action=f"queue.{verb}", namespace=namespace, actor=actor, data=data)


def require(tx: Transaction, namespace: str, queue: str) -> None:
    """Refuse a queue that nobody declared.

    Raises:
        UnknownQueue: there is none of that name.
    """
    if tx.one("queues.exists", namespace=namespace, queue=queue) is None:
        raise _unknown(namespace, queue)


def _unknown(namespace: str, queue: str) -> UnknownQueue:
    return UnknownQueue(f"no queue {queue!r} in namespace {namespace!r}; `mainspring queue list` shows those there are")


def _queue(row: Sequence[Any]) -> Queue:
    used = None if row[4] is None else int(row[4])  # a sum, which PostgreSQL answers as a decimal
    return Queue(
        name=row[0], paused_at=row[1], paused_by=row[2], limit=row[3], used=used, limit_source=row[5], queued=row[6],
        max_waiting=row[7], overflow=row[8], bound_source=row[9],
    )  # fmt: skip
