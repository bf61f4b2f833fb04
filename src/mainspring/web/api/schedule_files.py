"""Endpoints of schedules from files: what applying would change, applying it, and what is there as a file."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mainspring.core.access import Operation
from mainspring.errors import FileInvalid, InvalidOption, NotAllowed, ScheduleConflict
from mainspring.operations.schedule_files import Step
from mainspring.web.access import require_target
from mainspring.web.api.shapes import Name
from mainspring.web.endpoints import Asked, Body, Endpoint, Nothing, Scoped, acts, reads

FileName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
FileText = Annotated[str, msgspec.Meta(max_length=1 << 20)]


class Files(Body, frozen=True, kw_only=True):
    """What each file says, by its name, and the ``set`` that owns what they name. ``prune``: what it owns and they lack goes."""

    files: Annotated[dict[FileName, FileText], msgspec.Meta(min_length=1, max_length=100)]
    set: Name
    prune: bool = False


class FilesToApply(Files, frozen=True, kw_only=True):
    """Files, and what may be done for them: ``allow_large`` deletes more than half of a set, ``force`` overwrites what was changed
    by hand."""

    allow_large: bool = False
    force: bool = False


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field, before and after; null is a field that is not there."""

    field: str
    before: Any
    after: Any


class FieldConflict(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a file from being applied until somebody insists."""

    field: str
    message: str


class FileStep(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one schedule, with its next instants before and after."""

    name: str
    action: str
    renamed_from: str | None
    changes: list[FieldChange]
    conflicts: list[FieldConflict]
    before: list[str]
    after: list[str]
    is_paused: bool


class FileSteps(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of each schedule that the files or the set name."""

    data: list[FileStep]


class ExportQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of an export: of one ``set``, or of the whole namespace."""

    set: Name | None = None


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A file, as YAML. Applying it changes nothing."""

    text: str


def diff_files(asked: Asked[Scoped, Files]) -> FileSteps:
    """What applying files would change. Nothing is written."""
    body = asked.body
    return _steps(asked.client.schedule_files.diff(body.files, set=body.set, prune=body.prune))


def apply_files(asked: Asked[Scoped, FilesToApply]) -> FileSteps:
    """Make a set of schedules what its files say, in one transaction. Pauses stay; requests and programs take the scope of whoever
    applies them."""
    body = asked.body
    made = asked.client.schedule_files.apply(
        body.files, set=body.set, prune=body.prune, allow_large=body.allow_large, force=body.force,
        allow=require_target(asked.identity),
    )  # fmt: skip
    return _steps(made)


def export_files(asked: Asked[ExportQuery, Nothing]) -> Exported:
    """What is there, as a file."""
    return Exported(text=asked.client.schedule_files.export(set=asked.query.set))


def _steps(steps: list[Step]) -> FileSteps:
    return FileSteps(data=[
        FileStep(
            name=each.name, action=str(each.action), renamed_from=each.renamed_from,
            changes=[FieldChange(field=field, before=before, after=after) for field, before, after in each.changes],
            conflicts=[FieldConflict(field=field, message=told) for field, told in each.conflicts], before=list(each.before),
            after=list(each.after), is_paused=each.is_paused,
        )
        for each in steps
    ])  # fmt: skip


_REFUSALS = (FileInvalid, InvalidOption)

ENDPOINTS: tuple[Endpoint, ...] = (
    acts(
        "POST", "/schedule-files/diff", "schedule_files.diff", diff_files, body=Files, gives=FileSteps, kind=Operation.READ,
        refusals=_REFUSALS,
    ),
    acts(
        "POST", "/schedule-files/apply", "schedule_files.apply", apply_files, body=FilesToApply, gives=FileSteps,
        kind=Operation.DEFINE, refusals=(*_REFUSALS, ScheduleConflict, NotAllowed),
    ),
    reads("/schedule-files/export", "schedule_files.export", export_files, query=ExportQuery, gives=Exported),
)  # fmt: skip
