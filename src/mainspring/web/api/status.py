"""The endpoint that says how things are, in one look whose cost does not grow with the database."""

from __future__ import annotations

import msgspec

from mainspring import __version__
from mainspring.operations import dead_letters, telemetry, views
from mainspring.operations.upkeep_state import upkeep_state
from mainspring.store.database import Transaction
from mainspring.store.inspection import is_sqlite
from mainspring.web.api.shapes import Instant, at, at_or_none
from mainspring.web.endpoints import Asked, Nothing, Scoped, reads


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """What could be claimed of a queue now, counted up to 10,000, and for how long the oldest has been due."""

    queue: str
    queued: int
    oldest_seconds: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How things are. ``upkeep_at``: when some process last made a pass of maintenance."""

    version: str
    database: str
    namespace: str
    at: Instant
    upkeep_at: Instant | None
    is_upkeep_ticking: bool
    workers: int
    places: int
    dead_letters: int
    queues: list[Depth]


def get_status(asked: Asked[Scoped, Nothing]) -> Status:
    """How things are: workers, queues, dead letters, upkeep."""
    kind = "SQLite" if is_sqlite(asked.node.database) else "PostgreSQL"
    found: Status = asked.node.database.read("web.status", lambda tx: _status(tx, asked.client.namespace, kind))
    return found


def _status(tx: Transaction, namespace: str, kind: str) -> Status:
    live = [worker for worker in views.workers(tx, namespace) if worker.state == "live" and worker.expires_at > tx.now]
    upkeep = upkeep_state(tx)
    return Status(
        version=__version__,
        database=kind,
        namespace=namespace,
        at=at(tx.now),
        upkeep_at=at_or_none(upkeep.last_at),
        is_upkeep_ticking=upkeep.is_ticking,
        workers=len(live),
        places=sum(worker.concurrency for worker in live),
        dead_letters=sum(group.count for group in dead_letters.groups(tx, namespace)),
        queues=[
            Depth(queue=each.queue, queued=each.queued, oldest_seconds=each.oldest_us / 1e6)
            for each in sorted(telemetry.queue_depths(tx, namespace))
        ],
    )


ENDPOINTS = (reads("/status", "status.get", get_status, query=Scoped, gives=Status),)
