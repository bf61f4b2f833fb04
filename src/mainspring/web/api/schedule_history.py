"""Endpoints that look back and ahead: a schedule's runs, revisions and events, why an instant is due or not, and when a rule that
is put nowhere would be due. Not here: the ledger (``schedules.py``)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mainspring.client.definitions import written
from mainspring.core.access import Operation
from mainspring.errors import InvalidOption, RuleInvalid, UnknownSchedule
from mainspring.operations.schedule_history import InstantExplained, Revision
from mainspring.web.api.found import Run, run
from mainspring.web.api.schedule_shapes import DecidedInstant, DueInstant, OnTheWall, decided, due, wall
from mainspring.web.api.schedules import DueInstants
from mainspring.web.api.shapes import Instant, Name, PageQuery, PageSize, at, at_or_none
from mainspring.web.endpoints import Asked, Body, Endpoint, Nothing, Scoped, reads

_WHOLE = 9  # digits of a cursor that counts


class RuleQuestion(Body, frozen=True, kw_only=True):
    """A rule, and how many of its instants after now, or ``after``. ``name``: of the schedule it is for, which ``H`` hashes."""

    rule: dict[str, Any]
    count: PageSize = 10
    after: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    name: Name | None = None


class InstantQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of an explanation: the instant, with its offset."""

    at: Annotated[str, msgspec.Meta(max_length=64)]


class ScheduleRuns(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs, those of the newest instants first."""

    data: list[Run]
    next_cursor: str | None


class SaidRevision(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule said for what was due after ``at``. ``spec`` null: it can no longer be read."""

    revision: int
    actor: str
    at: Instant
    spec: dict[str, Any] | None


class SaidRevisions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of revisions, the newest first."""

    data: list[SaidRevision]
    next_cursor: str | None


class DoneEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done to a schedule."""

    seq: int
    type: str
    at: Instant
    actor: str
    data: dict[str, Any]


class DoneEvents(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what was done to a schedule, in order."""

    data: list[DoneEvent]
    next_cursor: str | None


class FateRange(msgspec.Struct, frozen=True, kw_only=True):
    """Many instants with one fate that are not kept one by one."""

    first_at: Instant
    last_at: Instant
    count: int
    disposition: str
    reason_code: str | None
    revision: int


class ExplainedInstant(msgspec.Struct, frozen=True, kw_only=True):
    """Why an instant is due or not, under the ``revision`` that was in force then, and its fate. ``skipped``: written times that a
    clock change leaves out within a day of it."""

    at: Instant
    is_due: bool
    code: str
    why: str
    revision: int
    previous: Instant | None
    next: Instant | None
    walls: list[OnTheWall]
    skipped: list[OnTheWall]
    occurrence: DecidedInstant | None
    range: FateRange | None


def preview_rule(asked: Asked[Scoped, RuleQuestion]) -> DueInstants:
    """The next instants of a rule that is put nowhere, with what clocks on the wall show."""
    body = asked.body
    found = asked.client.schedules.preview_rule(body.rule, body.count, name=body.name or "", after=body.after)
    told: list[DueInstant] = [due(each) for each in found]
    return DueInstants(data=told)


def explain_instant(asked: Asked[InstantQuery, Nothing]) -> ExplainedInstant:
    """Why an instant of a schedule is due or not, and what became of it."""
    return _explained(asked.client.schedules.explain(asked.path["name"], asked.query.at))


def list_schedule_runs(asked: Asked[PageQuery, Nothing]) -> ScheduleRuns:
    """The runs of a schedule's occurrences, as far as they are kept, those of the newest instants first."""
    query = asked.query
    page = asked.client.schedules.runs(asked.path["name"], cursor=query.cursor, limit=query.limit)
    return ScheduleRuns(data=[run(each) for each in page.data], next_cursor=page.next_cursor)


def list_revisions(asked: Asked[PageQuery, Nothing]) -> SaidRevisions:
    """What a schedule said, the newest first, and who said it."""
    query = asked.query
    found = asked.client.schedules.revisions(asked.path["name"], before=_counted(query.cursor), limit=query.limit + 1)
    page = found[: query.limit]
    last = page[-1].revision if len(found) > query.limit else None
    return SaidRevisions(data=[_revision(each) for each in page], next_cursor=None if last is None else str(last))


def list_schedule_events(asked: Asked[PageQuery, Nothing]) -> DoneEvents:
    """What was done to a schedule, in order, and by whom."""
    query = asked.query
    found = asked.client.schedules.events(asked.path["name"], after=_counted(query.cursor) or 0, limit=query.limit + 1)
    page = found[: query.limit]
    told = [DoneEvent(seq=each.seq, type=each.type, at=at(each.at), actor=each.actor, data=each.data) for each in page]
    return DoneEvents(data=told, next_cursor=str(page[-1].seq) if len(found) > query.limit else None)


def _counted(cursor: str | None) -> int | None:
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _WHOLE):
        raise InvalidOption("cursor is none of this list; give next_cursor of the page before", option="cursor")
    return None if cursor is None else int(cursor)


def _revision(found: Revision) -> SaidRevision:
    spec = written(found.name, found.spec, found.lane, found.policy, found.body)
    return SaidRevision(revision=found.revision, actor=found.actor, at=at(found.at), spec=spec)


def _explained(found: InstantExplained) -> ExplainedInstant:
    kept = found.range
    span = None if kept is None else FateRange(
        first_at=at(kept.first_at), last_at=at(kept.last_at), count=kept.count, disposition=str(kept.disposition),
        reason_code=kept.reason_code, revision=kept.revision,
    )  # fmt: skip
    return ExplainedInstant(
        at=at(found.at), is_due=found.is_due, code=str(found.code), why=found.why, revision=found.revision,
        previous=at_or_none(found.previous), next=at_or_none(found.next), walls=[wall(each) for each in found.walls],
        skipped=[wall(each) for each in found.skipped],
        occurrence=None if found.occurrence is None else decided(found.occurrence), range=span,
    )  # fmt: skip


_ONE = (UnknownSchedule,)

ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/rules/preview", operation="rules.preview", kind=Operation.READ, handler=preview_rule,
        query=Scoped, body=RuleQuestion, gives=DueInstants, refusals=(RuleInvalid,), has_body=True,
    ),
    reads(
        "/schedules/{name}/explain", "schedules.explain", explain_instant,
        query=InstantQuery, gives=ExplainedInstant, refusals=_ONE,
    ),
    reads("/schedules/{name}/runs", "schedules.runs", list_schedule_runs, query=PageQuery, gives=ScheduleRuns, refusals=_ONE),
    reads(
        "/schedules/{name}/revisions", "schedules.revisions", list_revisions,
        query=PageQuery, gives=SaidRevisions, refusals=_ONE,
    ),
    reads("/schedules/{name}/events", "schedules.events", list_schedule_events, query=PageQuery, gives=DoneEvents, refusals=_ONE),
)  # fmt: skip
