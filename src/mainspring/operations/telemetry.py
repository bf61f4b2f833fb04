"""Reading what telemetry needs and nobody else does: under which span runs were created, and how much waits in which queue.

Bounded reads, whatever the size of the database. Not here: spans and metrics themselves (``telemetry``).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.store.database import Transaction

#: How many runs of one queue are counted, and how many of its lanes are looked at.
MOST_COUNTED = 10_000
_MOST_QUEUES = 1_000

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class QueueDepth(NamedTuple):
    """How much waits in a queue: runs that could be claimed (at most ``MOST_COUNTED`` are counted), and for how long the oldest
    has been due, in µs."""

    queue: str
    queued: int
    oldest_us: int


def traces(tx: Transaction, run_ids: Sequence[str]) -> dict[str, str]:
    """The ``traceparent`` of those of these runs that were created under a span."""
    rows = tx.rows("telemetry.traces", ids=sorted(run_ids))
    told = {str(row[0]): _decode(row[1]).get("trace") for row in rows}
    return {run_id: trace for run_id, trace in told.items() if isinstance(trace, str)}


def queue_depths(tx: Transaction, namespace: str) -> list[QueueDepth]:
    """What waits in each queue of a namespace now."""
    rows = tx.rows("telemetry.queues", namespace=namespace, most=MOST_COUNTED, queues=_MOST_QUEUES)
    return [QueueDepth(name, queued, 0 if oldest is None else max(0, tx.now - oldest)) for name, queued, oldest in rows]
