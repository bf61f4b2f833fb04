"""Rules as JSON or YAML has them, to values: everything that is wrong is told at once, with its path and what to write.

Here: the shape, its bounds, and which parts go together. Not here: the grammars of expressions (``core/cron_reading.py``,
``core/rrule_reading.py``), and whether zones and calendars of those names exist unless the caller says how to ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from mainspring.core.calendars import Roll, Span
from mainspring.core.cron import Dialect
from mainspring.core.cron_reading import read_cron
from mainspring.core.dates import read_date, read_time, read_wall
from mainspring.core.durations import DAY, LONGEST, SECOND, parse_duration, parse_instant
from mainspring.core.names import check_name
from mainspring.core.problems import Problems, Refused, listed
from mainspring.core.rrule_reading import read_rrule
from mainspring.core.rules import AUTO, After, CalendarRule, CronRule, Dates, Dst, Interval, Once, Recurrence, Rule, RuleSet
from mainspring.core.zone import Gap, Overlap
from mainspring.errors import CallerMistake

MOST_RULES = 32
DEEPEST = 4
MOST_INSTANTS = 1_000
MOST_DATES = 366
MOST_TIMES = 100

_KINDS: Mapping[str, tuple[str, ...]] = {
    "cron": ("cron", "timezone", "dialect", "dst"),
    "every": ("every", "anchor"),
    "after": ("after",),
    "rrule": ("rrule", "dtstart", "timezone", "dst"),
    "calendar": ("calendar", "at", "timezone", "pick", "of", "dst"),
    "at": ("at", "timezone", "dst"),
    "any": ("any", "timezone"),
}
_AROUND = ("except", "only", "roll")
_ABBREVIATED = re.compile(r"[A-Z]{1,5}(?:[0-9][A-Z]{3,4})?")
_OFFSET = re.compile(r"(?:UTC|GMT)?[+-][0-9:]+")
_EVERY = re.compile(r"@every\s+(\S+)", re.IGNORECASE)

E = TypeVar("E", bound=StrEnum)
Asked = Callable[[str], bool]


def read_rule(data: object, *, path: str = "rule", is_zone: Asked | None = None, is_calendar: Asked | None = None) -> Rule:
    """Read a rule.

    Raises:
        RuleInvalid: with everything that is wrong, each with ``path``, ``value`` and ``message``.
    """
    reader = _Reader(is_zone, is_calendar)
    rule = reader.rule(data, path, 1)
    reader.problems.check()
    assert rule is not None, "a rule that could not be read left no problem"
    return rule


class _Reader:
    """Walks once through what was written; a method a kind. Each gives a value, or None and a problem noted."""

    def __init__(self, is_zone: Asked | None, is_calendar: Asked | None) -> None:
        self.problems = Problems()
        self.rules = 0
        self._is_zone, self._is_calendar = is_zone, is_calendar

    def rule(self, data: object, path: str, depth: int) -> Rule | None:
        """A rule of any kind."""
        self.rules += 1
        if not isinstance(data, Mapping):
            self._wrong(path, data, 'a rule is a mapping, such as {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}')
            return None
        if depth > DEEPEST:
            self._wrong(path, data, f"sets go {DEEPEST} deep at most: put the rules into an outer set")
            return None
        if self.rules > MOST_RULES:
            if self.rules == MOST_RULES + 1:
                self._wrong(path, data, f"a set has at most {MOST_RULES} rules: make two schedules")
            return None
        kinds = [kind for kind in _KINDS if kind in data]
        kind = "calendar" if kinds == ["calendar", "at"] else kinds[0] if len(kinds) == 1 else None
        if kind is None:
            told = (
                f"has {listed(kinds)}, which are kinds of their own: write any: [...]"
                if kinds
                else "says of no kind when it is due"
            )
            self._wrong(path, data, f"the rule {told}; a rule has one of {listed(_KINDS, 'or')}")
            return None
        is_around = any(name in data for name in _AROUND)
        self._check_fields(data, path, kind)
        if kind == "any" or is_around:
            return self._set(data, path, depth, kind)
        return self._plain(data, path, kind)

    def _plain(self, data: Mapping[Any, Any], path: str, kind: str) -> Rule | None:
        readers: dict[str, Callable[[Mapping[Any, Any], str], Rule | None]] = {
            "cron": self._cron,
            "every": self._every,
            "after": self._after,
            "rrule": self._rrule,
            "calendar": self._calendar,
            "at": self._once,
        }
        return readers[kind](data, path)

    def _check_fields(self, data: Mapping[Any, Any], path: str, kind: str) -> None:
        is_around = any(name in data for name in _AROUND)
        known = (*_KINDS[kind], *_AROUND, *(("timezone",) if kind == "every" and is_around else ()))
        for name in data:
            if name not in known:
                self.problems.add(f"{path}.{name}", data[name], f"there is no {name} in this rule: write {listed(known, 'or')}")

    def _wrong(self, path: str, value: object, *sentences: str) -> None:
        self.problems.add(path, value, *sentences)

    # --- the kinds ---

    def _cron(self, data: Mapping[Any, Any], path: str) -> Rule | None:
        text = data["cron"]
        if isinstance(text, str) and (found := _EVERY.fullmatch(text.strip())):
            every = self._span(found.group(1), f"{path}.cron")
            return None if every is None else Interval(every_us=every)
        if isinstance(text, str) and text.strip().lower() == "@continuous":
            return After(after_us=SECOND)
        dialect = self._one_of(Dialect, data, "dialect", path, Dialect.CRON5)
        zone, dst = self._zone(data, path), self._dst(data, path)
        try:
            read_cron(text, dialect or Dialect.CRON5)
        except Refused as refused:
            self._wrong(f"{path}.cron", text, *refused.sentences)
            return None
        if dialect is None or zone is None or dst is None:
            return None
        return CronRule(cron=text, timezone=zone, dialect=dialect, dst=dst)

    def _every(self, data: Mapping[Any, Any], path: str) -> Rule | None:
        every = self._span(data["every"], f"{path}.every")
        anchor = self._instant(data["anchor"], f"{path}.anchor") if data.get("anchor") is not None else None
        return None if every is None else Interval(every_us=every, anchor=anchor)

    def _after(self, data: Mapping[Any, Any], path: str) -> Rule | None:
        span = self._span(data["after"], f"{path}.after")
        return None if span is None else After(after_us=span)

    def _once(self, data: Mapping[Any, Any], path: str) -> Rule | None:
        given = _sequence(data["at"])
        if not 1 <= len(given) <= MOST_INSTANTS:
            self._wrong(f"{path}.at", given, f"write 1 to {MOST_INSTANTS:,} instants, not {len(given):,}")
            return None
        instants, walls = [], []
        for index, each in enumerate(given):
            wall = read_wall(each)
            if wall is not None:
                walls.append(wall)
            elif (instant := self._instant(each, f"{path}.at" if len(given) == 1 else f"{path}.at[{index}]")) is not None:
                instants.append(instant)
        zone = self._zone(data, path) if walls or data.get("timezone") is not None else None
        dst = self._dst(data, path)
        if dst is None or (walls and zone is None):
            return None
        return Once(instants=tuple(sorted(set(instants))), walls=tuple(sorted(set(walls))), timezone=zone, dst=dst)

    def _rrule(self, data: Mapping[Any, Any], path: str) -> Rule | None:
        start = read_wall(data.get("dtstart"))
        if start is None:
            self._wrong(
                f"{path}.dtstart", data.get("dtstart"), 'dtstart is a local time without offset: write "2026-03-07T02:30:00"'
            )
        zone, dst = self._zone(data, path), self._dst(data, path)
        try:
            read_rrule(data["rrule"], start or 0)
        except Refused as refused:
            self._wrong(f"{path}.rrule", data["rrule"], *refused.sentences)
            return None
        if start is None or zone is None or dst is None:
            return None
        return Recurrence(rrule=data["rrule"], start=start, timezone=zone, dst=dst)

    def _calendar(self, data: Mapping[Any, Any], path: str) -> Rule | None:
        name = self._calendar_name(data["calendar"], f"{path}.calendar")
        at = self._times(data.get("at"), f"{path}.at")
        zone, dst = self._zone(data, path), self._dst(data, path)
        of = self._one_of(Span, data, "of", path, None)
        pick = self._picks(data.get("pick"), f"{path}.pick")
        if ("pick" in data) != ("of" in data):
            self._wrong(path, data, 'pick and of go together: write "pick": -1, "of": "month" for the last day of a month')
            return None
        if name is None or at is None or zone is None or dst is None or pick is None:
            return None
        return CalendarRule(calendar=name, at=at, timezone=zone, pick=pick, of=of, dst=dst)

    def _set(self, data: Mapping[Any, Any], path: str, depth: int, kind: str) -> Rule | None:
        """Some rules with what is taken from them; a rule with ``except``, ``only`` or ``roll`` is a set of one."""
        if kind == "any":
            rules = self._rules(data["any"], f"{path}.any", depth)
        else:
            inner = self._plain(data, path, kind)
            rules = [] if inner is None else [inner]
        without = _SetParts(self, f"{path}.except", depth)
        without.read(data.get("except"), with_rules=True)
        only = _SetParts(self, f"{path}.only", depth)
        only.read(data.get("only"), with_rules=False)
        roll = self._one_of(Roll, data, "roll", path, Roll.NONE) or Roll.NONE
        dates = bool(without.dates or only.dates)
        if roll is not Roll.NONE and not dates:
            self._wrong(f"{path}.roll", roll, "roll moves dates that except or only removed: write one of them, or no roll")
            return None
        zone = None
        if data.get("timezone") is not None and (kind == "any" or any(map(_has_instants, rules))):
            zone = self._zone(data, path)
        found = RuleSet(
            any=tuple(rules),
            except_rules=tuple(without.rules),
            except_dates=without.dates,
            only=only.dates,
            roll=roll,
            timezone=zone,
        )
        self._check_set(found, path, dates=dates)
        return found

    def _check_set(self, found: RuleSet, path: str, *, dates: bool) -> None:
        for index, rule in enumerate((*found.any, *found.except_rules)):
            if isinstance(rule, After):
                self._wrong(path, rule, "after counts from the end of a run and stands alone: write it outside of any set")
            elif dates and index < len(found.any) and _has_instants(rule) and found.timezone is None:
                self._wrong(f"{path}.timezone", None, "a date of every or at is one of a zone: write its timezone beside it")
            elif found.roll is not Roll.NONE and index < len(found.any) and _has_instants(rule):
                self._wrong(
                    f"{path}.roll", found.roll, "roll keeps the wall time, and every has none: write a cron rule, or no roll"
                )

    def _rules(self, given: object, path: str, depth: int) -> list[Rule]:
        if not isinstance(given, list | tuple) or not given:
            self._wrong(path, given, 'any is a list of rules: write [{"cron": ...}, {"every": ...}]')
            return []
        found = [self.rule(each, f"{path}[{index}]", depth + 1) for index, each in enumerate(given)]
        return [rule for rule in found if rule is not None]

    # --- their parts ---

    def _zone(self, data: Mapping[Any, Any], path: str) -> str | None:
        name = data.get("timezone")
        wrong = zone_problem(name)
        if wrong is None and self._is_zone is not None and not self._is_zone(str(name)):
            wrong = 'there is no zone of that name: write an IANA name such as "Europe/Berlin", in its exact spelling'
        if wrong is not None:
            self._wrong(f"{path}.timezone", name, wrong)
            return None
        return str(name)

    def _dst(self, data: Mapping[Any, Any], path: str) -> Dst | None:
        given = data.get("dst")
        if given is None or given == "auto":
            return AUTO
        if not isinstance(given, Mapping) or set(given) - {"gap", "overlap"}:
            self._wrong(f"{path}.dst", given, 'dst is a mapping: write {"gap": "at_transition", "overlap": "first"}, or "auto"')
            return None
        gap = None if given.get("gap") == "auto" else self._one_of(Gap, given, "gap", f"{path}.dst", None)
        overlap = None if given.get("overlap") == "auto" else self._one_of(Overlap, given, "overlap", f"{path}.dst", None)
        return Dst(gap=gap, overlap=overlap)

    def _one_of(self, kind: type[E], data: Mapping[Any, Any], name: str, path: str, default: E | None) -> E | None:
        value = data.get(name)
        if value is None:
            return default
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        self._wrong(f"{path}.{name}", value, f"{name} is one of {listed(kind, 'or')}")
        return None

    def _span(self, value: Any, path: str) -> int | None:
        try:
            span = parse_duration(value, option=path.rpartition(".")[2])
        except CallerMistake as mistake:
            self._wrong(path, value, mistake.message)
            return None
        if not SECOND <= span <= LONGEST:
            self._wrong(path, value, f"write 1s to {LONGEST // DAY} days: nothing is due more often than every second")
            return None
        return span

    def _instant(self, value: Any, path: str) -> int | None:
        try:
            return parse_instant(value, option=path.rpartition(".")[2])
        except (CallerMistake, OverflowError) as mistake:
            self._wrong(path, value, getattr(mistake, "message", "the instant is beyond every calendar"))
            return None

    def _times(self, value: object, path: str) -> tuple[int, ...] | None:
        given = _sequence(value)
        times = [read_time(each) for each in given]
        if not 1 <= len(given) <= MOST_TIMES or None in times:
            self._wrong(path, value, f'at is a time of day, or up to {MOST_TIMES} of them: write "09:30"')
            return None
        return tuple(sorted({time for time in times if time is not None}))

    def _picks(self, value: object, path: str) -> tuple[int, ...] | None:
        if value is None:
            return ()
        given = _sequence(value)
        picks = [each for each in given if isinstance(each, int) and not isinstance(each, bool) and 1 <= abs(each) <= 366]
        if not given or len(picks) != len(given):
            self._wrong(path, value, "pick is 1 for the first, 2 for the second, -1 for the last, or a list of such numbers")
            return None
        return tuple(sorted(set(picks)))

    def _calendar_name(self, value: object, path: str) -> str | None:
        try:
            name = check_name(value, "calendar")
        except CallerMistake as mistake:
            self._wrong(path, value, mistake.message)
            return None
        if self._is_calendar is not None and not self._is_calendar(name):
            self._wrong(path, value, "there is no calendar of that name: put it first")
            return None
        return name


class _SetParts:
    """What ``except`` and ``only`` list: rules, calendars and dates."""

    def __init__(self, reader: _Reader, path: str, depth: int) -> None:
        self._reader, self._path, self._depth = reader, path, depth
        self.rules: list[Rule] = []
        self.dates = Dates()

    def read(self, given: object, *, with_rules: bool) -> None:
        """Sort out a list."""
        if given is None:
            return
        if not isinstance(given, list | tuple):
            self._reader.problems.add(self._path, given, 'write a list: [{"calendar": "de-holidays"}, "2026-12-24"]')
            return
        calendars: list[str] = []
        days: list[int] = []
        for index, each in enumerate(given):
            path = f"{self._path}[{index}]"
            if isinstance(each, Mapping) and set(each) == {"calendar"}:
                name = self._reader._calendar_name(each["calendar"], f"{path}.calendar")
                calendars += [] if name is None else [name]
            elif isinstance(each, Mapping) and with_rules:
                rule = self._reader.rule(each, path, self._depth + 1)
                self.rules += [] if rule is None else [rule]
            elif (day := read_date(each)) is not None:
                days.append(day)
            else:
                kinds = "a rule, a calendar or a date" if with_rules else "a calendar or a date"
                self._reader.problems.add(path, each, f'this is {kinds}: write {{"calendar": "de-holidays"}} or "2026-12-24"')
        if len(days) > MOST_DATES:
            self._reader.problems.add(
                self._path, f"{len(days)} dates", f"write at most {MOST_DATES} dates, or put them into a calendar"
            )
        self.dates = Dates(calendars=tuple(dict.fromkeys(calendars)), days=tuple(sorted(set(days))))


def _has_instants(rule: Rule) -> bool:
    """Whether a rule has instants without a wall time, whose date no zone of its own says."""
    match rule:
        case RuleSet():
            return rule.timezone is None and any(_has_instants(each) for each in rule.any)
        case Once():
            return bool(rule.instants)
    return isinstance(rule, Interval)


def zone_problem(name: object) -> str | None:
    """Why a name says of no zone which it is; None if it may be the name of one."""
    if name is None:
        return 'a rule by the wall clock names its zone, for nothing is guessed: write "Europe/Berlin", or "UTC"'
    if not isinstance(name, str) or not name.strip():
        return 'the zone is empty, and nothing is guessed: write "Europe/Berlin", or "UTC"'
    if name.lower() in ("local", "localtime"):
        return f'{name} is another zone on every machine: write an IANA name such as "Europe/Berlin"'
    if _OFFSET.fullmatch(name):
        return 'an offset is no zone, for zones change their offset: write an IANA name such as "Europe/Berlin"'
    if _ABBREVIATED.fullmatch(name) and name not in ("UTC", "GMT"):
        return f'{name} is an abbreviation that means several zones: write an IANA name such as "Europe/Berlin"'
    return None


def _sequence(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]
