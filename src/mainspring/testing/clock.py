"""Time, ids and dice in the hands of a test: nothing moves until it is told to.

Here: a clock and a ``System`` made of it. Not here: what is done while time passes (``simulator``, ``sandbox``).
"""

import itertools
from datetime import datetime

from mainspring.core.durations import SECOND, Duration, parse_duration
from mainspring.core.ids import uuid7

#: Where a simulated clock starts unless told: a Monday of 2030, seventeen minutes past five in the afternoon, UTC.
START = 1_900_000_000 * SECOND
_MONOTONIC_START = 5_000 * SECOND


class SimulatedClock:
    """A clock that moves only when told. ``now`` is UTC microseconds; ``elapsed`` is its monotonic side, which never steps.

    Called, it answers ``now``: that is how a database asks it.
    """

    def __init__(self, start: int | datetime = START) -> None:
        self.now = int(start.timestamp() * SECOND) if isinstance(start, datetime) else start
        self.elapsed = _MONOTONIC_START

    def __call__(self) -> int:
        return self.now

    def advance(self, duration: Duration) -> None:
        """Let time pass: a duration as tasks write it (``"90s"``, ``timedelta``, a number of seconds)."""
        self.advance_us(parse_duration(duration, option="duration"))

    def advance_us(self, us: int) -> None:
        """Let so many microseconds pass."""
        self.now += us
        self.elapsed += us

    def step_us(self, us: int) -> None:
        """Set the clock forward or back, as time synchronisation does: the monotonic side does not notice."""
        self.now += us


class SimulatedSystem:
    """A ``System`` on a simulated clock: ids count up, and the dice show what ``dice`` says."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.dice = 0.5
        self._ids = itertools.count(1)

    def now(self) -> int:
        """The clock."""
        return self.clock.now

    def monotonic(self) -> int:
        """The clock's monotonic side."""
        return self.clock.elapsed

    def new_id(self) -> str:
        """The next UUIDv7."""
        return uuid7(self.clock.now // 1000, next(self._ids) << 20)

    def draw(self) -> float:
        """What the dice show."""
        return self.dice
