"""The times of a day that hours, minutes and seconds make together, each given as bits.

Here: the next and the previous one by tables, and the n-th of a day. Not here: days.
"""

from __future__ import annotations

from mainspring.core.dates import highest, lowest, members

#: In a table: no bit is set there.
_NONE = 255


class TimesOfDay:
    """Every combination of some hours, minutes and seconds, as seconds since midnight. None of the three is empty."""

    __slots__ = (
        "_after_hour", "_after_minute", "_after_second", "_before_hour", "_before_minute", "_before_second", "_hours", "_minutes",
        "_seconds", "first", "last",
    )  # fmt: skip

    def __init__(self, hours: int, minutes: int, seconds: int) -> None:
        self._hours, self._minutes, self._seconds = members(hours), members(minutes), members(seconds)
        self._after_hour, self._before_hour = _after(hours, 24), _before(hours, 24)
        self._after_minute, self._before_minute = _after(minutes, 60), _before(minutes, 60)
        self._after_second, self._before_second = _after(seconds, 60), _before(seconds, 60)
        self.first = lowest(hours) * 3600 + lowest(minutes) * 60 + lowest(seconds)
        self.last = highest(hours) * 3600 + highest(minutes) * 60 + highest(seconds)

    def __len__(self) -> int:
        return len(self._hours) * len(self._minutes) * len(self._seconds)

    def nth(self, index: int) -> int:
        """The time at an index of the sorted times, counted from 0."""
        rest, second = divmod(index, len(self._seconds))
        hour, minute = divmod(rest, len(self._minutes))
        return self._hours[hour] * 3600 + self._minutes[minute] * 60 + self._seconds[second]

    def first_from(self, second: int) -> int:
        """The first time of day at or after ``second``; -1 if the day has no more."""
        hour, rest = divmod(second, 3600)
        if self._after_hour[hour] == hour:
            minute, rest = divmod(rest, 60)
            minutes = self._after_minute
            if minutes[minute] == minute:
                found = self._after_second[rest]
                if found != _NONE:
                    return hour * 3600 + minute * 60 + found
            minute = minutes[minute + 1]
            if minute != _NONE:
                return hour * 3600 + minute * 60 + self._after_second[0]
        hour = self._after_hour[hour + 1]
        return hour * 3600 + self.first % 3600 if hour != _NONE else -1

    def last_to(self, second: int) -> int:
        """The last time of day at or before ``second``; -1 if the day has none before."""
        hour, rest = divmod(second, 3600)
        if self._before_hour[hour + 1] == hour:
            minute, rest = divmod(rest, 60)
            minutes = self._before_minute
            if minutes[minute + 1] == minute:
                found = self._before_second[rest + 1]
                if found != _NONE:
                    return hour * 3600 + minute * 60 + found
            minute = minutes[minute]
            if minute != _NONE:
                return hour * 3600 + minute * 60 + self.last % 60
        hour = self._before_hour[hour]
        return hour * 3600 + self.last % 3600 if hour != _NONE else -1


def _after(bits: int, size: int) -> bytes:
    """For each number up to ``size`` the first bit set from there on."""
    return bytes(n + lowest(bits >> n) if bits >> n else _NONE for n in range(size + 1))


def _before(bits: int, size: int) -> bytes:
    """For each number up to ``size`` the last bit set below it."""
    return bytes(highest(low) if (low := bits & ((1 << n) - 1)) else _NONE for n in range(size + 1))
