"""Lanes as rows: reading and writing what the runs of a lane are. Not here: their numbers and order (``core/lanes``)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.core.lanes import Lane
from mainspring.store.database import Transaction


def lanes_of(tx: Transaction, ids: Sequence[int]) -> dict[int, Lane]:
    """Lanes by number."""
    return {row[0]: as_lane(row) for row in tx.rows("lanes.some", ids=sorted(set(ids)))} if ids else {}


def as_lane(row: Sequence[Any]) -> Lane:
    """A row of ``lanes``, in column order. Its number is that of the row, whatever its salt was."""
    lane = Lane(
        namespace=row[1],
        queue=row[2],
        priority=row[3],
        concurrency_key=row[4],
        kind=row[5],
        task=row[6],
        version=row[7],
        fingerprint=row[8],
        requires=_pairs(row[9]),
        uses=_pairs(row[10]),
    )
    lane.__dict__["id"] = row[0]  # the cached number: two lanes whose hashes are alike were told apart when they were made
    return lane


def _pairs(text: str) -> tuple[Any, ...]:
    return tuple((name, value) for name, value in msgspec.json.decode(text)) if text else ()


def as_row(lane: Lane) -> tuple[Any, ...]:
    """A lane as ``runs.intern`` takes it."""
    return (
        lane.id, lane.namespace, lane.queue, lane.priority, lane.concurrency_key, lane.kind, lane.task, lane.version,
        lane.fingerprint, _text(lane.requires), _text(lane.uses),
    )  # fmt: skip


def _text(pairs: Sequence[tuple[str, Any]]) -> str:
    return msgspec.json.encode(pairs).decode() if pairs else ""
