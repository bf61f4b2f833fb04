"""Endpoints of workers: who is there, and what they serve. Only reading: a worker is stopped where it runs."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainspring.errors import UnknownWorker
from mainspring.operations.views import WorkerView
from mainspring.web.api.shapes import Instant, PageQuery, at
from mainspring.web.endpoints import Asked, Nothing, Scoped, reads


class WorkerQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list."""

    state: Literal["live", "gone"] | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker. Its lease of everything it holds ends at ``expires_at``, unless it is renewed."""

    id: str
    state: str
    tasks: list[str]
    queues: list[str]
    concurrency: int
    started_at: Instant
    expires_at: Instant


class WorkerPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of workers, by id."""

    data: list[Worker]
    next_cursor: str | None


def list_workers(asked: Asked[WorkerQuery, Nothing]) -> WorkerPage:
    """The workers of this namespace, by id; those that are gone are kept for a day."""
    query = asked.query
    found = asked.client.fleet.page(state=query.state or "", limit=query.limit, cursor=query.cursor)
    return WorkerPage(data=[_worker(each) for each in found], next_cursor=found[-1].id if len(found) == query.limit else None)


def get_worker(asked: Asked[Scoped, Nothing]) -> Worker:
    """One worker."""
    return _worker(asked.client.fleet.get(asked.path["worker_id"]))


def _worker(found: WorkerView) -> Worker:
    return Worker(
        id=found.id, state=found.state, tasks=list(found.tasks), queues=list(found.queues), concurrency=found.concurrency,
        started_at=at(found.started_at), expires_at=at(found.expires_at),
    )  # fmt: skip


ENDPOINTS = (
    reads("/workers", "workers.list", list_workers, query=WorkerQuery, gives=WorkerPage),
    reads("/workers/{worker_id}", "workers.get", get_worker, query=Scoped, gives=Worker, refusals=(UnknownWorker,)),
)
