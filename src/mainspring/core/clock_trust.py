"""Whether a clock may be planned by: one that runs on as the time since boot does, or was set back, but none that leapt ahead.

What a leap made due would be fired, and be past for good. Not here: which clocks these are (``runtime/maintenance.py``).
"""

from __future__ import annotations

from mainspring.core.durations import MINUTE

#: A clock that is further ahead than this of where the time since boot says it should be is not planned by (µs).
CLOCK_JUMP_MAX = 5 * MINUTE


class ClockTrust:
    """What one process has seen of a clock. The first look is believed, for there is nothing to hold against it."""

    def __init__(self, *, jump_max: int = CLOCK_JUMP_MAX) -> None:
        self._jump_max = jump_max
        self._offset: int | None = None

    def ahead(self, now: int, boottime: int) -> int:
        """How far (µs) the clock is ahead of where it should be: 0, if it may be planned by.

        Small differences are followed, for clocks drift. One that was set back keeps its old place, to which it may return.
        """
        offset = now - boottime
        if self._offset is None or abs(offset - self._offset) <= self._jump_max:
            self._offset = offset
            return 0
        return max(0, offset - self._offset)
