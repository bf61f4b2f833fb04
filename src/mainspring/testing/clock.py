"""Time, ids and dice in the hands of a test: nothing moves until it is told to.

Here: a clock and a ``System`` made of it. Not here: what is done while time passes (``simulator``, ``sandboxing``).
"""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Self

from mainspring.core.durations import SECOND, Duration, format_instant, parse_duration, parse_instant
from mainspring.core.ids import uuid7
from mainspring.errors import InvalidOption
from mainspring.system import RealSystem

#: Where a simulated clock starts unless told: a Monday of 2030, seventeen minutes past five in the afternoon, UTC.
START = 1_900_000_000 * SECOND
_MONOTONIC_START = 5_000 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SimulatedClock:
    """A clock that moves only when told. ``now`` is UTC microseconds; ``elapsed`` is its monotonic side, which never steps.

    ``start`` is a number of microseconds, or an instant as tasks write it (an aware datetime, a text with its offset). Called, it
    answers ``now``: that is how a database asks it.
    """

    def __init__(self, start: int | datetime | str = START) -> None:
        self.now = start if isinstance(start, int) else parse_instant(start, option="start")
        self.elapsed = _MONOTONIC_START

    @classmethod
    def at_present(cls) -> Self:
        """A clock that stands where this machine's is, at the whole second."""
        return cls(RealSystem().now() // SECOND * SECOND)

    def __repr__(self) -> str:
        return f"<SimulatedClock at {format_instant(self.now)}>"

    @property
    def instant(self) -> datetime:
        """``now`` as a datetime in UTC."""
        return _EPOCH + timedelta(microseconds=self.now)

    def __call__(self) -> int:
        return self.now

    def advance(self, duration: Duration) -> None:
        """Let time pass: a duration as tasks write it (``"90s"``, ``timedelta``, a number of seconds)."""
        self.advance_us(parse_duration(duration, option="duration"))

    def advance_to(self, instant: datetime | str) -> None:
        """Let time pass until an instant: an aware datetime, or a text with its offset.

        Raises:
            InvalidOption: it is over.
        """
        us = parse_instant(instant, option="instant") - self.now
        if us < 0:
            raise InvalidOption(f"{instant} is over: it is {format_instant(self.now)}", option="instant")
        self.advance_us(us)

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

    def boottime(self) -> int:
        """The same: nobody sleeps."""
        return self.clock.elapsed

    def new_id(self) -> str:
        """The next UUIDv7."""
        return uuid7(self.clock.now // 1000, next(self._ids) << 20)

    def draw(self) -> float:
        """What the dice show."""
        return self.dice
