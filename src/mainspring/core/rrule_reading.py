"""Recurrence rules of RFC 5545, from their text: ``FREQ=MONTHLY;BYDAY=-1FR``, with RDATE and EXDATE on lines of their own.

Here: the grammar and what may go together. Not here: which wall times come of a rule (``core/rrule.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mainspring.core.dates import DAY_SECONDS, WEEKDAY_NAMES, read_date, read_time
from mainspring.core.problems import Refused, listed
from mainspring.core.rrule import Frequency, RRule
from mainspring.errors import shown

LONGEST_RULE = 16_384
MOST_COUNT = 10_000
MOST_INTERVAL = 100_000
MOST_DATES = 366

_WEEKDAYS = {name[:2].upper(): number for number, name in enumerate(WEEKDAY_NAMES)}
_BY_DAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_MOMENT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})(Z?)")
_NUMBERS = re.compile(r"[+-]?[0-9]{1,6}")

#: Part, field, bounds, and whether it counts from the end too.
_LISTS: Mapping[str, tuple[str, int, int, bool]] = {
    "BYSECOND": ("by_second", 0, 59, False),
    "BYMINUTE": ("by_minute", 0, 59, False),
    "BYHOUR": ("by_hour", 0, 23, False),
    "BYMONTHDAY": ("by_month_day", 1, 31, True),
    "BYYEARDAY": ("by_year_day", 1, 366, True),
    "BYWEEKNO": ("by_week", 1, 53, True),
    "BYMONTH": ("by_month", 1, 12, False),
    "BYSETPOS": ("by_position", 1, 366, True),
}


def read_rrule(text: object, start: int) -> RRule:
    """Read a rule that begins at the wall second ``start``.

    Raises:
        Refused: with a sentence for every part that cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
        raise Refused('a recurrence rule is text, such as "FREQ=MONTHLY;BYDAY=-1FR"')
    if len(text) > LONGEST_RULE:
        raise Refused(f"a recurrence rule has at most {LONGEST_RULE:,} characters, not {len(text):,}")
    lines: dict[str, list[str]] = {"RRULE": [], "RDATE": [], "EXDATE": []}
    for line in text.upper().split():
        name, colon, rest = line.partition(":")
        if not colon:
            name, rest = "RRULE", line
        if name not in lines:
            raise Refused(
                f"{shown(line)} is no line of a rule: write RRULE:, RDATE: or EXDATE:, the start as dtstart, the zone as timezone"
            )
        lines[name].append(rest)
    if len(lines["RRULE"]) != 1:
        raise Refused(f"{len(lines['RRULE'])} rules in one text: write one, and any of several rules as a set")
    problems: list[str] = []
    fields = _read_parts(lines["RRULE"][0], problems)
    for name, field in (("RDATE", "more"), ("EXDATE", "less")):
        fields[field] = _read_dates(name, ",".join(lines[name]), problems)
    if problems:
        raise Refused(*problems)
    return RRule(start=start, **fields)


def _read_parts(text: str, problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for part in text.rstrip(";").split(";"):
        name, _, value = part.partition("=")
        if name in seen:
            problems.append(f"{name} is there twice: write it once, with a list")
        seen.add(name)
        try:
            found |= _read_part(name, value)
        except Refused as refused:
            problems += refused.sentences
    if "FREQ" not in seen:
        problems.append(f"FREQ is missing: write FREQ= and one of {listed(Frequency, 'or')}")
    elif not problems:
        problems += _company(found)
    return found


def _read_part(name: str, value: str) -> dict[str, Any]:
    if name in _LISTS:
        field, low, high, from_end = _LISTS[name]
        return {field: tuple(_number(name, each, low, high, from_end) for each in value.split(","))}
    read = _READERS.get(name)
    if read is None:
        raise Refused(f"{shown(name)} is no part of a rule: write {listed([*_READERS, *_LISTS], 'or')}")
    return read(value)


def _number(name: str, text: str, low: int, high: int, from_end: bool = False) -> int:
    number = int(text) if _NUMBERS.fullmatch(text) else None
    if number is None or not (low <= number <= high or (from_end and low <= -number <= high)):
        more = f", or -{low} to -{high} from the end" if from_end else ""
        raise Refused(f"{name} {shown(text)} is out of range: write whole numbers from {low} to {high}{more}")
    return number


def _frequency(value: str) -> dict[str, Any]:
    if value not in Frequency.__members__:
        raise Refused(f"FREQ {shown(value)} is no frequency: write {listed(Frequency, 'or')}")
    return {"frequency": Frequency[value]}


def _until(value: str) -> dict[str, Any]:
    second, is_utc = _moment("UNTIL", value)
    return {"until": second, "until_is_utc": is_utc}


def _moment(name: str, text: str) -> tuple[int, bool]:
    """``20260307T023000`` as a wall second, and whether it ends with ``Z``."""
    found = _MOMENT.fullmatch(text)
    year, month, day, hour, minute, second, zulu = found.groups() if found else [""] * 7
    date, time = read_date(f"{year}-{month}-{day}"), read_time(f"{hour}:{minute}:{second}")
    if date is None or time is None:
        raise Refused(f"{name} {shown(text)} is no local time: write it as 20260307T023000")
    return date * DAY_SECONDS + time, zulu == "Z"


def _by_day(value: str) -> dict[str, Any]:
    found = []
    for item in value.split(","):
        match = _BY_DAY.fullmatch(item)
        nth = int(match.group(1) or 0) if match else 99
        if match is None or not -53 <= nth <= 53 or (match.group(1) and not nth):
            raise Refused(f"BYDAY {shown(item)} cannot be read: write {' '.join(_WEEKDAYS)}, with 1 to 53 or -1 to -53 before it")
        found.append((_WEEKDAYS[match.group(2)], nth))
    return {"by_day": tuple(found)}


def _week_start(value: str) -> dict[str, Any]:
    if value not in _WEEKDAYS:
        raise Refused(f"WKST {shown(value)} is no weekday: write {listed(_WEEKDAYS, 'or')}")
    return {"week_start": _WEEKDAYS[value]}


_READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "FREQ": _frequency,
    "INTERVAL": lambda value: {"interval": _number("INTERVAL", value, 1, MOST_INTERVAL)},
    "COUNT": lambda value: {"count": _number("COUNT", value, 1, MOST_COUNT)},
    "UNTIL": _until,
    "BYDAY": _by_day,
    "WKST": _week_start,
}


def _company(found: Mapping[str, Any]) -> list[str]:
    """What RFC 5545 lets no rule combine."""
    frequency: Frequency = found["frequency"]
    nth = any(nth for _, nth in found.get("by_day", ()))
    wrong = {
        "COUNT and UNTIL are two ways to end: write one": "count" in found and "until" in found,
        f"BYDAY with a number needs FREQ=MONTHLY or YEARLY, not {frequency}": nth
        and frequency not in (Frequency.MONTHLY, Frequency.YEARLY),
        "BYDAY with a number does not go with BYWEEKNO: write the weekday alone": nth and "by_week" in found,
        f"BYWEEKNO needs FREQ=YEARLY, not {frequency}": "by_week" in found and frequency is not Frequency.YEARLY,
        f"BYYEARDAY does not go with FREQ={frequency}: write FREQ=YEARLY": "by_year_day" in found
        and frequency in (Frequency.DAILY, Frequency.WEEKLY, Frequency.MONTHLY),
        "BYMONTHDAY does not go with FREQ=WEEKLY: write FREQ=MONTHLY": "by_month_day" in found and frequency is Frequency.WEEKLY,
        "BYSETPOS picks from other BY parts: write one beside it": "by_position" in found
        and not any(name.startswith("by_") and name != "by_position" for name in found),
    }
    return [sentence for sentence, is_wrong in wrong.items() if is_wrong]


def _read_dates(name: str, text: str, problems: list[str]) -> tuple[int, ...]:
    """The local times of an RDATE or EXDATE."""
    found = []
    items = text.split(",") if text else []
    if len(items) > MOST_DATES:
        problems.append(f"{name} has {len(items)} dates; {MOST_DATES} is the most: write a rule, or a calendar")
        return ()
    for item in items:
        try:
            second, is_utc = _moment(name, item)
        except Refused as refused:
            problems += refused.sentences
            continue
        if is_utc:
            problems.append(f"{name} {shown(item)} is UTC: write local time, without the Z")
        found.append(second)
    return tuple(found)
