"""Endpoints of calendars: named sets of days with hours, and the schedules whose rules name them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mainspring.client.calendars import Put
from mainspring.core.access import Operation
from mainspring.core.dates import format_date
from mainspring.errors import CalendarInUse, ChangedMeanwhile, RuleInvalid, UnknownCalendar
from mainspring.operations.calendars import CalendarView
from mainspring.web.api.shapes import Instant, Name, PageQuery, at
from mainspring.web.endpoints import Asked, Body, Endpoint, Nothing, Scoped, acts, reads

Date = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date"}, max_length=10)]
Places = list[Annotated[str, msgspec.Meta(max_length=64)]]


class Hours(Body, frozen=True, kw_only=True, rename={"since": "from"}):
    """A stretch of some weekdays: ``{"days": "mon-fri", "from": "09:00", "until": "17:00"}``."""

    days: Annotated[str, msgspec.Meta(max_length=64)]
    since: Annotated[str, msgspec.Meta(max_length=8)] | None = None
    until: Annotated[str, msgspec.Meta(max_length=8)] | None = None


class Without(Body, frozen=True, kw_only=True):
    """Days that are taken away."""

    dates: list[Date] | None = None
    holidays: Places | None = None
    calendars: list[Name] | None = None


class WantedCalendar(Without, frozen=True, kw_only=True):
    """Whole days (``dates``, the public ``holidays`` of places such as ``DE-BE``, every day of other ``calendars``) and weekly
    ``hours``, ``without`` some days."""

    hours: list[Hours] | None = None
    without: Without | None = None


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar: what it says, and the whole days it comes to."""

    name: str
    version: int
    says: dict[str, Any]
    added: list[Date]
    removed: list[Date]
    created_at: Instant
    updated_at: Instant
    updated_by: str


class UsedCalendar(Calendar, frozen=True, kw_only=True):
    """A calendar, and the schedules that are planned by it."""

    schedules: list[str]


class CalendarPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calendars, by name."""

    data: list[Calendar]
    next_cursor: str | None


class DeletedCalendar(msgspec.Struct, frozen=True, kw_only=True):
    """The name that is free."""

    name: str


def list_calendars(asked: Asked[PageQuery, Nothing]) -> CalendarPage:
    """The calendars of this namespace."""
    query = asked.query
    found = asked.client.calendars.list(after=query.cursor or "", limit=query.limit)
    cursor = found[-1].name if len(found) == query.limit else None
    return CalendarPage(data=[Calendar(**_said(each)) for each in found], next_cursor=cursor)


def get_calendar(asked: Asked[Scoped, Nothing]) -> UsedCalendar:
    """One calendar."""
    return _used(asked.client.calendars.get(asked.path["name"]))


def put_calendar(asked: Asked[Scoped, WantedCalendar]) -> UsedCalendar:
    """Make a calendar what the body says. The schedules that use it are planned again; what was decided stays."""
    said = _without_none(msgspec.to_builtins(asked.body))
    return _used(asked.client.calendars.put_data(asked.path["name"], said))


def delete_calendar(asked: Asked[Scoped, Nothing]) -> DeletedCalendar:
    """Free the name of a calendar that nothing uses."""
    asked.client.calendars.delete(asked.path["name"])
    return DeletedCalendar(name=asked.path["name"])


def _without_none(said: Any) -> Any:
    """What was said, at any depth."""
    if isinstance(said, dict):
        return {key: _without_none(value) for key, value in said.items() if value is not None}
    return [_without_none(each) for each in said] if isinstance(said, list) else said


def _used(found: Put) -> UsedCalendar:
    return UsedCalendar(**_said(found.calendar), schedules=list(found.affected))


def _said(found: CalendarView) -> dict[str, Any]:
    return {
        "name": found.name, "version": found.version, "says": found.spec.as_data(),
        "added": [format_date(day) for day in sorted(found.days.added)],
        "removed": [format_date(day) for day in sorted(found.days.removed)],
        "created_at": at(found.created_at), "updated_at": at(found.updated_at), "updated_by": found.updated_by,
    }  # fmt: skip


_PATH = "/calendars/{name}"

ENDPOINTS: tuple[Endpoint, ...] = (
    reads("/calendars", "calendars.list", list_calendars, query=PageQuery, gives=CalendarPage),
    reads(_PATH, "calendars.get", get_calendar, query=Scoped, gives=UsedCalendar, refusals=(UnknownCalendar,)),
    acts(
        "PUT", _PATH, "calendars.put", put_calendar, body=WantedCalendar, gives=UsedCalendar, kind=Operation.OPERATE,
        refusals=(RuleInvalid, ChangedMeanwhile),
    ),
    acts(
        "DELETE", _PATH, "calendars.delete", delete_calendar, body=Nothing, gives=DeletedCalendar, kind=Operation.OPERATE,
        refusals=(UnknownCalendar, CalendarInUse),
    ),
)  # fmt: skip
