"""What other schedulers' fields come to: numbers on the clock of a zone, as a rule of ours, and as the instants of the source.

Here: both, the second by trying wall times one after the other, so that neither follows from the other. Not here: the grammars of
the fields (``celery_beat.py``, ``apscheduler.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

EVERY_MINUTE, EVERY_HOUR = frozenset(range(60)), frozenset(range(24))
EVERY_DATE, EVERY_MONTH, EVERY_WEEKDAY = frozenset(range(1, 32)), frozenset(range(1, 13)), frozenset(range(7))
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: A date and a weekday meet again within 28 years, and 40 where a century leaves out a leap year.
_MOST_DAYS = 40 * 366


@dataclass(frozen=True, slots=True, kw_only=True)
class WallSets:
    """Due where every set has the number; weekdays from Monday as 0. ``nth`` instead of dates: a weekday and which of the month,
    -1 for the last; a weekday of None is the last day. ``repeats``: a time that the clock shows twice is due twice."""

    minutes: frozenset[int] = EVERY_MINUTE
    hours: frozenset[int] = EVERY_HOUR
    seconds: frozenset[int] = frozenset({0})
    dates: frozenset[int] = EVERY_DATE
    months: frozenset[int] = EVERY_MONTH
    weekdays: frozenset[int] = EVERY_WEEKDAY
    years: frozenset[int] | None = None
    nth: tuple[int | None, int] | None = None
    repeats: bool = False

    def rule(self, timezone: str) -> dict[str, Any]:
        """The rule as a file has it."""
        dst = {"gap": "shift", "overlap": "both" if self.repeats else "first"}
        time = [_listed(self.seconds, 60), _listed(self.minutes, 60), _listed(self.hours, 24)]
        months, dates = _listed(self.months, 12), _listed(self.dates, 31)
        names = ",".join(_WEEKDAYS[day] for day in sorted(self.weekdays))
        is_daily = self.weekdays == EVERY_WEEKDAY
        if self.nth is not None:
            weekday, nth = self.nth
            which = "L" if nth < 0 else f"#{nth}"
            fields = f"L {months} ?" if weekday is None else f"? {months} {(weekday + 1) % 7 + 1}{which}"
            return {"cron": f"{' '.join(time)} {fields}", "timezone": timezone, "dialect": "quartz", "dst": dst}
        if self.years is not None or not (is_daily or self.dates == EVERY_DATE):
            years = "*" if self.years is None else _listed(self.years, 0)
            day = f"{years}-{months}-{dates}"
            clock = ":".join(reversed(time))
            text = f"{day} {clock}" if is_daily else f"{names} {day} {clock}"
            return {"cron": text, "timezone": timezone, "dialect": "systemd", "dst": dst}
        fields = f"{dates} {months} {'*' if is_daily else names.upper()}"
        if self.seconds == {0}:
            return {"cron": f"{' '.join(time[1:])} {fields}", "timezone": timezone, "dst": dst}
        return {"cron": f"{' '.join(time)} {fields}", "timezone": timezone, "dialect": "cron6", "dst": dst}

    def fires(self, timezone: str, after: int, most: int) -> list[int]:
        """The next instants (µs) at which the source fires."""
        zone, found = ZoneInfo(timezone), list[int]()
        while len(found) < most and (at := self._next(zone, after)) is not None:
            found.append(at)
            after = at
        return found

    def _next(self, zone: ZoneInfo, after: int) -> int | None:
        """The source looks at the clock of the last fire, and for the next time on it that it wrote."""
        clock = (_EPOCH + after * _MICROSECOND).astimezone(zone).replace(tzinfo=None)
        best: int | None = None
        for wall in self._walls(clock - timedelta(hours=3)):
            for fold in (0, 1) if self.repeats else (0,):
                aware = wall.replace(tzinfo=zone, fold=fold)
                exists = aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall
                at = (aware.astimezone(UTC) - _EPOCH) // _MICROSECOND
                is_next = at > after and (wall > clock or (self.repeats and exists)) and (exists or not fold)
                if is_next and (best is None or at < best):
                    best = at
            if best is not None and wall > clock:
                return best
        return best

    def _walls(self, first: datetime) -> Iterator[datetime]:
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in (midnight + timedelta(days=days) for days in range(_MOST_DAYS)):
            if not self._has_day(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    for second in sorted(self.seconds):
                        wall = day.replace(hour=hour, minute=minute, second=second)
                        if wall >= first:
                            yield wall

    def _has_day(self, day: datetime) -> bool:
        if day.month not in self.months or day.weekday() not in self.weekdays:
            return False
        if self.years is not None and day.year not in self.years:
            return False
        if self.nth is None:
            return day.day in self.dates
        weekday, nth = self.nth
        is_last = (day + timedelta(days=1 if weekday is None else 7)).month != day.month
        return (weekday is None or day.weekday() == weekday) and (is_last if nth < 0 else (day.day - 1) // 7 + 1 == nth)


def _listed(numbers: Iterable[int], size: int) -> str:
    found = sorted(numbers)
    if len(found) == size:
        return "*"
    step = found[1] - found[0] if len(found) > 1 else 0
    if step > 1 and size in (24, 60) and found == list(range(0, size, step)):
        return f"*/{step}" if size % step == 0 else ",".join(map(str, found))
    return ",".join(map(str, found))
