"""Rows of schedules, and what of them is read: the spec, the calendars, the instants of the rule."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from mainspring.core.calendar_reading import calendar_from_data
from mainspring.core.calendars import Calendar
from mainspring.core.schedule import Cursor, Spec
from mainspring.core.timetable import Surroundings, Timetable, timetable
from mainspring.zones import zone

_COMPILED = 4096


class ScheduleRow(NamedTuple):
    """A row of ``schedules`` with the revision in force."""

    id: str
    namespace: str
    name: str
    revision: int
    enabled: int
    kind: str
    set_name: str | None
    paused_at: int | None
    paused_by: str | None
    paused_reason: str | None
    broken: str | None
    created_at: int
    updated_at: int
    deleted_at: int | None
    spec: str
    lane_id: int
    policy_id: int
    body: bytes | None
    revised_at: int
    calendars: str | None = None

    @property
    def is_in_force(self) -> bool:
        """Whether its rule is followed now."""
        return bool(self.enabled) and self.paused_at is None and self.deleted_at is None

    @property
    def wants_alerts(self) -> bool:
        """Whether its spec has alerts; also of one that can no longer be read."""
        return '"alerts":' in self.spec

    @property
    def seed(self) -> str:
        """What ``H`` hashes: the same after a restore, and after re-creation under the same name."""
        return f"{self.namespace}/{self.name}"


@lru_cache(maxsize=_COMPILED)
def read_spec(text: str) -> Spec:
    """A stored spec."""
    return Spec.from_data(msgspec.json.decode(text))


@lru_cache(maxsize=_COMPILED)
def read_calendars(text: str | None) -> Mapping[str, Calendar]:
    """The calendars that a schedule keeps, by name."""
    return {} if text is None else {name: calendar_from_data(each) for name, each in msgspec.json.decode(text).items()}


@lru_cache(maxsize=_COMPILED)
def _table(text: str, calendars: str | None, seed: str, created_at: int, ended_at: int | None, until: int | None) -> Timetable:
    spec = read_spec(text)
    ends = [at for at in (spec.end_at, until) if at is not None]
    around = Surroundings(
        zones=zone, created_at=created_at, start_at=spec.start_at, end_at=min(ends, default=None), ended_at=ended_at, seed=seed,
        calendars=read_calendars(calendars),
    )  # fmt: skip
    return timetable(spec.rule, around)


def table_of(schedule: ScheduleRow, cursor: Cursor | None = None, *, until: int | None = None) -> Timetable:
    """The instants of a schedule, up to ``until`` where that is given.

    Raises:
        RuleInvalid: its rule can no longer be read.
    """
    waits_for_end = schedule.kind == "after" and cursor is not None
    ended_at = cursor.last_ended_at if waits_for_end and cursor else None
    return _table(schedule.spec, schedule.calendars, schedule.seed, schedule.created_at, ended_at, until)
