"""Endpoints of batches: look at one, cancel it. They are made by code."""

from __future__ import annotations

import msgspec

from mainspring.client import BatchView
from mainspring.errors import UnknownRun
from mainspring.web.api.runs import Cancel
from mainspring.web.api.shapes import Id, Instant, at, at_or_none
from mainspring.web.endpoints import Asked, Nothing, Scoped, acts, reads


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch: of ``total`` members ``open`` have not ended. Its runs are found by ``/runs?batch=ID``."""

    id: Id
    total: int
    open: int
    succeeded: int
    failed: int
    stopped: int
    is_over: bool
    created_at: Instant
    sealed_at: Instant | None
    parked_at: Instant | None
    cancelled_at: Instant | None


def get_batch(asked: Asked[Scoped, Nothing]) -> Batch:
    """One batch, as it stands."""
    return _batch(asked.client.batches.get(asked.path["batch_id"]))


def cancel_batch(asked: Asked[Scoped, Cancel]) -> Batch:
    """Cancel every member that has not ended; nobody joins any more. Callbacks for ``done`` still run."""
    batches, batch_id = asked.client.batches, asked.path["batch_id"]
    batches.cancel(batch_id, reason=asked.body.reason)
    return _batch(batches.get(batch_id))


def _batch(found: BatchView) -> Batch:
    return Batch(
        id=found.id, total=found.total, open=found.open, succeeded=found.succeeded, failed=found.failed, stopped=found.stopped,
        is_over=found.is_over, created_at=at(found.created_at), sealed_at=at_or_none(found.sealed_at),
        parked_at=at_or_none(found.parked_at), cancelled_at=at_or_none(found.cancelled_at),
    )  # fmt: skip


ENDPOINTS = (
    reads("/batches/{batch_id}", "batches.get", get_batch, query=Scoped, gives=Batch, refusals=(UnknownRun,)),
    acts("POST", "/batches/{batch_id}/cancel", "batches.cancel", cancel_batch, body=Cancel, gives=Batch, refusals=(UnknownRun,)),
)
