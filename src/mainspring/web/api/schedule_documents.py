"""Endpoints that write what a schedule says: create, replace, merge; and show it. A document is checked as a whole: everything that
is wrong is told at once. Not here: what is done to schedules as they are (``schedules.py``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from mainspring.client.definitions import Definitions, Written, wrong_in
from mainspring.core.access import Operation
from mainspring.errors import ChangedMeanwhile, NameTaken, NeverDue, ScheduleInvalid, TargetRefused, UnknownSchedule
from mainspring.web.access import require_target
from mainspring.web.api.schedule_shapes import DueInstant, Schedule, due, fields_of
from mainspring.web.api.shapes import Name, Priority, Span
from mainspring.web.endpoints import Answered, Asked, Endpoint, Nothing, Scoped
from mainspring.web.problems import FieldError
from mainspring.web.reading import Told

Fields = dict[str, Any]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Failures = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
Moment = Annotated[str, msgspec.Meta(max_length=64)]
Word = Annotated[str, msgspec.Meta(max_length=64)]


class DryRun(Scoped, frozen=True, kw_only=True):
    """Query parameters of what writes a schedule. ``dry_run``: everything is checked as if it were written, and nothing is."""

    dry_run: bool = False


class Replacement(Told, frozen=True, kw_only=True):
    """A schedule, all of it. What is left out, or null, has its default. ``rule``: ``{"cron": …, "timezone": …}``, ``{"every": …}``
    and so on; ``target``: ``{"task": …, "payload": …}``, ``{"http": …}`` or ``{"shell": …}``."""

    rule: Fields
    target: Fields
    name: Name | None = None
    enabled: bool | None = None
    start_at: Moment | None = None
    end_at: Moment | None = None
    max_runs: Count | None = None
    queue: Name | None = None
    priority: Priority | None = None
    attributes: Fields | None = None
    misfire: Fields | Word | None = None
    overlap: Fields | Word | None = None
    jitter: Fields | Span | None = None
    start_within: Span | None = None
    deadline: Span | None = None
    timeout: Span | None = None
    retry: Fields | None = None
    pause_after_failures: Failures | None = None
    alerts: Fields | None = None

    @classmethod
    def also_wrong(cls, raw: Mapping[str, Any]) -> Iterable[FieldError]:
        """See ``Told``."""
        return _fields(wrong_in(raw))


class NewSchedule(Replacement, frozen=True, kw_only=True):
    """A schedule, all of it, under a name that nobody has."""

    name: Name


class Changes(Told, frozen=True, kw_only=True):
    """What is to change of a schedule, at any depth; null takes a field back to its default. ``rule`` and ``target`` are replaced
    whole; another ``name`` renames it."""

    rule: Fields | msgspec.UnsetType = msgspec.UNSET
    target: Fields | msgspec.UnsetType = msgspec.UNSET
    name: Name | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType | None = msgspec.UNSET
    start_at: Moment | msgspec.UnsetType | None = msgspec.UNSET
    end_at: Moment | msgspec.UnsetType | None = msgspec.UNSET
    max_runs: Count | msgspec.UnsetType | None = msgspec.UNSET
    queue: Name | msgspec.UnsetType | None = msgspec.UNSET
    priority: Priority | msgspec.UnsetType | None = msgspec.UNSET
    attributes: Fields | msgspec.UnsetType | None = msgspec.UNSET
    misfire: Fields | Word | msgspec.UnsetType | None = msgspec.UNSET
    overlap: Fields | Word | msgspec.UnsetType | None = msgspec.UNSET
    jitter: Fields | Span | msgspec.UnsetType | None = msgspec.UNSET
    start_within: Span | msgspec.UnsetType | None = msgspec.UNSET
    deadline: Span | msgspec.UnsetType | None = msgspec.UNSET
    timeout: Span | msgspec.UnsetType | None = msgspec.UNSET
    retry: Fields | msgspec.UnsetType | None = msgspec.UNSET
    pause_after_failures: Failures | msgspec.UnsetType | None = msgspec.UNSET
    alerts: Fields | msgspec.UnsetType | None = msgspec.UNSET

    @classmethod
    def also_wrong(cls, raw: Mapping[str, Any]) -> Iterable[FieldError]:
        """See ``Told``."""
        return _fields(wrong_in(raw, partly=True))


class ScheduleSpec(Schedule, frozen=True, kw_only=True):
    """A schedule as it is now, with all that it says (null: that can no longer be read). ``fires``: what would come next, of a dry
    run."""

    spec: Fields | None
    fires: list[DueInstant] | None = None


def create_schedule(asked: Asked[DryRun, NewSchedule]) -> Answered:
    """Make a new schedule. Its ``ETag`` names what it says, for ``If-Match``."""
    query = asked.query
    return _answered(_of(asked).create(_said(asked.body), new_id=asked.new_id, look=query.dry_run))


def get_schedule(asked: Asked[Scoped, Nothing]) -> Answered:
    """One schedule: what it says, whether it will fire, when, and why not. Its ``ETag`` is for ``If-Match``."""
    return _answered(asked.client.schedules.documents().get(asked.path["name"]))


def replace_schedule(asked: Asked[DryRun, Replacement]) -> Answered:
    """Make a schedule say this and nothing else; a new one where there is none. What was due before is settled as it was."""
    made = _of(asked).replace(
        asked.path["name"], _said(asked.body), version=asked.version, new_id=asked.new_id, look=asked.query.dry_run
    )
    return _answered(made)


def merge_schedule(asked: Asked[DryRun, Changes]) -> Answered:
    """Change what is named of a schedule and leave the rest. What was due before is settled as it was."""
    return _answered(_of(asked).merge(asked.path["name"], _said(asked.body), version=asked.version, look=asked.query.dry_run))


def _of(asked: Asked[Any, Any]) -> Definitions:
    return asked.client.schedules.documents(require_target(asked.identity))


def _said(body: Replacement | Changes) -> dict[str, Any]:
    """A body as a document. In a replacement null is what was left out."""
    said = {name: getattr(body, name) for name in body.__struct_fields__}
    without: Any = msgspec.UNSET if isinstance(body, Changes) else None
    return {name: value for name, value in said.items() if value is not without}


def _answered(made: Written) -> Answered:
    fires = None if made.fires is None else [due(each) for each in made.fires]
    told = ScheduleSpec(**fields_of(made.view), spec=None if made.document is None else dict(made.document), fires=fires)
    status = 201 if made.is_new and fires is None else 200
    return Answered(value=told, status=status, headers={"ETag": f'"{made.version}"'})


def _fields(found: Iterable[Mapping[str, str]]) -> list[FieldError]:
    return [FieldError(field=each["path"], message=each["message"], value=each["value"]) for each in found]


_REFUSALS = (ScheduleInvalid, NeverDue, NameTaken, TargetRefused)


def _writes(method: str, path: str, operation: str, handler: Any, body: type[Told], statuses: tuple[int, ...]) -> Endpoint:
    known = () if method == "POST" else (UnknownSchedule, ChangedMeanwhile)
    return Endpoint(
        method=method, path=f"/api/v1{path}", operation=operation, kind=Operation.DEFINE, handler=handler, query=DryRun, body=body,
        gives=ScheduleSpec, statuses=statuses, refusals=(*_REFUSALS, *known), has_body=True, repeats=True, edits=method != "POST",
    )  # fmt: skip


ENDPOINTS = (
    _writes("POST", "/schedules", "schedules.create", create_schedule, NewSchedule, (201, 200)),
    Endpoint(
        method="GET", path="/api/v1/schedules/{name}", operation="schedules.get", kind=Operation.READ, handler=get_schedule,
        query=Scoped, body=Nothing, gives=ScheduleSpec, refusals=(UnknownSchedule,),
    ),
    _writes("PUT", "/schedules/{name}", "schedules.replace", replace_schedule, Replacement, (200, 201)),
    _writes("PATCH", "/schedules/{name}", "schedules.merge", merge_schedule, Changes, (200,)),
)  # fmt: skip
