"""What endpoints tell of schedules: how one is now, and the instants at which it is due."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.core.instants import Note
from mainspring.core.timetable import Fire
from mainspring.operations.occurrences import Occurrence
from mainspring.operations.schedules import ScheduleView
from mainspring.web.api.shapes import Id, Instant, at, at_or_none


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


def schedule(found: ScheduleView) -> Schedule:
    """A schedule as it is told."""
    return Schedule(**fields_of(found))


def fields_of(found: ScheduleView) -> dict[str, Any]:
    """The fields of a schedule that is told."""
    return {
        "id": found.id,
        "name": found.name,
        "revision": found.revision,
        "kind": found.kind,
        "state": str(found.state),
        "reason": found.reason,
        "next_nominal_at": at_or_none(found.next_nominal_at),
        "next_at": at_or_none(found.next_at),
        "fired": found.fired,
        "failure_streak": found.failure_streak,
        "last_fired_at": at_or_none(found.last_fired_at),
        "last_success_at": at_or_none(found.last_success_at),
        "last_failure_at": at_or_none(found.last_failure_at),
        "paused_at": at_or_none(found.paused_at),
        "paused_by": found.paused_by,
        "created_at": at(found.created_at),
        "updated_at": at(found.updated_at),
    }


def due(fire: Fire) -> DueInstant:
    """A due instant as it is told."""
    return DueInstant(at=at(fire.at), walls=[wall(each) for each in fire.notes])


def wall(note: Note) -> OnTheWall:
    """What a clock shows as it is told."""
    return OnTheWall(local=note.local, offset=note.offset, zone=note.zone, note=note.told)


def decided(found: Occurrence) -> DecidedInstant:
    """A due instant and its fate as they are told."""
    return DecidedInstant(
        key=found.key, nominal_at=at(found.nominal_at), due_at=at(found.due_at), decided_at=at(found.decided_at),
        origin=str(found.origin), revision=found.revision, disposition=str(found.disposition), reason_code=found.reason_code,
        reason=found.reason, actor=found.actor, is_late=found.is_late, run_id=found.run_id, into=found.into_key,
        covers_first=at_or_none(found.covers_first), covers_last=at_or_none(found.covers_last),
        covers_count=found.covers_count, made_good_by=found.made_good_by, tz_version=found.tz_version,
    )  # fmt: skip
