"""Calendar expressions as systemd timers have them: ``Mon..Fri *-*-* 02:30:00``.

Here: their grammar, from text to the same value as the other dialects'. Not here: monotonic timers, which are intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from mainspring.core.cron import Cron, Days, Dialect, FromEnd, year_bits
from mainspring.core.dates import WEEKDAY_NAMES
from mainspring.core.problems import Refused, listed
from mainspring.errors import shown

SHORTHANDS: Mapping[str, str] = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
}

_WEEKDAYS = {name[:size].lower(): number for number, name in enumerate(WEEKDAY_NAMES) for size in (3, len(name))}
_ALL_WEEKDAYS = 0b111_1111
_ITEM = re.compile(r"([0-9]{1,4})(?:\.\.([0-9]{1,4}))?(?:/([0-9]{1,4}))?")
_STAR = re.compile(r"\*(?:/([0-9]{1,4}))?")
_ZONE = re.compile(r"UTC|Z|[A-Za-z]+/[A-Za-z_/+-]+|[A-Z]{3,4}")
_HOW = 'write weekdays, date and time, as in "Mon..Fri *-*-* 02:30:00"'
_FIRST_YEAR, _LAST_YEAR = 1970, 2199

T = TypeVar("T")


def read_systemd(text: str) -> Cron:
    """Read a calendar expression: weekdays, date and time, of which each but one may be left out.

    Raises:
        Refused: with a sentence for every part that cannot be read.
    """
    words = SHORTHANDS.get(text.strip().lower(), text).split()
    if len(words) > 1 and _ZONE.fullmatch(words[-1]) and words[-1].lower() not in _WEEKDAYS:
        raise Refused(f"the zone is not part of an expression: write {shown(words[-1])} as timezone")
    weekdays = words.pop(0) if words[0][0].isalpha() else ""
    date = words.pop(0) if words and ":" not in words[0] else "*-*-*"
    time = words.pop(0) if words else "00:00:00"
    if words:
        raise Refused(f"{shown(' '.join(words))} is too much: {_HOW}")
    problems: list[str] = []
    on = _tried(problems, _read_weekdays, weekdays)
    on_date = _tried(problems, _read_date, date)
    at_time = _tried(problems, _read_time, time)
    if on is None or on_date is None or at_time is None:
        raise Refused(*problems)
    years, months, dates, specials = on_date
    hours, minutes, seconds, is_wildcard = at_time
    return Cron(
        text=text,
        dialect=Dialect.SYSTEMD,
        resolved=" ".join(part for part in (weekdays, date, time) if part),
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=Days(dates=dates, date_specials=specials, weekdays=on),
        months=months,
        years=years,
        is_wildcard=is_wildcard,
    )


def _tried(problems: list[str], read: Callable[[str], T], text: str) -> T | None:
    try:
        return read(text)
    except Refused as refused:
        problems += refused.sentences
        return None


def _read_weekdays(text: str) -> int:
    """``Mon..Fri,Sun`` as bits from Monday; all of them where none is named."""
    if not text:
        return _ALL_WEEKDAYS
    bits = 0
    for item in text.rstrip(",").lower().split(","):
        first, *last = re.split(r"\.\.|-", item, maxsplit=1)
        ends = [first, *last]
        if not all(end in _WEEKDAYS for end in ends):
            names = listed((name[:3] for name in WEEKDAY_NAMES), "or")
            raise Refused(f"weekday {shown(item)} cannot be read: write {names}, lists with a comma, ranges as Mon..Fri")
        low, high = _WEEKDAYS[ends[0]], _WEEKDAYS[ends[-1]]
        if low > high:
            parts = [f"{ends[0].title()}..Sun" if low < 6 else "Sun", f"Mon..{ends[1].title()}" if high else "Mon"]
            raise Refused(f"weekday {shown(item)} runs backwards: write {','.join(parts)}")
        bits |= sum(1 << day for day in range(low, high + 1))
    return bits


def _read_date(text: str) -> tuple[int | None, int, int, tuple[FromEnd, ...]]:
    """Years, months, dates and dates from the end of ``[year-]month-day``, or ``~`` before the day."""
    head, tilde, tail = text.partition("~")
    parts = [*head.split("-"), tail] if tilde else text.split("-")
    if len(parts) == 2:
        parts.insert(0, "*")
    if len(parts) != 3 or not all(parts):
        raise Refused(f"date {shown(text)} cannot be read: {_HOW}")
    year, month, day = parts
    years = None if year == "*" else _years(year)
    months = _bits(month, "month", 1, 12)
    if tilde:
        return years, months, 0, tuple(FromEnd(number - 1) for number in _from_end(day))
    return years, months, _bits(day, "day", 1, 31), ()


def _from_end(text: str) -> list[int]:
    """``03`` is the third last day; ``07/1`` the last seven days."""
    found: set[int] = set()
    for item in text.split(","):
        match = re.fullmatch(r"([0-9]{1,2})(?:\.\.([0-9]{1,2}))?(?:/([0-9]{1,2}))?", item)
        if match is None:
            raise Refused(f"day {shown('~' + item)} cannot be read: write ~1 for the last day, ~7/1 for the last seven")
        first, step = int(match.group(1)), int(match.group(3) or 1)
        last = int(match.group(2)) if match.group(2) else (1 if match.group(3) else first)
        if not 1 <= last <= first <= 31 or step < 1:
            raise Refused(
                f"day {shown('~' + item)} is out of range: write days from the end downwards, ~7..1, with a step of 1 or more"
            )
        found.update(range(first, last - 1, -step))
    return sorted(found)


def _read_time(text: str) -> tuple[int, int, int, bool]:
    """Hours, minutes, seconds of ``hour:minute[:second]``, and whether one of them starts with ``*``."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise Refused(f"time {shown(text)} cannot be read: {_HOW}")
    hour, minute, second = (*parts, "00")[:3]
    if re.search(r"[0-9*]\.[0-9]", second):
        raise Refused(f"second {shown(second)} has a fraction: rules are due at whole seconds, write {second.partition('.')[0]}")
    is_wildcard = any(part.startswith("*") for part in (hour, minute, second))
    return _bits(hour, "hour", 0, 23), _bits(minute, "minute", 0, 59), _bits(second, "second", 0, 59), is_wildcard


def _years(text: str) -> int:
    bits = _bits(text, "year", _FIRST_YEAR, _LAST_YEAR)
    return sum(year_bits(year, year) for year in range(_FIRST_YEAR, _LAST_YEAR + 1) if bits >> year & 1)


def _bits(text: str, what: str, low: int, high: int) -> int:
    """A list of numbers, ranges ``1..5`` and repetitions ``0/15`` as bits."""
    bits = 0
    for item in text.split(","):
        if star := _STAR.fullmatch(item):
            first, last, step = low, high, int(star.group(1) or 1)
        elif found := _ITEM.fullmatch(item):
            first, step = int(found.group(1)), int(found.group(3) or 1)
            last = int(found.group(2)) if found.group(2) else (high if found.group(3) else first)
        else:
            raise Refused(f"{what} {shown(item)} cannot be read: write *, numbers, lists 1,2, ranges 1..3, repetitions 0/15")
        _check(item, what, (first, last, step), low, high)
        bits |= sum(1 << number for number in range(first, last + 1, step))
    return bits


def _check(item: str, what: str, span: tuple[int, int, int], low: int, high: int) -> None:
    first, last, step = span
    if not (low <= first <= high and low <= last <= high):
        raise Refused(f"{what} {shown(item)} is out of range: write numbers from {low} to {high}")
    if first > last:
        raise Refused(f"{what} {shown(item)} runs backwards: write {first}..{high},{low}..{last}")
    if not 1 <= step <= high - low + 1:
        raise Refused(
            f"{what} {shown(item)} has a step beyond its {high - low + 1} values: write 1 to {high - low + 1} after the /"
        )
