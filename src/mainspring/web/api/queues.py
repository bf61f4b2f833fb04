"""Endpoints of queues: look at them, pause, resume, and change what an operator may say. Edits can name the version they saw."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.client.queues import QueueEdit
from mainspring.errors import ChangedMeanwhile, UnknownQueue
from mainspring.operations import queues
from mainspring.web.api.shapes import Instant, PageQuery, at_or_none, paged
from mainspring.web.endpoints import Answered, Asked, Body, Nothing, Scoped, acts, reads

Size = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue. ``limit``: so many of its runs at once, of which ``used`` are; ``max_waiting``: so many may wait, and ``overflow``
    says what becomes of one more. The sources say who said so, ``code`` or ``operator``."""

    name: str
    paused_at: Instant | None
    paused_by: str | None
    limit: int | None
    limit_source: str | None
    used: int | None
    queued: int
    max_waiting: int | None
    overflow: str
    bound_source: str


class QueuePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of queues, by name."""

    data: list[Queue]
    next_cursor: str | None


class Edit(Body, frozen=True, kw_only=True):
    """What to change; what is not named stays. ``null`` takes a limit or a bound away."""

    paused: bool | UnsetType = UNSET
    limit: Size | UnsetType | None = UNSET
    max_waiting: Size | UnsetType | None = UNSET
    overflow: Literal["refuse", "skip", "drop_oldest"] | UnsetType = UNSET


class Pausing(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the queue is paused now, and whether that changed anything."""

    name: str
    paused: bool
    changed: bool


def list_queues(asked: Asked[PageQuery, Nothing]) -> QueuePage:
    """Every queue, by name."""
    query = asked.query
    page, cursor = paged(asked.client.queues.list(), lambda each: each.name, limit=query.limit, cursor=query.cursor)
    return QueuePage(data=[_queue(each) for each in page], next_cursor=cursor)


def get_queue(asked: Asked[Scoped, Nothing]) -> Answered:
    """One queue. Its ``ETag`` names what is said of it, for ``If-Match``."""
    return _with_version(asked.client.queues.get(asked.path["name"]))


def edit_queue(asked: Asked[Scoped, Edit]) -> Answered:
    """Change what an operator says of a queue, all of it or nothing. It holds, whatever a deploy says."""
    body = {name: value for name, value in msgspec.structs.asdict(asked.body).items() if value is not UNSET}
    return _with_version(asked.client.queues.edit(asked.path["name"], QueueEdit(**body), version=asked.version))


def pause_queue(asked: Asked[Scoped, Nothing]) -> Pausing:
    """Stop claims from a queue: what waits keeps its place, what runs goes on."""
    name = asked.path["name"]
    return Pausing(name=name, paused=True, changed=asked.client.queues.pause(name))


def resume_queue(asked: Asked[Scoped, Nothing]) -> Pausing:
    """Let claims from a queue go on."""
    name = asked.path["name"]
    return Pausing(name=name, paused=False, changed=asked.client.queues.resume(name))


def _with_version(found: queues.Queue) -> Answered:
    return Answered(value=_queue(found), headers={"ETag": f'"{found.version}"'})


def _queue(found: queues.Queue) -> Queue:
    return Queue(
        name=found.name, paused_at=at_or_none(found.paused_at), paused_by=found.paused_by, limit=found.limit,
        limit_source=found.limit_source, used=found.used, queued=found.queued, max_waiting=found.max_waiting,
        overflow=found.overflow, bound_source=found.bound_source,
    )  # fmt: skip


_ONE = (UnknownQueue,)

ENDPOINTS = (
    reads("/queues", "queues.list", list_queues, query=PageQuery, gives=QueuePage),
    reads("/queues/{name}", "queues.get", get_queue, query=Scoped, gives=Queue, refusals=_ONE),
    acts(
        "PATCH", "/queues/{name}", "queues.edit", edit_queue,
        body=Edit, gives=Queue, refusals=(UnknownQueue, ChangedMeanwhile), edits=True,
    ),
    acts("POST", "/queues/{name}/pause", "queues.pause", pause_queue, body=Nothing, gives=Pausing, refusals=_ONE),
    acts("POST", "/queues/{name}/resume", "queues.resume", resume_queue, body=Nothing, gives=Pausing, refusals=_ONE),
)  # fmt: skip
