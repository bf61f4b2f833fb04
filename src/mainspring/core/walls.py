"""From the wall times that a rule writes to the instants at which it is due.

Here: the search in both directions, over a zone's changes as ``core/zone.py`` has resolved them. Seconds only: the instants of
callers are microseconds. Not here: which wall times are written (``core/cron.py`` and its neighbours), and sets.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Protocol

from mainspring.core.dates import NEVER
from mainspring.core.zone import Leap, Resolved


class Walls(Protocol):
    """Wall seconds that a rule writes. Asking is bounded, whatever the rule."""

    def next(self, wall: int) -> int:
        """The first at or after ``wall``; ``NEVER`` if there is none."""

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``; ``-NEVER`` if there is none."""


class Listed:
    """Wall seconds one by one."""

    __slots__ = ("_walls",)

    def __init__(self, walls: Sequence[int]) -> None:
        self._walls = sorted(set(walls))

    def next(self, wall: int) -> int:
        """The first at or after ``wall``."""
        at = bisect_left(self._walls, wall)
        return self._walls[at] if at < len(self._walls) else NEVER

    def previous(self, wall: int) -> int:
        """The last at or before ``wall``."""
        at = bisect_right(self._walls, wall)
        return self._walls[at - 1] if at else -NEVER


def next_second(walls: Walls, resolved: Resolved, second: int, end: int) -> int:
    """The first instant from ``second`` to before ``end`` at which a wall time falls due; ``NEVER`` if there is none.

    A wall time found beyond its stretch is kept for the next ones: only a clock set back makes the search look again.
    """
    starts, ends, offsets = resolved.starts, resolved.ends, resolved.offsets
    due = NEVER
    index = bisect_right(ends, second)
    searched = wall = -NEVER
    while index < len(starts):
        start, offset = starts[index], offsets[index]
        if start >= end:
            break
        first = max(start, second) + offset
        if not searched <= first <= wall:
            searched, wall = first, walls.next(first)
        if wall < ends[index] + offset:
            due = wall - offset
            break
        index += 1
    if resolved.leaps:
        due = _next_leap(walls, resolved, second, min(due, end), due)
    return due if due < end else NEVER


def _next_leap(walls: Walls, resolved: Resolved, second: int, end: int, due: int) -> int:
    """The first instant from ``second`` to before ``end`` to which a time that does not exist was moved, else ``due``."""
    leaps = resolved.leaps
    index = bisect_right(resolved.leap_ends, second)
    searched = wall = -NEVER
    while index < len(leaps) and leaps[index].start < end:
        start, leap_end, first, last, offset, is_point = leaps[index]
        index += 1
        if leap_end <= second:
            continue
        first = first if is_point else max(first, second + offset)
        if not searched <= first <= wall:
            searched, wall = first, walls.next(first)
        if wall < last:
            found = start if is_point else wall - offset
            if found < end:
                end = due = found
    return due


def previous_second(walls: Walls, resolved: Resolved, second: int, first: int) -> int:
    """The last instant from ``first`` to ``second`` at which a wall time falls due; ``-NEVER`` if there is none."""
    starts, ends, offsets = resolved.starts, resolved.ends, resolved.offsets
    due = -NEVER
    index = bisect_right(starts, second) - 1
    searched = wall = NEVER
    while index >= 0:
        end, offset = ends[index], offsets[index]
        if end <= first:
            break
        last = min(second, end - 1) + offset
        if not wall <= last <= searched:
            searched, wall = last, walls.previous(last)
        if wall >= starts[index] + offset:
            due = wall - offset
            break
        index -= 1
    if resolved.leaps:
        due = _previous_leap(walls, resolved, second, max(due, first - 1), due)
    return due if due >= first else -NEVER


def _previous_leap(walls: Walls, resolved: Resolved, second: int, beginning: int, due: int) -> int:
    """The last instant after ``beginning`` and up to ``second`` to which a time that does not exist was moved, else ``due``."""
    leaps = resolved.leaps
    index = bisect_right(resolved.leap_starts, second) - 1
    searched = wall = NEVER
    while index >= 0 and resolved.leap_ends[index] > beginning:
        start, _, first, last, offset, is_point = leaps[index]
        index -= 1
        last = last - 1 if is_point else min(last - 1, second + offset)
        if not wall <= last <= searched:
            searched, wall = last, walls.previous(last)
        if wall >= first:
            found = start if is_point else wall - offset
            if found > beginning:
                beginning = due = found
    return due


def leaps_to(resolved: Resolved, second: int) -> list[Leap]:
    """The leaps that may have moved a wall time to that second."""
    index = bisect_right(resolved.leap_ends, second)
    found = []
    while index < len(resolved.leaps) and resolved.leaps[index].start <= second:
        if second < resolved.leaps[index].end:
            found.append(resolved.leaps[index])
        index += 1
    return found
