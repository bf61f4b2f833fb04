"""The calendar as numbers: days and seconds counted from 1970-01-01, months by a table.

A *day* is a whole number of days since 1970-01-01, a *wall second* counts the seconds of a clock on the wall since its 1970-01-01
00:00:00, whatever zone that wall is in. Here: arithmetic between those and dates, for the years in which rules are looked for.
Not here: instants, zones, and what any rule means by a date.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from functools import cache
from itertools import pairwise
from typing import NamedTuple

DAY_SECONDS = 86_400
FIRST_YEAR = 1900
#: Nothing is due from this year on: the tables end there.
END_YEAR = 2200

#: How far ahead a rule is looked at: 50 years. What is not due until then is never due.
HORIZON_SECONDS = 18_263 * DAY_SECONDS

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
FIRST_DAY = date(FIRST_YEAR, 1, 1).toordinal() - _EPOCH_ORDINAL
END_DAY = date(END_YEAR, 1, 1).toordinal() - _EPOCH_ORDINAL

#: Later than everything, for "there is none" where numbers are compared. ``-NEVER`` is earlier than everything.
NEVER = 1 << 62

SHORTEST_MONTH = 28
#: How many shapes a month can have: 28 to 31 days, begun on each day of the week.
SHAPES = 28

WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_WALL = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")


class Months(NamedTuple):
    """Every month from 1900 on: ``starts`` is its first day, ``shapes`` its length and first weekday as one number."""

    starts: Sequence[int]
    shapes: bytes


@cache
def months() -> Months:
    """The table, made at its first use."""
    starts = tuple(
        date(year, month, 1).toordinal() - _EPOCH_ORDINAL for year in range(FIRST_YEAR, END_YEAR + 1) for month in range(1, 13)
    )[: (END_YEAR - FIRST_YEAR) * 12 + 1]
    shapes = bytes(shape(end - start, weekday(start)) for start, end in pairwise(starts))
    return Months(starts, shapes)


def shape(length: int, first_weekday: int) -> int:
    """A month's length and the weekday of its first day (Monday is 0) as one small number."""
    return (length - SHORTEST_MONTH) * 7 + first_weekday


def weekday(day: int) -> int:
    """0 is Monday, 6 Sunday."""
    return (day + 3) % 7


def month_index(day: int) -> int:
    """Which month a day is in, counted from January 1900. The day must lie within the table."""
    return bisect_right(months().starts, day) - 1


def month_start(index: int) -> int:
    """The first day of a month, counted from January 1900; the nearest month that the table has."""
    starts = months().starts
    return starts[max(0, min(index, len(starts) - 1))]


def day_of(year: int, month: int, day: int) -> int:
    """The number of a date. Raises ValueError for one that no calendar has."""
    return date(year, month, day).toordinal() - _EPOCH_ORDINAL


def date_of(day: int) -> date:
    """The date of a number."""
    return date.fromordinal(day + _EPOCH_ORDINAL)


def lowest(bits: int) -> int:
    """The number of the lowest bit set in ``bits``, which has one."""
    return (bits & -bits).bit_length() - 1


def highest(bits: int) -> int:
    """The number of the highest bit set in ``bits``, which has one."""
    return bits.bit_length() - 1


def members(bits: int) -> list[int]:
    """The numbers of the bits set, in order."""
    return [number for number in range(bits.bit_length()) if bits >> number & 1]


# --- as people write them ---------------------------------------------------------------------------------------------


def read_date(text: object) -> int | None:
    """``2026-12-24`` as a day; None for what is no date between 1900 and 2200."""
    found = _DATE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    try:
        day = day_of(*map(int, found.groups()))
    except ValueError:
        return None
    return day if FIRST_DAY <= day < END_DAY else None


def read_time(text: object) -> int | None:
    """``02:30`` or ``02:30:15`` as seconds since midnight; None for what is no time of a day."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.groups())
    return hour * 3600 + minute * 60 + second if hour < 24 and minute < 60 and second < 60 else None


def read_wall(text: object) -> int | None:
    """``2026-12-24T02:30``, without offset, as a wall second; None for anything else."""
    found = _WALL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, second = read_date(found.group(1)), read_time(found.group(2))
    return None if day is None or second is None else day * DAY_SECONDS + second


def format_date(day: int) -> str:
    """``2026-12-24``."""
    return date_of(day).isoformat()


def format_time(second: int) -> str:
    """``02:30``, with seconds if there are any."""
    minutes, rest = divmod(second, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{rest:02}" if rest else text


def format_wall(wall: int) -> str:
    """``2026-12-24T02:30:00``."""
    day, second = divmod(wall, DAY_SECONDS)
    return f"{format_date(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def format_offset(offset: int) -> str:
    """``+05:30``, with seconds if there are any."""
    hours, rest = divmod(abs(offset), 3600)
    minutes, seconds = divmod(rest, 60)
    tail = f":{seconds:02}" if seconds else ""
    return f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}{tail}"
