"""What can be wrong with the cursor of a schedule in force, held against its rule.

Not here: repairing it (``operations/mending.py``).
"""

from __future__ import annotations

from enum import StrEnum

from mainspring.core.clock_trust import CLOCK_JUMP_MAX
from mainspring.core.durations import MINUTE
from mainspring.core.schedule import Cursor, Spec
from mainspring.core.timetable import Timetable

#: A look may be this much later than its instant (µs): the planner tries a broken schedule again after a minute.
LOOK_SLACK = 2 * MINUTE


class CursorFault(StrEnum):
    """``lost``: there is none. ``stalled``: nobody would look at it, though its rule goes on. ``distant``: the look comes after the
    instant it is for. ``ahead``: instants that are to come are said to be settled. ``rezoned``: newer zone data say something else
    of its zones, so it is to be planned again."""

    LOST = "lost"
    STALLED = "stalled"
    DISTANT = "distant"
    AHEAD = "ahead"
    REZONED = "rezoned"


def cursor_fault(spec: Spec, table: Timetable, cursor: Cursor, *, now: int) -> CursorFault | None:
    """What is wrong with the cursor of a schedule that is enabled and not paused, if anything."""
    if cursor.cursor_at > now + CLOCK_JUMP_MAX:
        return CursorFault.AHEAD
    is_spent = spec.max_runs is not None and cursor.fired >= spec.max_runs
    following = None if is_spent else table.after(cursor.cursor_at)
    if following is None:
        return None
    if cursor.next_at is None:
        return CursorFault.STALLED
    latest = max(following + (0 if spec.jitter is None else spec.jitter.max_us), now) + LOOK_SLACK
    return CursorFault.DISTANT if cursor.next_at > latest else None
