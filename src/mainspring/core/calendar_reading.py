"""A calendar as people write it, as a value; and that value expanded into the days and hours that rules look at.

Here: reading with every mistake told at once, the form in which it is kept, and the expansion. Not here: what a rule does with a
calendar (``core/calendars.py``), which days are holidays (``mainspring.public_holidays``), and rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.calendars import MOST_DAYS, Calendar, Hours
from mainspring.core.dates import DAY_SECONDS, WEEKDAY_NAMES, format_date, format_time, read_date, read_time
from mainspring.core.names import check_name
from mainspring.core.problems import Problems
from mainspring.errors import CallerMistake

MOST_HOURS = 100
MOST_SOURCES = 16
_PARTS = ("dates", "holidays", "calendars")
_KEYS = ("hours", *_PARTS, "without")
_SHORT = [name[:3].lower() for name in WEEKDAY_NAMES]

#: Whether there are holidays of that place, such as ``DE`` or ``DE-BE``: None if so, else what to write.
HolidayProblem = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Whole days: written one by one, the public holidays of places, and every day that is in other calendars."""

    dates: tuple[int, ...] = ()
    holidays: tuple[str, ...] = ()
    calendars: tuple[str, ...] = ()

    @property
    def changes_by_itself(self) -> bool:
        """Whether time adds to it."""
        return bool(self.holidays or self.calendars)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarSpec:
    """What a calendar says: weekly hours and whole days, and the days taken away from them."""

    hours: tuple[Hours, ...] = ()
    days: Days = Days()
    without: Days = Days()

    @property
    def changes_by_itself(self) -> bool:
        """Whether time adds to it, so that it is expanded anew."""
        return self.days.changes_by_itself or self.without.changes_by_itself

    @property
    def calendars(self) -> set[str]:
        """The calendars it is made of."""
        return {*self.days.calendars, *self.without.calendars}

    def as_data(self) -> dict[str, Any]:
        """As JSON or YAML has it, without what is as if it were not written; reading it gives an equal value."""
        without = _days_data(self.without)
        hours = [_hours_data(each) for each in self.hours]
        return {**({"hours": hours} if hours else {}), **_days_data(self.days), **({"without": without} if without else {})}


def read_calendar(data: Mapping[str, Any], *, holiday_problem: HolidayProblem = lambda _: None) -> CalendarSpec:
    """A calendar from the shape that files and the API have.

    Raises:
        RuleInvalid: with everything that is wrong.
    """
    problems = Problems()
    for key in data.keys() - set(_KEYS):
        problems.add(str(key), data[key], f"a calendar has {', '.join(_KEYS)}; this is none of them")
    without = data.get("without")
    if without is not None and not isinstance(without, Mapping):
        problems.add("without", without, 'write {"dates": ["2026-12-24"]}')
        without = None
    for key in (without or {}).keys() - set(_PARTS):
        problems.add(f"without.{key}", (without or {})[key], f"days taken away are {', '.join(_PARTS)}; this is none of them")
    spec = CalendarSpec(
        hours=_hours(data.get("hours"), problems),
        days=_days(data, "", problems, holiday_problem),
        without=_days(without or {}, "without.", problems, holiday_problem),
    )
    if not problems.found and spec == CalendarSpec(without=spec.without):
        problems.add("calendar", {}, "it has no day at all: give hours, dates, holidays or calendars")
    problems.check()
    return spec


def expand(
    name: str,
    spec: CalendarSpec,
    version: int,
    first: int,
    end: int,
    *,
    holidays: Callable[[str, int, int], Sequence[int]],
    others: Mapping[str, Calendar],
) -> Calendar:
    """The days and hours of a calendar; what time adds to it from day ``first`` to before ``end``.

    Raises:
        RuleInvalid: it has more than 10,000 days.
    """
    added, removed = (_expanded(days, first, end, holidays, others) for days in (spec.days, spec.without))
    if len(added) + len(removed) > MOST_DAYS:
        problems = Problems()
        problems.add(
            "calendar", name, f"it has {len(added) + len(removed)} days, and at most {MOST_DAYS} are kept: make it smaller"
        )
        problems.check()
    return Calendar(name=name, version=version, hours=spec.hours, added=frozenset(added), removed=frozenset(removed))


def calendar_data(calendar: Calendar) -> dict[str, Any]:
    """A calendar as it is kept beside what uses it."""
    hours = [[each.weekday, each.since, each.until] for each in calendar.hours]
    return {
        "name": calendar.name, "version": calendar.version, "hours": hours, "added": sorted(calendar.added),
        "removed": sorted(calendar.removed),
    }  # fmt: skip


def calendar_from_data(data: Mapping[str, Any]) -> Calendar:
    """Undo ``calendar_data``."""
    hours = tuple(Hours(weekday=day, since=since, until=until) for day, since, until in data["hours"])
    added, removed = frozenset(data["added"]), frozenset(data["removed"])
    return Calendar(name=data["name"], version=data["version"], hours=hours, added=added, removed=removed)


def _expanded(
    days: Days, first: int, end: int, holidays: Callable[[str, int, int], Sequence[int]], others: Mapping[str, Calendar]
) -> set[int]:
    found = set(days.dates)
    for place in days.holidays:
        found.update(holidays(place, first, end))
    for name in days.calendars:
        found.update(day for day in range(first, end) if others[name].has_day(day))
    return found


# --- reading ----------------------------------------------------------------------------------------------------------


def _days(data: Mapping[str, Any], prefix: str, problems: Problems, holiday_problem: HolidayProblem) -> Days:
    dates = _listed(data.get("dates"), f"{prefix}dates", problems, most=MOST_DAYS)
    days = [read_date(each) for each in dates]
    for index, (given, day) in enumerate(zip(dates, days, strict=True)):
        if day is None:
            problems.add(f"{prefix}dates[{index}]", given, 'this is no date: write "2026-12-24"')
    places = _listed(data.get("holidays"), f"{prefix}holidays", problems, most=MOST_SOURCES)
    for index, place in enumerate(places):
        wrong = holiday_problem(place) if isinstance(place, str) else 'write a country or a part of one: "DE", "DE-BE"'
        if wrong is not None:
            problems.add(f"{prefix}holidays[{index}]", place, wrong)
    names = _listed(data.get("calendars"), f"{prefix}calendars", problems, most=MOST_SOURCES)
    for index, name in enumerate(names):
        try:
            check_name(name, "calendar")
        except CallerMistake as mistake:
            problems.add(f"{prefix}calendars[{index}]", name, mistake.message)
    known = sorted({day for day in days if day is not None})
    return Days(dates=tuple(known), holidays=tuple(sorted(set(map(str, places)))), calendars=tuple(sorted(set(map(str, names)))))


def _hours(given: object, problems: Problems) -> tuple[Hours, ...]:
    found: set[tuple[int, int, int]] = set()
    for index, each in enumerate(_listed(given, "hours", problems, most=MOST_HOURS)):
        path, example = f"hours[{index}]", 'write {"days": "mon-fri", "from": "09:00", "until": "17:00"}'
        if not isinstance(each, Mapping) or not set(each) <= {"days", "from", "until"} or "days" not in each:
            problems.add(path, each, example)
            continue
        since, until = _second(each.get("from"), 0), _second(each.get("until"), DAY_SECONDS)
        weekdays = _weekdays(each["days"])
        if weekdays is None:
            problems.add(f"{path}.days", each["days"], 'write weekdays and ranges of them: "mon-fri", "sat,sun"')
        if since is None or until is None or since >= until:
            problems.add(path, each, f"a stretch begins before it ends, and both are times of day: {example}")
        elif weekdays is not None:
            found |= {(day, since, until) for day in weekdays}
    return tuple(Hours(weekday=day, since=since, until=until) for day, since, until in sorted(found))


def _second(given: object, default: int) -> int | None:
    return default if given is None else DAY_SECONDS if given == "24:00" else read_time(given)


def _weekdays(given: object) -> set[int] | None:
    """Monday is 0. Ranges may go over the end of the week."""
    found: set[int] = set()
    for part in str(given).replace(" ", "").lower().split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if any(end not in _SHORT for end in ends):
            return None
        start, stop = (_SHORT.index(end) for end in ends)
        found |= {(start + step) % 7 for step in range((stop - start) % 7 + 1)}
    return found


def _listed(given: object, path: str, problems: Problems, *, most: int) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        problems.add(path, given, "write a list")
        return []
    if len(given) > most:
        problems.add(path, f"{len(given)} entries", f"write at most {most}")
        return []
    return list(given)


# --- written ----------------------------------------------------------------------------------------------------------


def _days_data(days: Days) -> dict[str, Any]:
    parts = {"dates": [format_date(day) for day in days.dates], "holidays": list(days.holidays), "calendars": list(days.calendars)}
    return {name: part for name, part in parts.items() if part}


def _hours_data(hours: Hours) -> dict[str, str]:
    until = "24:00" if hours.until == DAY_SECONDS else format_time(hours.until)
    return {"days": _SHORT[hours.weekday], "from": format_time(hours.since), "until": until}
