"""Calendars as sets of days with hours, and what they do to the wall times of a rule: pick, remove, move.

Here: a calendar as a value, its days picked for a rule of its own, other rules held within or without calendars, and dates moved to
an allowed one. Dates are those a rule *writes*: no clock change plays a part. Not here: where a calendar's days come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from mainspring.core.dates import (
    DAY_SECONDS,
    END_DAY,
    FIRST_DAY,
    HORIZON_SECONDS,
    NEVER,
    month_index,
    month_start,
    weekday,
)
from mainspring.core.walls import Listed, Walls

MOST_DAYS = 10_000
#: How far ``roll`` looks for an allowed date.
FARTHEST_ROLL = 31
#: How many candidates any search looks at before it says that there is none.
MOST_CANDIDATES = 100_000

_MONDAY_BEFORE = -3  # 1969-12-29


class Roll(StrEnum):
    """Where a removed date goes. Of two dates equally near, ``nearest`` takes the later."""

    NONE = "none"
    NEXT = "next"
    PREVIOUS = "previous"
    NEAREST = "nearest"


class Span(StrEnum):
    """Of what ``pick`` picks."""

    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """A stretch of every such weekday (Monday is 0), in seconds since midnight; ``until`` is no part of it."""

    weekday: int
    since: int = 0
    until: int = DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Weekly hours, whole days added, and days taken away: a day taken away is not in it, whatever else says so."""

    name: str
    version: int = 0
    hours: tuple[Hours, ...] = ()
    added: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()

    def has_day(self, day: int) -> bool:
        """Whether any of that day is in the calendar."""
        return bool(self.stretches(day))

    def has_whole(self, day: int) -> bool:
        """Whether all of that day is in the calendar."""
        return self.stretches(day) == [(0, DAY_SECONDS)]

    def has(self, wall: int) -> bool:
        """Whether that wall second is in the calendar."""
        day, second = divmod(wall, DAY_SECONDS)
        return any(since <= second < until for since, until in self.stretches(day))

    def stretches(self, day: int) -> list[tuple[int, int]]:
        """What of a day is in the calendar, in order."""
        if day in self.removed:
            return []
        if day in self.added:
            return [(0, DAY_SECONDS)]
        on = weekday(day)
        return sorted((each.since, each.until) for each in self.hours if each.weekday == on)


def dates_calendar(days: Sequence[int], name: str = "dates") -> Calendar:
    """The calendar of some dates."""
    return Calendar(name=name, added=frozenset(days))


# --- held within and without ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Within each of ``only`` and in none of ``without``."""

    only: tuple[Calendar, ...] = ()
    without: tuple[Calendar, ...] = ()

    def allow(self, wall: int) -> bool:
        """Whether a rule may be due at that wall second."""
        return all(each.has(wall) for each in self.only) and not any(each.has(wall) for each in self.without)

    def allow_day(self, day: int) -> bool:
        """Whether a date is not removed as a whole."""
        return all(each.has_day(day) for each in self.only) and not any(each.has_whole(day) for each in self.without)

    def edges(self, day: int) -> list[int]:
        """The seconds of a day at which the answer may change, in order, with both ends."""
        found = {0, DAY_SECONDS}
        for calendar in (*self.only, *self.without):
            found.update(edge for stretch in calendar.stretches(day) for edge in stretch)
        return sorted(found)


class Held:
    """The wall times of ``walls`` that the bounds allow."""

    __slots__ = ("_bounds", "_walls")

    def __init__(self, walls: Walls, bounds: Bounds) -> None:
        self._walls, self._bounds = walls, bounds

    def next(self, wall: int) -> int:
        """The first at or after ``wall``."""
        limit = wall + HORIZON_SECONDS
        for _ in range(MOST_CANDIDATES):
            wall = self._walls.next(wall)
            if wall > limit:
                break
            if self._bounds.allow(wall):
                return wall
            day, second = divmod(wall, DAY_SECONDS)
            wall = day * DAY_SECONDS + next(edge for edge in self._bounds.edges(day) if edge > second)
        return NEVER

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``."""
        limit = wall - HORIZON_SECONDS
        for _ in range(MOST_CANDIDATES):
            wall = self._walls.previous(wall)
            if wall < limit:
                break
            if self._bounds.allow(wall):
                return wall
            day, second = divmod(wall, DAY_SECONDS)
            wall = day * DAY_SECONDS + max(edge for edge in self._bounds.edges(day) if edge <= second) - 1
        return -NEVER


class Rolled:
    """The wall times of ``walls``, those of a removed date at the same time of an allowed one within 31 days."""

    __slots__ = ("_bounds", "_roll", "_walls")

    def __init__(self, walls: Walls, bounds: Bounds, roll: Roll) -> None:
        self._walls, self._bounds, self._roll = walls, bounds, roll

    def next(self, wall: int) -> int:
        """The first at or after ``wall``."""
        limit = wall + HORIZON_SECONDS
        day, second = divmod(wall, DAY_SECONDS)
        while day * DAY_SECONDS < limit:
            nearest = self._walls.next((day - FARTHEST_ROLL) * DAY_SECONDS)
            if nearest > limit:
                break
            earliest = nearest // DAY_SECONDS - FARTHEST_ROLL
            if earliest > day:
                day, second = earliest, 0
            found = min((self._first(source, second) for source in self._sources(day)), default=NEVER)
            if found != NEVER:
                return day * DAY_SECONDS + found
            day, second = day + 1, 0
        return NEVER

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``."""
        limit = wall - HORIZON_SECONDS
        day, second = divmod(wall, DAY_SECONDS)
        while day * DAY_SECONDS > limit:
            nearest = self._walls.previous((day + FARTHEST_ROLL + 1) * DAY_SECONDS - 1)
            if nearest < limit:
                break
            latest = nearest // DAY_SECONDS + FARTHEST_ROLL
            if latest < day:
                day, second = latest, DAY_SECONDS - 1
            found = max((self._last(source, second) for source in self._sources(day)), default=-NEVER)
            if found != -NEVER:
                return day * DAY_SECONDS + found
            day, second = day - 1, DAY_SECONDS - 1
        return -NEVER

    def _first(self, day: int, second: int) -> int:
        found = self._walls.next(day * DAY_SECONDS + second) - day * DAY_SECONDS
        return found if found < DAY_SECONDS else NEVER

    def _last(self, day: int, second: int) -> int:
        found = self._walls.previous(day * DAY_SECONDS + second) - day * DAY_SECONDS
        return found if found >= 0 else -NEVER

    def _sources(self, day: int) -> Iterator[int]:
        """The dates whose times go to that day: itself and removed ones next to it, or none if it is removed."""
        if not self._bounds.allow_day(day):
            return
        yield day
        for step in (-1, 1):
            near = range(day + step, day + step * (FARTHEST_ROLL + 1), step)
            removed = takewhile(lambda each: not self._bounds.allow_day(each), near)
            yield from (each for each in removed if self._target(each) == day)

    def _target(self, day: int) -> int | None:
        """Where a removed date goes."""
        steps = {Roll.NONE: (), Roll.NEXT: (1,), Roll.PREVIOUS: (-1,), Roll.NEAREST: (1, -1)}[self._roll]
        near = (day + step * distance for distance in range(1, FARTHEST_ROLL + 1) for step in steps)
        return next((each for each in near if self._bounds.allow_day(each)), None)


def held(walls: Walls, bounds: Bounds, roll: Roll) -> Walls:
    """``walls`` within ``bounds``, removed dates moved as ``roll`` says."""
    return Held(walls if roll is Roll.NONE else Rolled(walls, bounds, roll), bounds)


# --- a calendar's own days --------------------------------------------------------------------------------------------


class Picked:
    """Some times of a calendar's days: of all of them, or of the n-th of each week, month, quarter or year (-1 is the last)."""

    __slots__ = ("_calendar", "_of", "_pick", "_times")

    def __init__(self, calendar: Calendar, times: Sequence[int], pick: Sequence[int] = (), of: Span | None = None) -> None:
        self._calendar, self._times = calendar, Listed(times)
        self._pick, self._of = pick, of

    def next(self, wall: int) -> int:
        """The first at or after ``wall``."""
        day, second = divmod(max(wall, FIRST_DAY * DAY_SECONDS), DAY_SECONDS)
        while day < END_DAY:
            start, end = _span(self._of, day)
            for each in self._days(start, end):
                found = self._times.next(second if each == day else 0) if each >= day else NEVER
                if found != NEVER:
                    return each * DAY_SECONDS + found
            day, second = end, 0
        return NEVER

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``."""
        day, second = divmod(min(wall, END_DAY * DAY_SECONDS - 1), DAY_SECONDS)
        while day >= FIRST_DAY:
            start, end = _span(self._of, day)
            for each in reversed(self._days(start, end)):
                found = self._times.previous(second if each == day else DAY_SECONDS) if each <= day else -NEVER
                if found != -NEVER:
                    return each * DAY_SECONDS + found
            day, second = start - 1, DAY_SECONDS
        return -NEVER

    def _days(self, start: int, end: int) -> list[int]:
        """The days meant from ``start`` to before ``end``."""
        days = [day for day in range(start, end) if self._calendar.has_day(day)]
        if self._of is None:
            return days
        places = {nth - 1 if nth > 0 else len(days) + nth for nth in self._pick}
        return [day for place, day in enumerate(days) if place in places]


def _span(of: Span | None, day: int) -> tuple[int, int]:
    """The first day of the week, month, quarter or year (or month, if nothing is picked) that a day is in, and of the next."""
    if of is Span.WEEK:
        start = day - (day - _MONDAY_BEFORE) % 7
        return start, start + 7
    size = {None: 1, Span.MONTH: 1, Span.QUARTER: 3, Span.YEAR: 12}[of]
    index = month_index(day)
    index -= index % size
    return month_start(index), month_start(index + size)
