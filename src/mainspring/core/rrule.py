"""Recurrence rules of RFC 5545 as a value, and which wall times they write.

A rule's days are those its BYxxx parts let through, its times of a day likewise, and its frequency with its interval is a grid of
periods of which only every n-th counts; so one bounded search does for all frequencies. Here: that. Not here: the text
(``core/rrule_reading.py``), and zones: a rule is expanded on local time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from mainspring.core.calendars import MOST_CANDIDATES
from mainspring.core.dates import (
    DAY_SECONDS,
    END_DAY,
    FIRST_DAY,
    HORIZON_SECONDS,
    NEVER,
    highest,
    lowest,
    month_index,
    month_start,
    weekday,
)
from mainspring.core.times import TimesOfDay
from mainspring.core.walls import Listed

_ALL = (1 << 60) - 1
_HOUR, _MINUTE = 3600, 60


class Frequency(StrEnum):
    """The period of a rule."""

    YEARLY = "YEARLY"
    MONTHLY = "MONTHLY"
    WEEKLY = "WEEKLY"
    DAILY = "DAILY"
    HOURLY = "HOURLY"
    MINUTELY = "MINUTELY"
    SECONDLY = "SECONDLY"


_SIZES = {
    Frequency.WEEKLY: 7 * DAY_SECONDS,
    Frequency.DAILY: DAY_SECONDS,
    Frequency.HOURLY: _HOUR,
    Frequency.MINUTELY: _MINUTE,
    Frequency.SECONDLY: 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RRule:
    """A rule as RFC 5545 has it. Instants of ``until`` are seconds UTC if ``until_is_utc``, else wall seconds.

    ``by_day`` holds weekdays (Monday is 0) with the n of ``2TU``, or 0 for every one.
    """

    frequency: Frequency
    start: int
    interval: int = 1
    count: int | None = None
    until: int | None = None
    until_is_utc: bool = False
    by_second: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_hour: tuple[int, ...] = ()
    by_day: tuple[tuple[int, int], ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_week: tuple[int, ...] = ()
    by_month: tuple[int, ...] = ()
    by_position: tuple[int, ...] = ()
    week_start: int = 0
    more: tuple[int, ...] = ()
    less: tuple[int, ...] = ()


class RRuleWalls:
    """The wall times of a rule.

    ``exists`` says which wall times count for COUNT; ``last`` is the latest wall second that UNTIL lets through.
    """

    __slots__ = ("_first_period", "_last", "_less", "_more", "_rule", "_walls")

    def __init__(self, rule: RRule, *, exists: Callable[[int], bool], last: int = NEVER) -> None:
        self._rule = rule
        self._walls = _DaysAndTimes(rule)
        self._first_period = self._period(rule.start)
        self._more, self._less = Listed(rule.more), frozenset(rule.less)
        self._last = min(last, END_DAY * DAY_SECONDS - 1)
        if rule.count is not None:
            self._last = min(self._last, self._counted(rule.count, exists))

    def next(self, wall: int) -> int:
        """The first at or after ``wall``."""
        while True:
            found = min(self._next(wall), self._more.next(wall))
            if found not in self._less:
                return found
            wall = found + 1

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``."""
        while True:
            found = max(self._previous(wall), self._more.previous(wall))
            if found not in self._less:
                return found
            wall = found - 1

    def _counted(self, count: int, exists: Callable[[int], bool]) -> int:
        """The wall second of the last of ``count`` that exist."""
        wall = self._rule.start - 1
        while count:
            wall = self._next(wall + 1)
            if wall == NEVER:
                return NEVER
            count -= exists(wall)
        return wall

    def _next(self, wall: int) -> int:
        wall = max(wall, self._rule.start)
        limit = min(wall + HORIZON_SECONDS, self._last)
        for _ in range(MOST_CANDIDATES):
            wall = self._walls.next(wall)
            if wall > limit:
                break
            period = self._period(wall)
            beside = (period - self._first_period) % self._rule.interval
            if beside:
                wall = self._period_start(period + self._rule.interval - beside)
                continue
            found = self._from_position(period, wall)
            if found != NEVER:
                return found if found <= self._last else NEVER
            wall = self._period_start(period + self._rule.interval)
        return NEVER

    def _previous(self, wall: int) -> int:
        wall = min(wall, self._last)
        limit = max(wall - HORIZON_SECONDS, self._rule.start)
        for _ in range(MOST_CANDIDATES):
            wall = self._walls.previous(wall)
            if wall < limit:
                break
            period = self._period(wall)
            beside = (period - self._first_period) % self._rule.interval
            found = -NEVER if beside else self._to_position(period, wall)
            if found != -NEVER:
                return found if found >= self._rule.start else -NEVER
            wall = self._period_start(period - beside + (1 if beside else 0)) - 1
        return -NEVER

    # --- periods ---

    def _period(self, wall: int) -> int:
        """The number of the period that a wall second is in."""
        match self._rule.frequency:
            case Frequency.YEARLY:
                return month_index(wall // DAY_SECONDS) // 12
            case Frequency.MONTHLY:
                return month_index(wall // DAY_SECONDS)
        return (wall - self._origin()) // _SIZES[self._rule.frequency]

    def _period_start(self, period: int) -> int:
        """The first wall second of a period."""
        match self._rule.frequency:
            case Frequency.YEARLY:
                return month_start(period * 12) * DAY_SECONDS
            case Frequency.MONTHLY:
                return month_start(period) * DAY_SECONDS
        return period * _SIZES[self._rule.frequency] + self._origin()

    def _origin(self) -> int:
        """Weeks begin on ``week_start``; 1969-12-29 was a Monday."""
        return (self._rule.week_start - 3) * DAY_SECONDS if self._rule.frequency is Frequency.WEEKLY else 0

    # --- BYSETPOS ---

    def _from_position(self, period: int, wall: int) -> int:
        if not self._rule.by_position:
            return wall
        return next((each for each in self._positions(period) if each >= wall), NEVER)

    def _to_position(self, period: int, wall: int) -> int:
        if not self._rule.by_position:
            return wall
        return next((each for each in reversed(self._positions(period)) if each <= wall), -NEVER)

    def _positions(self, period: int) -> list[int]:
        """The wall times of a period that BYSETPOS picks, in order; none is listed that it does not pick."""
        start, end = self._period_start(period), self._period_start(period + 1)
        if end - start < DAY_SECONDS:
            within = list(self._walls.between(start, end))
            return [within[place] for place in self._places(len(within))]
        days, times = self._walls.days(start // DAY_SECONDS, end // DAY_SECONDS), self._walls.times
        places = (divmod(place, len(times)) for place in self._places(len(days) * len(times)))
        return [days[day] * DAY_SECONDS + times.nth(time) for day, time in places]

    def _places(self, size: int) -> list[int]:
        """Which of so many wall times BYSETPOS picks, counted from 0."""
        places = {each - 1 if each > 0 else size + each for each in self._rule.by_position}
        return [place for place in sorted(places) if 0 <= place < size]


class _DaysAndTimes:
    """The days and times that a rule's BYxxx parts let through, whatever its interval."""

    __slots__ = ("_bits", "_rule", "times")

    def __init__(self, rule: RRule) -> None:
        self._rule = with_defaults(rule)
        self._bits: dict[int, int] = {}
        hour, rest = divmod(rule.start % DAY_SECONDS, _HOUR)
        size = _SIZES.get(rule.frequency, DAY_SECONDS)
        self.times = TimesOfDay(
            _or(rule.by_hour, hour if size > _HOUR else None, 24),
            _or(rule.by_minute, rest // 60 if size > _MINUTE else None, 60),
            _or(rule.by_second, rest % 60 if size > 1 else None, 60),
        )

    def next(self, wall: int) -> int:
        """The first at or after ``wall``."""
        day, second = divmod(wall, DAY_SECONDS)
        due = self._day_from(day)
        if due == day:
            found = self.times.first_from(second)
            if found >= 0:
                return day * DAY_SECONDS + found
            due = self._day_from(day + 1)
        return due * DAY_SECONDS + self.times.first if due < END_DAY else NEVER

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``."""
        day, second = divmod(wall, DAY_SECONDS)
        due = self._day_to(day)
        if due == day:
            found = self.times.last_to(second)
            if found >= 0:
                return day * DAY_SECONDS + found
            due = self._day_to(day - 1)
        return due * DAY_SECONDS + self.times.last if due >= FIRST_DAY else -NEVER

    def between(self, wall: int, end: int) -> Iterator[int]:
        """Those from ``wall`` to before ``end``."""
        while (wall := self.next(wall)) < end:
            yield wall
            wall += 1

    def days(self, day: int, end: int) -> list[int]:
        """The days from ``day`` to before ``end``."""
        found = []
        while (day := self._day_from(day)) < end:
            found.append(day)
            day += 1
        return found

    def _day_from(self, day: int) -> int:
        if day >= END_DAY:
            return END_DAY
        index = month_index(max(day, FIRST_DAY))
        while (start := month_start(index)) < END_DAY:
            bits = self._in_month(index)
            if day > start:
                bits = bits >> (day - start) << (day - start)
            if bits:
                return start + lowest(bits)
            index += 1
        return END_DAY

    def _day_to(self, day: int) -> int:
        if day < FIRST_DAY:
            return FIRST_DAY - 1
        newest = month_index(day)
        for index in range(newest, -1, -1):
            bits = self._in_month(index)
            if index == newest:
                bits &= (2 << (day - month_start(index))) - 1
            if bits:
                return month_start(index) + highest(bits)
        return FIRST_DAY - 1

    def _in_month(self, index: int) -> int:
        """The days of a month as bits from 0, remembered: a rule is asked about the same months again and again."""
        bits = self._bits.get(index)
        if bits is None:
            start, end = month_start(index), month_start(index + 1)
            month_is_in = not self._rule.by_month or index % 12 + 1 in self._rule.by_month
            bits = sum(1 << (day - start) for day in range(start, end) if _lets(self._rule, day)) if month_is_in else 0
            self._bits[index] = bits
        return bits


def _or(given: tuple[int, ...], default: int | None, size: int) -> int:
    """Bits of what is given, else of the default, else of all."""
    if given:
        return sum(1 << each for each in set(given))
    return _ALL & ((1 << size) - 1) if default is None else 1 << default


# --- days -------------------------------------------------------------------------------------------------------------


def with_defaults(rule: RRule) -> RRule:
    """The rule with what its start says of days where its parts say nothing."""
    if rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day:
        return rule
    day = rule.start // DAY_SECONDS
    index = month_index(day)
    date = (day - month_start(index) + 1,)
    match rule.frequency:
        case Frequency.YEARLY:
            return replace(rule, by_month=rule.by_month or (index % 12 + 1,), by_month_day=date)
        case Frequency.MONTHLY:
            return replace(rule, by_month_day=date)
        case Frequency.WEEKLY:
            return replace(rule, by_day=((weekday(day), 0),))
    return rule


def _lets(rule: RRule, day: int) -> bool:
    """Whether the parts of a rule about days, but for BYMONTH, let a day through."""
    index = month_index(day)
    if rule.by_month_day and not _is_among(day, month_start(index), month_start(index + 1), rule.by_month_day):
        return False
    year = index - index % 12
    if rule.by_year_day and not _is_among(day, month_start(year), month_start(year + 12), rule.by_year_day):
        return False
    if rule.by_week and not _is_in_week(rule, day):
        return False
    if not rule.by_day:
        return True
    is_of_year = rule.frequency is Frequency.YEARLY and not rule.by_month
    span = (month_start(year), month_start(year + 12)) if is_of_year else (month_start(index), month_start(index + 1))
    on = weekday(day)
    return any(on == each and (nth == 0 or _is_nth(day, *span, nth)) for each, nth in rule.by_day)


def _is_among(day: int, start: int, end: int, wanted: tuple[int, ...]) -> bool:
    """Whether a day is one of those numbers, counted from the start or, below nothing, from the end."""
    return day - start + 1 in wanted or day - end in wanted


def _is_nth(day: int, start: int, end: int, nth: int) -> bool:
    """Whether a day is the n-th of its weekday."""
    return (day - start) // 7 + 1 == nth or -((end - 1 - day) // 7) - 1 == nth


def _is_in_week(rule: RRule, day: int) -> bool:
    """Whether a day is in one of BYWEEKNO's weeks; the first week of a year has at least four of its days."""
    start = day - (weekday(day) - rule.week_start) % 7
    year = month_index(min(max(start + 3, FIRST_DAY), END_DAY - 1)) // 12 * 12
    first, end = (_week_one(month_start(each), rule.week_start) for each in (year, year + 12))
    return (start - first) // 7 + 1 in rule.by_week or (start - end) // 7 in rule.by_week


def _week_one(new_year: int, week_start: int) -> int:
    """The first day of a year's first week."""
    before = (weekday(new_year) - week_start) % 7
    return new_year - before if before <= 3 else new_year - before + 7
