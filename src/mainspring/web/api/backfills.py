"""Endpoints of backfills: begin one over past instants of a schedule, or only see what it would do; how far it is; cancel it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from mainspring.core.access import Operation
from mainspring.errors import UnknownRun, UnknownSchedule
from mainspring.operations.backfills import BackfillItem, BackfillView
from mainspring.web.api.schedule_documents import DryRun
from mainspring.web.api.shapes import Id, Instant, PageSize, Span, at, at_or_none, seconds
from mainspring.web.endpoints import Answered, Asked, Body, Endpoint, Nothing, Scoped, acts

Moment = Annotated[str, msgspec.Meta(max_length=64)]


class WantedBackfill(Body, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Which past instants, ``from`` to ``to`` inclusive, and how they are to be run."""

    first: Moment
    last: Moment
    only: Literal["missing", "failed", "all"] = "missing"
    order: Literal["oldest_first", "newest_first"] = "oldest_first"
    spacing: Span | None = None
    max_concurrency: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    payload: dict[str, Any] | None = None
    own_slots: bool = False
    include_forgotten: bool = False


class BackfillQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of a look at a backfill: the page of its instants, from behind the ``place`` that is ``after``."""

    after: Annotated[int, msgspec.Meta(ge=-1, le=10_000)] = -1
    limit: PageSize = 50


class BackfilledInstant(msgspec.Struct, frozen=True, kw_only=True):
    """One instant: ``started`` with its run, ``left_out`` with the ``code`` that says why, or nothing yet."""

    place: int
    nominal_at: Instant
    outcome: str | None
    code: str | None
    run_id: Id | None


class BackfillState(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill as it stands: ``done`` of ``total`` instants have their outcome. ``id`` null: it was only looked at."""

    id: Id | None
    schedule_id: Id | None
    first_at: Instant | None
    last_at: Instant | None
    only: str
    order: str
    spacing_seconds: float | None
    max_concurrency: int | None
    own_slots: bool
    actor: str
    total: int
    done: int
    created_at: Instant | None
    finished_at: Instant | None
    cancelled_by: str | None
    instants: list[BackfilledInstant]


def begin_backfill(asked: Asked[DryRun, WantedBackfill]) -> Answered:
    """Run past instants of a schedule again, as slots are free; ``dry_run`` tells of each whether it would run, or why not."""
    body = asked.body
    wanted = asked.client.schedules.backfill(
        asked.path["name"], body.first, body.last, only=body.only, order=body.order, spacing=body.spacing,
        max_concurrency=body.max_concurrency, payload=body.payload, own_slots=body.own_slots,
        include_forgotten=body.include_forgotten,
    )  # fmt: skip
    if asked.query.dry_run:
        items = wanted.preview()
        told = BackfillState(
            id=None, schedule_id=None, first_at=None, last_at=None, only=body.only, order=body.order,
            spacing_seconds=None, max_concurrency=body.max_concurrency, own_slots=body.own_slots, actor=asked.identity.actor,
            total=len(items), done=0, created_at=None, finished_at=None, cancelled_by=None,
            instants=[_instant(each) for each in items],
        )  # fmt: skip
        return Answered(value=told, status=200)
    wanted.id = asked.new_id
    return Answered(value=_state(wanted.apply(), []), status=201)


def get_backfill(asked: Asked[BackfillQuery, Nothing]) -> BackfillState:
    """How far a backfill is, and what became of its instants: a page of them."""
    known, query = asked.client.schedules.backfills, asked.query
    made = known.get(asked.path["backfill_id"])
    return _state(made, known.items(made.id, after=query.after, limit=query.limit))


def cancel_backfill(asked: Asked[Scoped, Nothing]) -> BackfillState:
    """Start nothing more of a backfill; what was started goes on."""
    return _state(asked.client.schedules.backfills.cancel(asked.path["backfill_id"]), [])


def _state(made: BackfillView, items: list[BackfillItem]) -> BackfillState:
    options = made.options
    return BackfillState(
        id=made.id, schedule_id=made.schedule_id, first_at=at(made.first_at), last_at=at(made.last_at), only=str(options.only),
        order="newest_first" if options.newest_first else "oldest_first", spacing_seconds=seconds(options.spacing_us),
        max_concurrency=options.max_concurrency, own_slots=options.own_slots, actor=made.actor, total=made.total, done=made.done,
        created_at=at(made.created_at), finished_at=at_or_none(made.finished_at), cancelled_by=made.cancelled_by,
        instants=[_instant(each) for each in items],
    )  # fmt: skip


def _instant(item: BackfillItem) -> BackfilledInstant:
    return BackfilledInstant(
        place=item.place, nominal_at=at(item.nominal_at), outcome=item.outcome, code=item.code, run_id=item.run_id
    )


ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/schedules/{name}/backfills", operation="backfills.begin", kind=Operation.OPERATE,
        handler=begin_backfill, query=DryRun, body=WantedBackfill, gives=BackfillState, statuses=(201, 200),
        refusals=(UnknownSchedule,), has_body=True, repeats=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/backfills/{backfill_id}", operation="backfills.get", kind=Operation.READ, handler=get_backfill,
        query=BackfillQuery, body=Nothing, gives=BackfillState, refusals=(UnknownRun,),
    ),
    acts(
        "POST", "/backfills/{backfill_id}/cancel", "backfills.cancel", cancel_backfill,
        body=Nothing, gives=BackfillState, refusals=(UnknownRun,),
    ),
)  # fmt: skip
