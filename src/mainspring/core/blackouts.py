"""Blackouts: windows of time in which schedules do not fire, and what they make of an instant.

Here: a blackout as a value, as it is written, and the windows of several that a moment lies in. Not here: which instants come due
(``core/planning.py``), and rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from mainspring.core import attributes as labels
from mainspring.core.durations import DAY, SECOND, format_duration, format_instant, parse_duration, parse_instant
from mainspring.core.names import check_name
from mainspring.core.problems import Problems
from mainspring.core.rule_reading import Asked, read_rule
from mainspring.core.rules import After, Rule, as_data, calendars, parts
from mainspring.core.timetable import Timetable
from mainspring.errors import CallerMistake, RuleInvalid, shown

MOST_NAMED = 100
LONGEST_US = 366 * DAY
#: So many windows one after the other are taken for one; what lies beyond is found out at its end.
_MOST_JOINED = 100
_KEYS = ("from", "to", "rule", "for", "policy", "schedules", "attributes", "reason")


class OnBlackout(StrEnum):
    """``skip``: instants inside end as ``blackout``. ``defer``: they are settled together at the end of the window, as late."""

    SKIP = "skip"
    DEFER = "defer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A window from ``first`` to before ``end`` (µs), or one of ``length_us`` from each instant of a ``rule``. Without
    ``schedules`` (a name, or all that begin with what stands before ``*``) and ``attributes`` it is over the whole namespace."""

    policy: OnBlackout
    first: int | None = None
    end: int | None = None
    rule: Rule | None = None
    length_us: int = 0
    schedules: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    def is_over(self, name: str, attributes: Iterable[tuple[str, str]]) -> bool:
        """Whether it concerns a schedule of that name with these attributes."""
        named = not self.schedules or any(
            name.startswith(each[:-1]) if each.endswith("*") else name == each for each in self.schedules
        )
        return named and set(self.attributes) <= set(attributes)

    def as_data(self) -> dict[str, Any]:
        """As JSON or YAML has it, without what is as if it were not written; reading it gives an equal value."""
        told: dict[str, Any] = {"policy": str(self.policy), "schedules": list(self.schedules), "reason": self.reason}
        if self.rule is not None:
            told |= {"rule": as_data(self.rule), "for": format_duration(self.length_us)}
        elif self.first is not None and self.end is not None:
            told |= {"from": format_instant(self.first), "to": format_instant(self.end)}
        return {key: value for key, value in (told | {"attributes": labels.readable(self.attributes)}).items() if value}


class Window(NamedTuple):
    """A blackout with the instants of its rule, if it has one."""

    blackout: Blackout
    table: Timetable | None

    def end_at(self, at: int) -> int | None:
        """Until when the window goes on that a moment lies in; None if it lies in none."""
        said = self.blackout
        if self.table is None:
            return said.end if said.first is not None and said.end is not None and said.first <= at < said.end else None
        begun = self.table.before(at + 1)
        return begun + said.length_us if begun is not None and at < begun + said.length_us else None


class Closed(NamedTuple):
    """A moment lies in a blackout: what it makes of what is due, and until when there is one."""

    policy: OnBlackout
    until: int


def closed(windows: Sequence[Window], at: int) -> Closed | None:
    """What several blackouts make of a moment: one that skips wins, and windows that meet are one."""
    ends = [(window.blackout.policy, end) for window in windows if (end := window.end_at(at)) is not None]
    if not ends:
        return None
    policy = OnBlackout.SKIP if any(each is OnBlackout.SKIP for each, _ in ends) else OnBlackout.DEFER
    until = max(end for _, end in ends)
    for _ in range(_MOST_JOINED):
        later = [end for window in windows if (end := window.end_at(until)) is not None]
        if not later:
            break
        until = max(later)
    return Closed(policy, until)


def read_blackout(data: Mapping[str, Any], *, is_zone: Asked | None = None) -> Blackout:
    """A blackout from the shape that files and the API have.

    Raises:
        RuleInvalid: with everything that is wrong.
    """
    problems = Problems()
    for key in data.keys() - set(_KEYS):
        problems.add(str(key), data[key], f"a blackout has {', '.join(_KEYS)}; this is none of them")
    first, end = (_instant(data.get(key), key, problems) for key in ("from", "to"))
    rule, length = _rule(data.get("rule"), problems, is_zone), 0
    has_window, recurs = data.get("from") is not None or data.get("to") is not None, data.get("rule") is not None
    if has_window == recurs or (has_window and (data.get("from") is None or data.get("to") is None)):
        problems.add("from", data.get("from"), 'write "from" and "to", or "rule" and "for"')
    elif first is not None and end is not None and not first < end <= first + LONGEST_US:
        problems.add("to", data.get("to"), "the end comes after the beginning, by at most 366 days")
    if recurs or data.get("for") is not None:
        length = _length(data.get("for"), problems)
        if not recurs:
            problems.add("for", data.get("for"), 'a length belongs to a "rule": write "from" and "to"')
    if data.get("policy") not in set(OnBlackout):
        problems.add("policy", data.get("policy"), '"skip" ends what is due inside, "defer" settles it at the end: write one')
    schedules, attributes = _names(data.get("schedules"), problems), _attributes(data.get("attributes"), problems)
    reason = data.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > 500:
        problems.add("reason", reason, "why, in at most 500 characters")
    problems.check()
    return Blackout(
        policy=OnBlackout(data["policy"]), first=first, end=end, rule=rule, length_us=length, schedules=schedules,
        attributes=attributes, reason=str(reason),
    )  # fmt: skip


def _instant(given: object, key: str, problems: Problems) -> int | None:
    if given is None:
        return None
    try:
        return parse_instant(given if isinstance(given, str | datetime) else shown(given), option=key)
    except CallerMistake as mistake:
        problems.add(key, given, mistake.message)
        return None


def _rule(given: object, problems: Problems, is_zone: Asked | None) -> Rule | None:
    if given is None:
        return None
    try:
        rule = read_rule(given, is_zone=is_zone)
    except RuleInvalid as wrong:
        for each in wrong.errors:
            problems.add(each["path"], each["value"], each["message"])
        return None
    if calendars(rule) or any(isinstance(each, After) for each in parts(rule)):
        problems.add("rule", given, "the rule of a blackout names no calendar, and waits for no run: write a cron rule")
        return None
    return rule


def _length(given: object, problems: Problems) -> int:
    try:
        length = parse_duration(given if isinstance(given, str | int | float | timedelta) else shown(given), option="for")
    except CallerMistake as mistake:
        problems.add("for", given, mistake.message)
        return 0
    if not SECOND <= length <= LONGEST_US:
        problems.add("for", given, 'a window lasts from a second to 366 days: write "2h"')
    return length


def _names(given: object, problems: Problems) -> tuple[str, ...]:
    names = [] if given is None else given
    if not isinstance(names, list | tuple) or len(names) > MOST_NAMED:
        problems.add("schedules", given, f'write a list of at most {MOST_NAMED} names: ["billing/nightly", "etl/*"]')
        return ()
    for index, name in enumerate(names):
        try:
            check_name(name.removesuffix("*") if isinstance(name, str) and name != "*" else name, "schedule")
        except CallerMistake as mistake:
            problems.add(f"schedules[{index}]", name, mistake.message)
    return tuple(sorted({str(name) for name in names}))


def _attributes(given: object, problems: Problems) -> tuple[tuple[str, str], ...]:
    if given is not None and not isinstance(given, Mapping):
        problems.add("attributes", given, 'write attributes of schedules by name: {"team": "billing"}')
        return ()
    try:
        return labels.checked(given or {})
    except CallerMistake as mistake:
        problems.add("attributes", given, mistake.message)
        return ()
