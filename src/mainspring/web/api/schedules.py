"""Endpoints of schedules: look at them, pause, resume, trigger, delete; what comes next, and what became of what was due. Not here:
what a schedule says (``schedule_documents.py``)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mainspring.client.schedule_filters import KINDS, STATES, tags_of
from mainspring.errors import BlackedOut, UnknownSchedule
from mainspring.web.api.runs import Because
from mainspring.web.api.schedule_shapes import DecidedInstant, DueInstant, Schedule, decided, due, schedule
from mainspring.web.api.shapes import Id, Instant, Name, PageQuery, PageSize, Reason, Text
from mainspring.web.endpoints import Answered, Asked, Body, Nothing, Scoped, acts, reads

ScheduleState = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(STATES)})]
Kind = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(KINDS)})]
Tag = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._/-]{1,100}=[^\x00-\x1f]{0,300}$", description="team=billing")]


class ScheduleQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of the list; its cursor is the last name looked at. ``state`` and ``attribute`` (``team=billing``) may be
    repeated; ``target`` is the name of a task, ``http`` or ``shell``."""

    limit: PageSize = 50
    cursor: Name | None = None
    state: Annotated[list[ScheduleState], msgspec.Meta(min_length=1, max_length=6)] | None = None
    kind: Kind | None = None
    target: Name | None = None
    prefix: Name | None = None
    next_before: Instant | None = None
    attribute: Annotated[list[Tag], msgspec.Meta(max_length=32)] | None = None


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of schedules, by name."""

    data: list[Schedule]
    next_cursor: str | None


class PreviewQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of a preview: how many instants."""

    count: PageSize = 10


class DueInstants(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next, the earliest first."""

    data: list[DueInstant]


class OccurrenceQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of a schedule's ledger."""

    disposition: Text | None = None


class DecidedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a ledger, the newest instant first."""

    data: list[DecidedInstant]
    next_cursor: str | None


class Trigger(Body, frozen=True, kw_only=True):
    """Why it is to run now, and with what instead of its own payload."""

    reason: Reason
    payload: dict[str, Any] | None = None
    ignore_blackout: bool = False


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
    found = asked.client.schedules.find(
        after=query.cursor or "", limit=query.limit, state=query.state, kind=query.kind, target=query.target,
        prefix=query.prefix or "", next_before=query.next_before, attributes=tags_of(query.attribute or ()),
    )  # fmt: skip
    return SchedulePage(data=[schedule(each) for each in found.data], next_cursor=found.next_cursor)


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
    made = client.schedules.trigger(
        asked.path["name"], reason=body.reason, payload=body.payload, ignore_blackout=body.ignore_blackout
    )
    told = TriggeredRun(run_id=made.run_id, occurrence_key=made.key, disposition=str(made.disposition), actor=client.actor)
    return Answered(value=told, status=201)


def delete_schedule(asked: Asked[Scoped, Nothing]) -> Deleted:
    """Free its name and withdraw what waits; what runs goes on, and the ledger stays."""
    asked.client.schedules.delete(asked.path["name"])
    return Deleted(name=asked.path["name"])


def preview_schedule(asked: Asked[PreviewQuery, Nothing]) -> DueInstants:
    """The next instants of a schedule, with what clocks on the wall show."""
    return DueInstants(data=[due(each) for each in asked.client.schedules.preview(asked.path["name"], asked.query.count)])


def list_occurrences(asked: Asked[OccurrenceQuery, Nothing]) -> DecidedPage:
    """What became of a schedule's instants, the newest first."""
    query = asked.query
    page = asked.client.schedules.occurrences(
        asked.path["name"], disposition=query.disposition, cursor=query.cursor, limit=query.limit
    )
    return DecidedPage(data=[decided(each) for each in page.data], next_cursor=page.next_cursor)


def _now(asked: Asked[Any, Any]) -> Schedule:
    return schedule(asked.client.schedules.get(asked.path["name"]))


_ONE = (UnknownSchedule,)

ENDPOINTS = (
    reads("/schedules", "schedules.list", list_schedules, query=ScheduleQuery, gives=SchedulePage),
    acts("DELETE", "/schedules/{name}", "schedules.delete", delete_schedule, body=Nothing, gives=Deleted, refusals=_ONE),
    acts("POST", "/schedules/{name}/pause", "schedules.pause", pause_schedule, body=Because, gives=Schedule, refusals=_ONE),
    acts("POST", "/schedules/{name}/resume", "schedules.resume", resume_schedule, body=Nothing, gives=Schedule, refusals=_ONE),
    acts(
        "POST", "/schedules/{name}/trigger", "schedules.trigger", trigger_schedule,
        body=Trigger, gives=TriggeredRun, statuses=(201,), refusals=(*_ONE, BlackedOut),
    ),
    reads("/schedules/{name}/preview", "schedules.preview", preview_schedule, query=PreviewQuery, gives=DueInstants, refusals=_ONE),
    reads(
        "/schedules/{name}/occurrences", "schedules.occurrences", list_occurrences,
        query=OccurrenceQuery, gives=DecidedPage, refusals=_ONE,
    ),
)  # fmt: skip
