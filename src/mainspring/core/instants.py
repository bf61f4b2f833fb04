"""Instants of rules and of sets of rules: the next and the previous, in microseconds UTC.

Here: grids, lists, wall times through a zone, and how these add up: union, what is taken away, what is held to a calendar. Each
answers two questions, and both are bounded. Not here: rules as they are written (``core/rules.py``), and how they become these
(``core/timetable.py``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from mainspring.core.calendars import MOST_CANDIDATES, Bounds
from mainspring.core.dates import DAY_SECONDS, HORIZON_SECONDS, NEVER, format_offset, format_wall
from mainspring.core.durations import SECOND
from mainspring.core.walls import Walls, leaps_to, next_second, previous_second
from mainspring.core.zone import Gap, Policy, Zone, real_seconds, resolved

#: How many written times a note names that were all moved to one instant.
_MOST_NAMED = 5


class Note(NamedTuple):
    """What a clock on the wall shows at an instant of a rule, and what is odd about it (nothing, mostly)."""

    local: str
    offset: str
    zone: str
    told: str = ""


class Instants(Protocol):
    """When something is due."""

    def next(self, at: int) -> int:
        """The first instant at or after ``at``; ``NEVER`` if there is none within 50 years."""

    def previous(self, at: int) -> int:
        """The last instant at or before ``at``; ``-NEVER`` if there is none within 50 years."""

    def notes(self, at: int) -> list[Note]:
        """What there is to say about an instant that is due."""


class Grid:
    """Every so often, before and after an anchor."""

    __slots__ = ("_anchor", "_every", "_first")

    def __init__(self, anchor: int, every: int, first: int = -NEVER) -> None:
        self._anchor, self._every, self._first = anchor, every, first

    def next(self, at: int) -> int:
        """The first at or after ``at``."""
        at = max(at, self._first)
        return at + (self._anchor - at) % self._every

    def previous(self, at: int) -> int:
        """The last at or before ``at``."""
        found = at - (at - self._anchor) % self._every
        return found if found >= self._first else -NEVER

    def notes(self, at: int) -> list[Note]:
        """Nothing: elapsed time knows no clock."""
        return []


class Points:
    """Instants one by one."""

    __slots__ = ("_points",)

    def __init__(self, points: Sequence[int]) -> None:
        self._points = sorted(set(points))

    def next(self, at: int) -> int:
        """The first at or after ``at``."""
        index = bisect_left(self._points, at)
        return self._points[index] if index < len(self._points) else NEVER

    def previous(self, at: int) -> int:
        """The last at or before ``at``."""
        index = bisect_right(self._points, at)
        return self._points[index - 1] if index else -NEVER

    def notes(self, at: int) -> list[Note]:
        """Nothing: an instant knows no clock."""
        return []


class OnTheWall:
    """Wall times in a zone under a policy."""

    __slots__ = ("_policy", "_resolved", "_walls", "_zone")

    def __init__(self, walls: Walls, zone: Zone, policy: Policy) -> None:
        self._walls, self._zone, self._policy = walls, zone, policy
        self._resolved = resolved(zone, policy)

    def next(self, at: int) -> int:
        """The first at or after ``at``."""
        second = -(-at // SECOND)
        found = next_second(self._walls, self._resolved, second, second + HORIZON_SECONDS)
        return found * SECOND if found != NEVER else NEVER

    def previous(self, at: int) -> int:
        """The last at or before ``at``."""
        second = at // SECOND
        found = previous_second(self._walls, self._resolved, second, second - HORIZON_SECONDS)
        return found * SECOND if found != -NEVER else -NEVER

    def notes(self, at: int) -> list[Note]:
        """The local time, and whether a clock change moved or doubled what was written."""
        second = at // SECOND
        offset = self._zone.offset_at(second)
        told = [*self._doubled(second, second + offset), *self._moved(second, second + offset)]
        return [Note(format_wall(second + offset), format_offset(offset), self._zone.name, "; ".join(told))]

    def skipped(self, at: int, until: int) -> Iterator[Note]:
        """The written times that do not exist and are skipped, from an instant to before another, at the change that skips them."""
        if self._policy.gap is not Gap.SKIP:
            return
        for leap in resolved(self._zone, self._policy._replace(gap=Gap.AT_TRANSITION)).leaps:
            if at <= leap.start * SECOND < until:
                for wall in _between(self._walls, leap.first, leap.last):
                    offset = format_offset(self._zone.offset_at(leap.start))
                    yield Note(format_wall(wall), offset, self._zone.name, "does not exist: skipped")

    def _doubled(self, second: int, wall: int) -> Iterator[str]:
        real = real_seconds(self._zone, wall)
        if len(real) > 1 and self._walls.next(wall) == wall:
            yield f"exists twice: {'first' if second == real[0] else 'second'}"

    def _moved(self, second: int, shown: int) -> Iterator[str]:
        for leap in leaps_to(self._resolved, second):
            first, last = (leap.first, leap.last) if leap.is_point else (second + leap.offset, second + leap.offset + 1)
            walls = list(_between(self._walls, first, last))
            for wall in walls[:_MOST_NAMED]:
                yield f"{format_wall(wall)} does not exist: moved to {format_wall(shown)}"


def _between(walls: Walls, first: int, last: int) -> Iterator[int]:
    """Some wall times from ``first`` to before ``last``, one more at most than anybody wants to read."""
    for _ in range(_MOST_NAMED + 1):
        first = walls.next(first)
        if first >= last:
            return
        yield first
        first += 1


# --- sets -------------------------------------------------------------------------------------------------------------


class Any:
    """Due when one of several is: an instant is due once."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[Instants]) -> None:
        self._parts = parts

    def next(self, at: int) -> int:
        """The first at or after ``at``."""
        return min(part.next(at) for part in self._parts)

    def previous(self, at: int) -> int:
        """The last at or before ``at``."""
        return max(part.previous(at) for part in self._parts)

    def notes(self, at: int) -> list[Note]:
        """What those say that are due."""
        return [note for part in self._parts if part.next(at) == at for note in part.notes(at)]

    def skipped(self, at: int, until: int) -> Iterator[Note]:
        """What any of them skips."""
        for part in self._parts:
            yield from skipped(part, at, until)


class Except:
    """Due when one is and none of others."""

    __slots__ = ("_but", "_part")

    def __init__(self, part: Instants, but: Sequence[Instants]) -> None:
        self._part, self._but = part, but

    def next(self, at: int) -> int:
        """The first at or after ``at``."""
        for _ in range(MOST_CANDIDATES):
            at = self._part.next(at)
            if at == NEVER or not any(each.next(at) == at for each in self._but):
                return at
            at += 1
        return NEVER

    def previous(self, at: int) -> int:
        """The last at or before ``at``."""
        for _ in range(MOST_CANDIDATES):
            at = self._part.previous(at)
            if at == -NEVER or not any(each.next(at) == at for each in self._but):
                return at
            at -= 1
        return -NEVER

    def notes(self, at: int) -> list[Note]:
        """What the one says."""
        return self._part.notes(at)

    def skipped(self, at: int, until: int) -> Iterator[Note]:
        """What the one skips."""
        yield from skipped(self._part, at, until)


class OnDates:
    """Instants without a wall time of their own, on dates of a zone that the bounds allow."""

    __slots__ = ("_bounds", "_part", "_zone")

    def __init__(self, part: Instants, zone: Zone, bounds: Bounds) -> None:
        self._part, self._zone, self._bounds = part, zone, bounds

    def next(self, at: int) -> int:
        """The first at or after ``at``."""
        limit = at + HORIZON_SECONDS * SECOND
        for _ in range(MOST_CANDIDATES):
            at = self._part.next(at)
            if at > limit:
                break
            wall = self._wall(at)
            if self._bounds.allow(wall):
                return at
            day, second = divmod(wall, DAY_SECONDS)
            edge = day * DAY_SECONDS + next(edge for edge in self._bounds.edges(day) if edge > second)
            _, end, offset = self._zone.segment_at(at // SECOND)
            at = min(edge - offset, end) * SECOND
        return NEVER

    def previous(self, at: int) -> int:
        """The last at or before ``at``."""
        limit = at - HORIZON_SECONDS * SECOND
        for _ in range(MOST_CANDIDATES):
            at = self._part.previous(at)
            if at < limit:
                break
            wall = self._wall(at)
            if self._bounds.allow(wall):
                return at
            day, second = divmod(wall, DAY_SECONDS)
            edge = day * DAY_SECONDS + max(edge for edge in self._bounds.edges(day) if edge <= second)
            start, _, offset = self._zone.segment_at(at // SECOND)
            at = max(edge - offset, start) * SECOND - 1
        return -NEVER

    def notes(self, at: int) -> list[Note]:
        """The local time by which it was judged."""
        offset = self._zone.offset_at(at // SECOND)
        return [Note(format_wall(self._wall(at)), format_offset(offset), self._zone.name)]

    def _wall(self, at: int) -> int:
        return at // SECOND + self._zone.offset_at(at // SECOND)


def skipped(instants: Instants, at: int, until: int) -> Iterator[Note]:
    """Written times that do not exist and that a rule skips, from an instant to before another."""
    match instants:
        case OnTheWall() | Any() | Except():
            yield from instants.skipped(at, until)
