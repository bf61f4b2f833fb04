"""A cron expression in words: ``at 02:30, on Monday to Friday``.

Here: wording, made from the value and not from the text, so that it says what is meant. Not here: anything that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mainspring.core.cron import Cron, Days, FromEnd, NearestWeekday, NthWeekday
from mainspring.core.dates import FIRST_YEAR, MONTH_NAMES, WEEKDAY_NAMES, format_time, members
from mainspring.core.problems import listed

_MOST_TIMES = 6
_EVERY_DATE = (1 << 32) - 2
_EVERY_WEEKDAY = (1 << 7) - 1
_EVERY_MONTH = (1 << 13) - 2
_ORDINALS = ("", "first", "second", "third", "fourth", "fifth")


def explained(cron: Cron) -> str:
    """What the expression says, in a sentence."""
    parts = [_times(cron), _days(cron.days), _months(cron.months), _years(cron.years)]
    return ", ".join(part for part in parts if part)


def _times(cron: Cron) -> str:
    hours, minutes, seconds = members(cron.hours), members(cron.minutes), members(cron.seconds)
    if len(hours) * len(minutes) * len(seconds) <= _MOST_TIMES:
        each = [format_time(hour * 3600 + minute * 60 + second) for hour in hours for minute in minutes for second in seconds]
        return f"at {listed(each)}"
    within_minute = "" if seconds == [0] else f"{_within(seconds, 60, 'second', 'minute')}, "
    if len(hours) == 24 and len(minutes) == 60:
        return within_minute.rstrip(", ") if within_minute else "every minute"
    if len(hours) == 24:
        return f"{within_minute}{_within(minutes, 60, 'minute', 'hour')}"
    return f"{within_minute}{_within(minutes, 60, 'minute', 'hour')}, {_within(hours, 24, 'hour', 'day')}"


def _within(numbers: Sequence[int], size: int, what: str, of: str) -> str:
    """``every 15 minutes``, or ``at minutes 0 and 20 of every hour``."""
    if len(numbers) == size:
        return f"every {what}"
    step = numbers[1] - numbers[0] if len(numbers) > 1 else size
    if size % step == 0 and list(numbers) == list(range(numbers[0], size, step)) and step < size:
        begin = "" if numbers[0] == 0 else f" from {what} {numbers[0]}"
        return f"every {step} {what}s{begin}"
    return f"at {what}{'s' if len(numbers) > 1 else ''} {_ranges(numbers, str)} of every {of}"


def _days(days: Days) -> str:
    dates = _dates(days) if days.dates != _EVERY_DATE else ""
    weekdays = _weekdays(days) if days.weekdays != _EVERY_WEEKDAY else ""
    if dates and weekdays:
        return f"on {dates} {'and only on' if days.matches == 'both' else 'or on'} {weekdays}"
    return f"on {dates or weekdays}" if dates or weekdays else "every day"


def _dates(days: Days) -> str:
    numbers = members(days.dates)
    found = [f"day{'s' if len(numbers) > 1 else ''} {_ranges(numbers, str)} of the month"] if numbers else []
    return listed([*found, *map(_special_date, days.date_specials)])


def _special_date(special: FromEnd | NearestWeekday) -> str:
    if isinstance(special, FromEnd):
        return f"the day {special.days} before the last of the month" if special.days else "the last day of the month"
    if special == NearestWeekday(0, True):
        return "the last weekday of the month"
    day = f"the day {special.day} before the last" if special.from_end else f"day {special.day}"
    return f"the weekday nearest to {day} of the month"


def _weekdays(days: Days) -> str:
    names = [_ranges(members(days.weekdays), WEEKDAY_NAMES.__getitem__)] if days.weekdays else []
    return listed([*names, *map(_special_weekday, days.weekday_specials)])


def _special_weekday(special: NthWeekday) -> str:
    nth = "last" if special.nth < 0 else _ORDINALS[special.nth]
    return f"the {nth} {WEEKDAY_NAMES[special.weekday]} of the month"


def _months(months: int) -> str:
    return "" if months == _EVERY_MONTH else f"in {_ranges([month - 1 for month in members(months)], MONTH_NAMES.__getitem__)}"


def _years(years: int | None) -> str:
    return "" if years is None else f"in {_ranges([FIRST_YEAR + year for year in members(years)], str)}"


def _ranges(numbers: Sequence[int], name: Callable[[int], str]) -> str:
    """``1 to 5 and 7``: three or more in a row as a range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words: list[str] = []
    for run in runs:
        words += [f"{name(run[0])} to {name(run[-1])}"] if len(run) > 2 else [name(each) for each in run]
    return listed(words)
