"""A cron expression as a value, and which wall times it writes.

All four dialects come to the same value: which seconds, minutes, hours, months and years, and which days. Here: that value, its
days in a month, and the search for the next and the previous wall time by tables of bits. Not here: reading
(``core/cron_reading.py``), wording (``core/cron_words.py``), and zones (``core/walls.py`` finds the instants).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias, assert_never

from mainspring.core.dates import (
    DAY_SECONDS,
    END_DAY,
    FIRST_DAY,
    FIRST_YEAR,
    NEVER,
    SHAPES,
    SHORTEST_MONTH,
    highest,
    lowest,
    members,
    months,
)
from mainspring.core.times import TimesOfDay


class Dialect(StrEnum):
    """How an expression is written."""

    CRON5 = "cron5"
    CRON6 = "cron6"
    QUARTZ = "quartz"
    SYSTEMD = "systemd"


class FromEnd(NamedTuple):
    """``L`` and ``L-3``: so many days before the last of the month."""

    days: int


class NearestWeekday(NamedTuple):
    """``15W``: the day of Monday to Friday nearest to that date, in the same month. ``LW`` and ``L-3W`` count from the end."""

    day: int
    from_end: bool


class NthWeekday(NamedTuple):
    """``5#3``: the third Friday; ``5L``, as -1: the last."""

    weekday: int
    nth: int


Special: TypeAlias = FromEnd | NearestWeekday | NthWeekday


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Days of a month, as bits: 1 to 31, and weekdays from Monday as 0. ``matches`` says how the two go together."""

    dates: int
    date_specials: tuple[FromEnd | NearestWeekday, ...] = ()
    weekdays: int
    weekday_specials: tuple[NthWeekday, ...] = ()
    matches: Literal["both", "either"] = "both"

    def in_month(self, length: int, first_weekday: int) -> int:
        """The days of a month of that shape, as bits from 0: its first day is bit 0."""
        dates = self.dates >> 1
        for date in self.date_specials:
            dates |= _special_bits(date, length, first_weekday)
        weekdays = 0
        for each in members(self.weekdays):
            weekdays |= _WEEKLY << (each - first_weekday) % 7
        for special in self.weekday_specials:
            weekdays |= _special_bits(special, length, first_weekday)
        found = dates & weekdays if self.matches == "both" else dates | weekdays
        return found & ((1 << length) - 1)


_WEEKLY = sum(1 << day for day in range(0, 35, 7))


def _special_bits(special: Special, length: int, first_weekday: int) -> int:
    """The one day of a month that a special form means, as a bit from 0, or nothing."""
    match special:
        case FromEnd(days=days):
            day = length - days
        case NearestWeekday(day=wanted, from_end=from_end):
            day = _nearest(length - wanted if from_end else wanted, length, first_weekday)
        case NthWeekday(weekday=weekday, nth=nth):
            first = 1 + (weekday - first_weekday) % 7
            day = first + 7 * ((length - first) // 7 if nth < 0 else nth - 1)
        case _:
            assert_never(special)
    return 1 << (day - 1) if 1 <= day <= length else 0


def _nearest(day: int, length: int, first_weekday: int) -> int:
    """The weekday nearest to a date without leaving its month; a date that the month has not has none."""
    if not 1 <= day <= length:
        return 0
    match (first_weekday + day - 1) % 7:
        case 5:
            return day - 1 if day > 1 else day + 2
        case 6:
            return day + 1 if day < length else day - 2
    return day


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """An expression that has been read. ``text`` is as it was written, ``resolved`` with every ``H`` as a number.

    The fields are bits: bit 5 of ``minutes`` is minute 5; bit 1 of ``months`` is January; ``years`` counts from 1900 and None is
    every year. ``is_wildcard`` decides what ``auto`` means at clock changes.
    """

    text: str
    dialect: Dialect
    resolved: str
    seconds: int
    minutes: int
    hours: int
    days: Days
    months: int
    years: int | None = None
    is_wildcard: bool


class CronWalls:
    """The wall times of an expression. Made once per expression: the tables take longer than a search."""

    __slots__ = ("_first", "_in_month", "_is_daily", "_last", "_months", "_shapes", "_starts", "_times", "_years")

    def __init__(self, cron: Cron) -> None:
        self._times = TimesOfDay(cron.hours, cron.minutes, cron.seconds)
        self._first, self._last = self._times.first, self._times.last
        self._in_month = [cron.days.in_month(SHORTEST_MONTH + shape // 7, shape % 7) for shape in range(SHAPES)]
        self._months = [cron.months >> month & 1 for month in range(1, 13)]
        self._years = cron.years
        self._starts, self._shapes = months()
        self._is_daily = all(self._months) and cron.years is None and self._in_month == _EVERY_DAY

    def next(self, wall: int) -> int:
        """The first wall second at or after ``wall``."""
        day, second = divmod(wall, DAY_SECONDS)
        if self._is_daily:
            found = self._times.first_from(second)
            return wall - second + (found if found >= 0 else DAY_SECONDS + self._first)
        if day < FIRST_DAY:
            day, second = FIRST_DAY, 0
        due = self._day_from(day)
        if due == day:
            found = self._times.first_from(second)
            if found >= 0:
                return day * DAY_SECONDS + found
            due = self._day_from(day + 1)
        return due * DAY_SECONDS + self._first if due < END_DAY else NEVER

    def previous(self, wall: int) -> int:
        """The last wall second at or before ``wall``."""
        day, second = divmod(wall, DAY_SECONDS)
        if day >= END_DAY:
            day, second = END_DAY - 1, DAY_SECONDS - 1
        due = self._day_to(day)
        if due == day:
            found = self._times.last_to(second)
            if found >= 0:
                return day * DAY_SECONDS + found
            due = self._day_to(day - 1)
        return due * DAY_SECONDS + self._last if due >= FIRST_DAY else -NEVER

    def _day_from(self, day: int) -> int:
        """The first day at or after ``day``; ``END_DAY`` if there is none."""
        starts, shapes, wanted = self._starts, self._shapes, self._months
        for index in range(bisect_right(starts, day) - 1, len(shapes)):
            if wanted[index % 12] and (self._years is None or self._years >> index // 12 & 1):
                bits = self._in_month[shapes[index]]
                if day > starts[index]:
                    bits >>= day - starts[index]
                    if bits:
                        return day + lowest(bits)
                elif bits:
                    return starts[index] + lowest(bits)
        return END_DAY

    def _day_to(self, day: int) -> int:
        """The last day at or before ``day``; one before ``FIRST_DAY`` if there is none."""
        starts, shapes, wanted = self._starts, self._shapes, self._months
        newest = bisect_right(starts, day) - 1
        for index in range(newest, -1, -1):
            if wanted[index % 12] and (self._years is None or self._years >> index // 12 & 1):
                bits = self._in_month[shapes[index]]
                if index == newest:
                    bits &= (2 << (day - starts[index])) - 1
                if bits:
                    return starts[index] + highest(bits)
        return FIRST_DAY - 1


_EVERY_DAY = [(1 << SHORTEST_MONTH + shape // 7) - 1 for shape in range(SHAPES)]


def year_bits(first: int, last: int, step: int = 1) -> int:
    """The years from ``first`` to ``last`` as ``Cron.years`` has them."""
    return sum(1 << (year - FIRST_YEAR) for year in range(first, last + 1, step))
