"""Random expressions of every dialect, each with what it means as a plain predicate that shares nothing with our parser.

Here: an expression is built, not parsed: its text and its meaning come from the same draw. Not here: zones and clock changes.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from hypothesis import strategies as st

Matches = Callable[[datetime], bool]

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A field: its text, and whether a wall time is in it."""

    text: str
    matches: Matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """An expression, and whether it writes a wall time (of whole minutes, or of seconds if it ``has_seconds``): if both say so."""

    text: str
    dialect: str
    has_seconds: bool
    is_wildcard: bool
    on_day: Matches
    at_time: Matches


def _either(parts: list[Written]) -> Matches:
    return lambda wall: any(part.matches(wall) for part in parts)


@st.composite
def _numbers(
    draw: st.DrawFn, low: int, high: int, of: Callable[[datetime], int], *, dots: bool = False, wraps: bool = False
) -> Written:
    """A list of numbers, ranges and steps."""
    parts = draw(st.lists(_item(low, high, of, dots=dots, wraps=wraps), min_size=1, max_size=3))
    return Written(text=",".join(part.text for part in parts), matches=_either(parts))


@st.composite
def _item(draw: st.DrawFn, low: int, high: int, of: Callable[[datetime], int], *, dots: bool, wraps: bool) -> Written:
    number = st.integers(low, high)
    between = ".." if dots else "-"
    kind = draw(st.sampled_from(("star", "star/n", "a", "a", "a", "a-b", "a-b/n", "a/n")))
    step = draw(st.integers(1, high - low + 1)) if kind.endswith("/n") else 1
    tail = f"/{step}" if kind.endswith("/n") else ""
    if kind.startswith("star"):
        wanted = set(range(low, high + 1, step))
        return Written(text=f"*{tail}", matches=lambda wall: of(wall) in wanted)
    first = draw(number)
    if kind.startswith("a-b"):
        last = draw(number)
        if first > last and not wraps:
            first, last = last, first
        round_the_end = [*range(first, high + 1), *range(low, last + 1)]
        wanted = set((range(first, last + 1) if first <= last else round_the_end)[::step])
        return Written(text=f"{first}{between}{last}{tail}", matches=lambda wall: of(wall) in wanted)
    wanted = set(range(first, high + 1, step)) if tail else {first}
    return Written(text=f"{first}{tail}", matches=lambda wall: of(wall) in wanted)


def _last_day(wall: datetime) -> int:
    return calendar.monthrange(wall.year, wall.month)[1]


def _nearest(wall: datetime, day: int) -> bool:
    """Whether this is the Monday to Friday nearest to a day, found by looking further and further away within the month."""
    last = _last_day(wall)
    if not 1 <= day <= last:
        return False
    for distance in range(31):
        for each in (day - distance, day + distance):
            if 1 <= each <= last and wall.replace(day=each).weekday() < 5:
                return each == wall.day
    raise AssertionError("a month without weekdays")


@st.composite
def _dates(draw: st.DrawFn, *, wraps: bool = False) -> Written:
    n = draw(st.integers(1, 31))
    special = [
        Written(text="L", matches=lambda wall: wall.day == _last_day(wall)),
        Written(text=f"L-{n % 28}", matches=lambda wall: wall.day == _last_day(wall) - n % 28),
        Written(text="LW", matches=lambda wall: _nearest(wall, _last_day(wall))),
        Written(text=f"{n}W", matches=lambda wall: _nearest(wall, n)),
    ]
    return draw(st.one_of(_numbers(1, 31, lambda wall: wall.day, wraps=wraps), st.sampled_from(special)))


def _nth(wall: datetime) -> int:
    return (wall.day - 1) // 7 + 1


@st.composite
def _weekdays(draw: st.DrawFn, sunday: int, *, wraps: bool = False) -> Written:
    """Counted from Sunday as 0 or 1; also by name, the n-th and the last."""
    n, nth = draw(st.integers(0, 6)), draw(st.integers(1, 5))
    mine = (n - sunday - 1) % 7 if n >= sunday else 6
    name = WEEKDAYS[mine].lower() if draw(st.booleans()) else WEEKDAYS[mine]
    number = sunday + (mine + 1) % 7
    special = [
        Written(text=name, matches=lambda wall: wall.weekday() == mine),
        Written(text=f"{number}L", matches=lambda wall: wall.weekday() == mine and wall.day > _last_day(wall) - 7),
        Written(text=f"{number}#{nth}", matches=lambda wall: wall.weekday() == mine and _nth(wall) == nth),
    ]
    if sunday == 0:
        special.append(Written(text="7", matches=lambda wall: wall.weekday() == 6))
    counted = _numbers(sunday, sunday + 6, lambda wall: (wall.weekday() + 1) % 7 + sunday, wraps=wraps)
    return draw(st.one_of(counted, st.sampled_from(special)))


_MONTH = _numbers(1, 12, lambda wall: wall.month)
_NAMED_MONTH = st.integers(1, 12).map(lambda n: Written(text=MONTHS[n - 1], matches=lambda wall: wall.month == n))
_ANY = st.just(Written(text="*", matches=lambda wall: True))


@st.composite
def cron_expressions(draw: st.DrawFn, *, seconds: bool) -> Expression:
    """Five fields, or six."""
    second = draw(_numbers(0, 59, lambda wall: wall.second)) if seconds else None
    minute, hour = draw(_numbers(0, 59, lambda wall: wall.minute)), draw(_numbers(0, 23, lambda wall: wall.hour))
    date, weekday = draw(st.one_of(_ANY, _ANY, _dates())), draw(st.one_of(_ANY, _ANY, _weekdays(0)))
    month = draw(st.one_of(_ANY, _ANY, _ANY, _ANY, _MONTH, _NAMED_MONTH))
    both = date.text.startswith("*") or weekday.text.startswith("*")

    def on_day(wall: datetime) -> bool:
        days = (date.matches(wall), weekday.matches(wall))
        return month.matches(wall) and (all(days) if both else any(days))

    def at_time(wall: datetime) -> bool:
        return minute.matches(wall) and hour.matches(wall) and (second is None or second.matches(wall))

    fields = [*([second] if second else []), minute, hour, date, month, weekday]
    return Expression(
        text=" ".join(each.text for each in fields),
        dialect="cron6" if seconds else "cron5",
        has_seconds=seconds,
        is_wildcard=any(each.text.startswith("*") for each in fields[: 2 + seconds]),
        on_day=on_day,
        at_time=at_time,
    )


@st.composite
def quartz_expressions(draw: st.DrawFn) -> Expression:
    """Whole minutes, mostly: second 0."""
    minute, hour = (
        draw(_numbers(0, 59, lambda wall: wall.minute, wraps=True)),
        draw(_numbers(0, 23, lambda wall: wall.hour, wraps=True)),
    )
    month = draw(st.one_of(_ANY, _numbers(1, 12, lambda wall: wall.month, wraps=True), _NAMED_MONTH))
    by_date = draw(st.booleans())
    day = draw(st.one_of(_ANY, _dates(wraps=True) if by_date else _weekdays(1, wraps=True)))
    days = f"{day.text} {month.text} ?" if by_date else f"? {month.text} {day.text}"
    return Expression(
        text=f"0 {minute.text} {hour.text} {days}",
        dialect="quartz",
        has_seconds=False,
        is_wildcard=minute.text.startswith("*") or hour.text.startswith("*"),
        on_day=lambda wall: month.matches(wall) and day.matches(wall),
        at_time=lambda wall: minute.matches(wall) and hour.matches(wall),
    )


@st.composite
def systemd_expressions(draw: st.DrawFn) -> Expression:
    """Weekdays, date and time; second 0."""
    minute = draw(_numbers(0, 59, lambda wall: wall.minute, dots=True))
    hour = draw(_numbers(0, 23, lambda wall: wall.hour, dots=True))
    month = draw(st.one_of(_ANY, _numbers(1, 12, lambda wall: wall.month, dots=True)))
    n = draw(st.integers(1, 28))
    from_end = Written(text=f"~{n:02}", matches=lambda wall: wall.day == _last_day(wall) - n + 1)
    last_ones = Written(text=f"~{n}/1", matches=lambda wall: wall.day > _last_day(wall) - n)
    date = draw(st.one_of(_ANY, _numbers(1, 31, lambda wall: wall.day, dots=True), st.sampled_from([from_end, last_ones])))
    first, last = draw(st.sampled_from(list(combinations(range(7), 2))))
    weekdays = [
        Written(text="", matches=lambda wall: True),
        Written(text=f"{WEEKDAYS[first].title()}..{WEEKDAYS[last].title()} ", matches=lambda wall: first <= wall.weekday() <= last),
        Written(text=f"{WEEKDAYS[first].title()},{WEEKDAYS[last]} ", matches=lambda wall: wall.weekday() in (first, last)),
    ]
    weekday = draw(st.sampled_from(weekdays))
    dash = "" if date.text.startswith("~") else "-"
    return Expression(
        text=f"{weekday.text}*-{month.text}{dash}{date.text} {hour.text}:{minute.text}:00",
        dialect="systemd",
        has_seconds=False,
        is_wildcard=minute.text.startswith("*") or hour.text.startswith("*"),
        on_day=lambda wall: all(each.matches(wall) for each in (month, date, weekday)),
        at_time=lambda wall: minute.matches(wall) and hour.matches(wall),
    )


EXPRESSIONS: st.SearchStrategy[Expression] = st.one_of(
    cron_expressions(seconds=False), cron_expressions(seconds=False), cron_expressions(seconds=True), quartz_expressions(),
    systemd_expressions(),
)  # fmt: skip
