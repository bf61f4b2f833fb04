"""Endpoints of schedules: look at them, pause, resume, trigger, delete; what comes next, and what became of what was due. Not here:
writing what a schedule says."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.core.timetable import Fire
from mainspring.errors import UnknownSchedule
from mainspring.operations.occurrences import Occurrence
from mainspring.operations.schedules import ScheduleView
from mainspring.web.api.runs import Because
from mainspring.web.api.shapes import Id, Instant, Name, PageQuery, PageSize, Reason, Text, at, at_or_none
from mainspring.web.endpoints import Answered, Asked, Body, Nothing, Scoped, acts, reads


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is now. ``state`` says whether it will fire and ``reason`` why not; ``next_at`` has jitter in it."""

    id: Id
    name: str
    revision: int
    kind: str
    state: str
    reason: str | None
    next_nominal_at: Instant | None
    next_at: Instant | None
    fired: int
    failure_streak: int
    last_fired_at: Instant | None
    last_success_at: Instant | None
    last_failure_at: Instant | None
    paused_at: Instant | None
    paused_by: str | None
    created_at: Instant
    updated_at: Instant


class ScheduleQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of the list; its cursor is the last name told."""

    limit: PageSize = 50
    cursor: Name | None = None


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of schedules, by name."""

    data: list[Schedule]
    next_cursor: str | None


class PreviewQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of a preview: how many instants."""

    count: PageSize = 10


class OnTheWall(msgspec.Struct, frozen=True, kw_only=True):
    """What clocks in a zone show at an instant; ``note`` says what a clock change does to it, and is empty mostly."""

    local: str
    offset: str
    zone: str
    note: str


class DueInstant(msgspec.Struct, frozen=True, kw_only=True):
    """An instant at which a schedule is due."""

    at: Instant
    walls: list[OnTheWall]


class DueInstants(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next, the earliest first."""

    data: list[DueInstant]


class OccurrenceQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of a schedule's ledger."""

    disposition: Text | None = None


class DecidedInstant(msgspec.Struct, frozen=True, kw_only=True):
    """One due instant and its fate. ``covers_*``: the late instants for which its run stands; ``into``: the one that stands for
    it."""

    key: str
    nominal_at: Instant
    due_at: Instant
    decided_at: Instant
    origin: str
    revision: int
    disposition: str
    reason_code: str | None
    reason: str | None
    actor: str
    is_late: bool
    run_id: Id
    into: str | None
    covers_first: Instant | None
    covers_last: Instant | None
    covers_count: int | None
    made_good_by: str | None
    tz_version: str | None


class DecidedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a ledger, the newest instant first."""

    data: list[DecidedInstant]
    next_cursor: str | None


class Trigger(Body, frozen=True, kw_only=True):
    """Why it is to run now, and with what instead of its own payload."""

    reason: Reason
    payload: dict[str, Any] | None = None


class TriggeredRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger came to."""

    run_id: Id
    occurrence_key: str
    disposition: str
    actor: str


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The name that is free now."""

    name: str


def list_schedules(asked: Asked[ScheduleQuery, Nothing]) -> SchedulePage:
    """Schedules by name: will it fire, when next, how it went."""
    query = asked.query
    found = asked.client.schedules.list(after=query.cursor or "", limit=query.limit + 1)
    page = found[: query.limit]
    return SchedulePage(data=[_schedule(each) for each in page], next_cursor=page[-1].name if len(found) > query.limit else None)


def get_schedule(asked: Asked[Scoped, Nothing]) -> Schedule:
    """One schedule: whether it will fire, when, and why not."""
    return _now(asked)


def pause_schedule(asked: Asked[Scoped, Because]) -> Schedule:
    """Let nothing more fire; what is due meanwhile is settled at the resume."""
    asked.client.schedules.pause(asked.path["name"], reason=asked.body.reason)
    return _now(asked)


def resume_schedule(asked: Asked[Scoped, Nothing]) -> Schedule:
    """Let it fire again: what was due meanwhile is late."""
    asked.client.schedules.resume(asked.path["name"])
    return _now(asked)


def trigger_schedule(asked: Asked[Scoped, Trigger]) -> Answered:
    """Run it now, whatever its rule says and whether it is paused. Its own instants stay as they are."""
    client, body = asked.client, asked.body
    made = client.schedules.trigger(asked.path["name"], reason=body.reason, payload=body.payload)
    told = TriggeredRun(run_id=made.run_id, occurrence_key=made.key, disposition=str(made.disposition), actor=client.actor)
    return Answered(value=told, status=201)


def delete_schedule(asked: Asked[Scoped, Nothing]) -> Deleted:
    """Free its name and withdraw what waits; what runs goes on, and the ledger stays."""
    asked.client.schedules.delete(asked.path["name"])
    return Deleted(name=asked.path["name"])


def preview_schedule(asked: Asked[PreviewQuery, Nothing]) -> DueInstants:
    """The next instants of a schedule, with what clocks on the wall show."""
    return DueInstants(data=[_due(each) for each in asked.client.schedules.preview(asked.path["name"], asked.query.count)])


def list_occurrences(asked: Asked[OccurrenceQuery, Nothing]) -> DecidedPage:
    """What became of a schedule's instants, the newest first."""
    query = asked.query
    page = asked.client.schedules.occurrences(
        asked.path["name"], disposition=query.disposition, cursor=query.cursor, limit=query.limit
    )
    return DecidedPage(data=[_decided(each) for each in page.data], next_cursor=page.next_cursor)


def _now(asked: Asked[Any, Any]) -> Schedule:
    return _schedule(asked.client.schedules.get(asked.path["name"]))


def _schedule(found: ScheduleView) -> Schedule:
    return Schedule(
        id=found.id, name=found.name, revision=found.revision, kind=found.kind, state=str(found.state), reason=found.reason,
        next_nominal_at=at_or_none(found.next_nominal_at), next_at=at_or_none(found.next_at), fired=found.fired,
        failure_streak=found.failure_streak, last_fired_at=at_or_none(found.last_fired_at),
        last_success_at=at_or_none(found.last_success_at), last_failure_at=at_or_none(found.last_failure_at),
        paused_at=at_or_none(found.paused_at), paused_by=found.paused_by, created_at=at(found.created_at),
        updated_at=at(found.updated_at),
    )  # fmt: skip


def _due(fire: Fire) -> DueInstant:
    walls = [OnTheWall(local=each.local, offset=each.offset, zone=each.zone, note=each.told) for each in fire.notes]
    return DueInstant(at=at(fire.at), walls=walls)


def _decided(found: Occurrence) -> DecidedInstant:
    return DecidedInstant(
        key=found.key, nominal_at=at(found.nominal_at), due_at=at(found.due_at), decided_at=at(found.decided_at),
        origin=str(found.origin), revision=found.revision, disposition=str(found.disposition), reason_code=found.reason_code,
        reason=found.reason, actor=found.actor, is_late=found.is_late, run_id=found.run_id, into=found.into_key,
        covers_first=at_or_none(found.covers_first), covers_last=at_or_none(found.covers_last),
        covers_count=found.covers_count, made_good_by=found.made_good_by, tz_version=found.tz_version,
    )  # fmt: skip


_ONE = (UnknownSchedule,)

ENDPOINTS = (
    reads("/schedules", "schedules.list", list_schedules, query=ScheduleQuery, gives=SchedulePage),
    reads("/schedules/{name}", "schedules.get", get_schedule, query=Scoped, gives=Schedule, refusals=_ONE),
    acts("DELETE", "/schedules/{name}", "schedules.delete", delete_schedule, body=Nothing, gives=Deleted, refusals=_ONE),
    acts("POST", "/schedules/{name}/pause", "schedules.pause", pause_schedule, body=Because, gives=Schedule, refusals=_ONE),
    acts("POST", "/schedules/{name}/resume", "schedules.resume", resume_schedule, body=Nothing, gives=Schedule, refusals=_ONE),
    acts(
        "POST", "/schedules/{name}/trigger", "schedules.trigger", trigger_schedule,
        body=Trigger, gives=TriggeredRun, statuses=(201,), refusals=_ONE,
    ),
    reads("/schedules/{name}/preview", "schedules.preview", preview_schedule, query=PreviewQuery, gives=DueInstants, refusals=_ONE),
    reads(
        "/schedules/{name}/occurrences", "schedules.occurrences", list_occurrences,
        query=OccurrenceQuery, gives=DecidedPage, refusals=_ONE,
    ),
)  # fmt: skip
