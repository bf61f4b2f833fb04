"""When a schedule is due, as values: a closed union of seven kinds, and the form in which they are written.

Here: the kinds, and each as the JSON or YAML shape that ``core/rule_reading.py`` reads. Not here: the instants that come of a rule
(``core/timetable.py``), and building one in Python (``core/rule_building.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, assert_never

from mainspring.core.calendars import Roll, Span
from mainspring.core.cron import Dialect
from mainspring.core.dates import format_date, format_time, format_wall
from mainspring.core.durations import format_duration, format_instant
from mainspring.core.zone import Gap, Overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Dst:
    """What to do at clock changes; None is ``auto``: the rule's own kind decides."""

    gap: Gap | None = None
    overlap: Overlap | None = None


AUTO = Dst()


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRule:
    """A cron expression on the clock of a zone."""

    cron: str
    timezone: str
    dialect: Dialect = Dialect.CRON5
    dst: Dst = AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """``anchor + k * every``, elapsed time. Without anchor it is counted from the schedule's start, else from its creation."""

    every_us: int
    anchor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """So long after the end of the previous planned run."""

    after_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """Some instants, and some wall times of a zone."""

    instants: tuple[int, ...] = ()
    walls: tuple[int, ...] = ()
    timezone: str | None = None
    dst: Dst = AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A rule of RFC 5545 on the clock of a zone, from the wall second ``start``."""

    rrule: str
    start: int
    timezone: str
    dst: Dst = AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarRule:
    """Times of day on a calendar's days, or on the n-th of them of each span."""

    calendar: str
    at: tuple[int, ...]
    timezone: str
    pick: tuple[int, ...] = ()
    of: Span | None = None
    dst: Dst = AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """Named calendars, and dates that were written one by one."""

    calendars: tuple[str, ...] = ()
    days: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.calendars or self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Due when any of some rules is, unless one of ``except_rules`` is too; within and without some dates.

    ``timezone`` says in which zone the dates of rules without wall times are meant.
    """

    any: tuple[Rule, ...]
    except_rules: tuple[Rule, ...] = ()
    except_dates: Dates = field(default_factory=Dates)
    only: Dates = field(default_factory=Dates)
    roll: Roll = Roll.NONE
    timezone: str | None = None


Rule: TypeAlias = CronRule | Interval | After | Once | Recurrence | CalendarRule | RuleSet


def parts(rule: Rule) -> Iterator[Rule]:
    """The rule and all within it."""
    yield rule
    if isinstance(rule, RuleSet):
        for each in (*rule.any, *rule.except_rules):
            yield from parts(each)


def timezones(rule: Rule) -> set[str]:
    """The zones that a rule names: whoever has new data for one of them must plan again."""
    found = set()
    for each in parts(rule):
        match each:
            case CronRule() | Once() | Recurrence() | CalendarRule() | RuleSet():
                found |= {each.timezone} - {None}
            case Interval() | After():
                pass
            case _:
                assert_never(each)
    return {zone for zone in found if zone is not None}


def calendars(rule: Rule) -> set[str]:
    """The calendars that a rule names."""
    found: set[str] = set()
    for each in parts(rule):
        if isinstance(each, CalendarRule):
            found.add(each.calendar)
        elif isinstance(each, RuleSet):
            found.update(each.except_dates.calendars, each.only.calendars)
    return found


# --- written ----------------------------------------------------------------------------------------------------------


def as_data(rule: Rule) -> dict[str, Any]:
    """The rule as JSON or YAML has it, without what is as if it were not written; reading it gives an equal rule."""
    match rule:
        case CronRule():
            dialect = {} if rule.dialect is Dialect.CRON5 else {"dialect": str(rule.dialect)}
            return {"cron": rule.cron, "timezone": rule.timezone, **dialect, **_dst(rule.dst)}
        case Interval():
            anchor = {} if rule.anchor is None else {"anchor": format_instant(rule.anchor)}
            return {"every": format_duration(rule.every_us), **anchor}
        case After():
            return {"after": format_duration(rule.after_us)}
        case Once():
            at = [*map(format_instant, rule.instants), *map(format_wall, rule.walls)]
            zone = {} if rule.timezone is None else {"timezone": rule.timezone}
            return {"at": at[0] if len(at) == 1 else at, **zone, **_dst(rule.dst)}
        case Recurrence():
            start = format_wall(rule.start)
            return {"rrule": rule.rrule, "dtstart": start, "timezone": rule.timezone, **_dst(rule.dst)}
        case CalendarRule():
            times = [format_time(second) for second in rule.at]
            pick = {} if rule.of is None else {"pick": _one_or_all(rule.pick), "of": str(rule.of)}
            return {"calendar": rule.calendar, "at": _one_or_all(times), "timezone": rule.timezone, **pick, **_dst(rule.dst)}
        case RuleSet():
            return _set_data(rule)
        case _:
            assert_never(rule)


def _set_data(rule: RuleSet) -> dict[str, Any]:
    without = [*map(as_data, rule.except_rules), *_dates_data(rule.except_dates)]
    return {
        "any": [as_data(each) for each in rule.any],
        **({"except": without} if without else {}),
        **({"only": _dates_data(rule.only)} if rule.only else {}),
        **({} if rule.roll is Roll.NONE else {"roll": str(rule.roll)}),
        **({} if rule.timezone is None else {"timezone": rule.timezone}),
    }


def _dates_data(dates: Dates) -> list[Any]:
    return [*({"calendar": name} for name in dates.calendars), *map(format_date, dates.days)]


def _dst(dst: Dst) -> dict[str, Any]:
    named = {name: str(value) for name, value in (("gap", dst.gap), ("overlap", dst.overlap)) if value is not None}
    return {"dst": named} if named else {}


def _one_or_all(values: Any) -> Any:
    return values[0] if len(values) == 1 else list(values)
